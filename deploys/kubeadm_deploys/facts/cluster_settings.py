"""Read what a cluster was created with, and our record of it, from its API server or a control plane's files.

Sources: kubeadm's ConfigMaps kubeadm-config, kubelet-config and kube-proxy; its static pod manifests.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.documents import cluster_record
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import ClusterFact
from kubeadm_deploys.scripts import script

CALICO_FOLDER = "/etc/kubernetes/calico"
"""The folder on every control plane from which Calico is applied."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettingsState:
    """What a cluster was created with.

    ``control_plane_endpoint`` is a name or address with its port, and may be empty. ``configuration`` is the
    ClusterConfiguration that kubeadm stores, ``kubelet`` and ``kube_proxy`` are the configurations of these, and
    ``kube_proxy_text`` is the latter as its ConfigMap has it.
    ``cni``, ``cni_version`` and ``encapsulation`` describe the pod network and are empty if there is none or it is
    unknown. ``cloud_versions`` are the running releases of the cloud's components, by their names in the record.
    ``pod_mtu`` is the MTU of Calico's pod interfaces in bytes, 0 if it is unknown or chosen by Calico.

    ``silent`` is kubectl's error if no API server answered. All other values then come from the files of one
    control plane and are empty if no file has them; configurations and certificate names are None, and the
    record is empty.
    """

    cluster_name: str
    control_plane_endpoint: str
    pod_subnet: str
    service_subnet: str
    dns_domain: str
    kubernetes_version: str
    certificate_sans: tuple[str, ...] | None = None
    configuration: Mapping[str, Any] | None = None
    kubelet: Mapping[str, Any] | None = None
    kube_proxy: Mapping[str, Any] | None = None
    kube_proxy_text: str = ""
    cni: str = ""
    cni_version: str = ""
    cloud_versions: Mapping[str, str] = field(default_factory=dict)
    encapsulation: str = ""
    pod_mtu: int = 0
    record: ClusterRecord = field(default_factory=ClusterRecord)
    silent: str = ""

    def running(self, component: str) -> str:
        """Return the running release of the pod network or of a cloud's component, empty if it is unknown."""
        return self.cni_version if component == self.cni else self.cloud_versions.get(component, "")


class ClusterSettings(ClusterFact[ClusterSettingsState | None]):
    """Read the settings on a control plane in one command; None if kubeadm has not stored them yet."""

    @override
    def command(self) -> StringCommand:
        return script("read-cluster-settings", cluster_record.NAME, CALICO_FOLDER)

    @override
    def process(self, output: list[str]) -> ClusterSettingsState | None:
        values = lines.parse(output)
        try:
            encapsulation = _encapsulation(values.get("pool", ""))
            if "silent" in values:
                return _of_files(values, encapsulation=encapsulation)
            return _of_objects(values["objects"], encapsulation=encapsulation)
        except KeyError as error:
            raise ValueError(f"the cluster's configuration is incomplete: {error} is missing") from None
        except (ValueError, TypeError, AttributeError, yaml.YAMLError) as error:
            raise ValueError(f"the cluster's configuration cannot be parsed: {error}") from None


def _of_objects(encoded: str, *, encapsulation: str) -> ClusterSettingsState | None:
    listed = json.loads(base64.b64decode(encoded) or '{"items": []}')["items"]
    found = {item["metadata"]["name"]: item for item in listed}
    if not {"kubeadm-config", "kubelet-config"} <= found.keys():
        return None
    cluster = _cluster(found["kubeadm-config"]["data"]["ClusterConfiguration"])
    networking = cluster["networking"]
    kube_proxy = found["kube-proxy"]["data"]["config.conf"] if "kube-proxy" in found else ""
    return ClusterSettingsState(
        cluster_name=cluster["clusterName"],
        control_plane_endpoint=cluster.get("controlPlaneEndpoint", ""),
        pod_subnet=networking.get("podSubnet", ""),
        service_subnet=networking["serviceSubnet"],
        dns_domain=networking["dnsDomain"],
        kubernetes_version=cluster["kubernetesVersion"].removeprefix("v"),
        certificate_sans=tuple((cluster.get("apiServer") or {}).get("certSANs") or ()),
        configuration=cluster,
        kubelet=dict(yaml.safe_load(found["kubelet-config"]["data"]["kubelet"])),
        # kubeadm may have been told to skip kube-proxy.
        kube_proxy=dict(yaml.safe_load(kube_proxy)) if kube_proxy else None,
        kube_proxy_text=kube_proxy,
        cni="calico" if "calico-node" in found else "",
        cni_version=_version(found.get("calico-node")),
        cloud_versions={
            component: version
            for component, (name, image) in _CLOUD_WORKLOADS.items()
            if (version := _version(found.get(name), image=image))
        },
        encapsulation=encapsulation,
        pod_mtu=int(found.get("calico-config", {}).get("data", {}).get("veth_mtu") or 0),
        record=ClusterRecord(data=found.get(cluster_record.NAME, {}).get("data") or {}),
    )


def _of_files(values: dict[str, str], *, encapsulation: str) -> ClusterSettingsState:
    found = lines.by_prefix(values, "file:")
    if not found["kubernetesVersion"]:
        raise ValueError("no manifest names a release")
    return ClusterSettingsState(
        cluster_name=found["clusterName"],
        control_plane_endpoint=found["controlPlaneEndpoint"],
        pod_subnet=found["podSubnet"],
        service_subnet=found["serviceSubnet"],
        dns_domain=found["dnsDomain"],
        kubernetes_version=found["kubernetesVersion"],
        cni="calico" if found.get("calico") else "",
        cni_version=found.get("calico", ""),
        encapsulation=encapsulation,
        pod_mtu=int(found.get("podMtu") or 0),
        silent=values["silent"] or "no answer in time",
    )


class _Loader(yaml.SafeLoader):
    """Reads only true, false and null as other than text: PyYAML takes names like 1_000 for numbers, Go does not."""


_Loader.yaml_implicit_resolvers = {}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)$"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"(null)?$"), ["n", ""])


def _cluster(text: str) -> dict[str, Any]:
    """Parse a ClusterConfiguration, which has no numbers."""
    return dict(yaml.load(text, Loader=_Loader))


_CLOUD_WORKLOADS = {
    "hcloud-cloud-controller": ("hcloud-cloud-controller-manager", "hcloud-cloud-controller-manager"),
    "hcloud-csi": ("hcloud-csi-controller", "hcloud-csi-driver"),
}
"""The Deployment and the image that show the release of a cloud's component."""


def _version(workload: Mapping[str, Any] | None, *, image: str = "") -> str:
    """Return the release in the tag of a workload's image; empty without the workload or if the tag is not a release.

    ``image`` is the image's last part, or empty for any image.
    """
    return next(_tags(workload, image=image), "") if workload else ""


def _tags(workload: Mapping[str, Any], *, image: str) -> Iterator[str]:
    for container in workload["spec"]["template"]["spec"]["containers"]:
        if match := re.search(rf"{image}:v(\d+\.\d+\.\d+)$", container["image"]):
            yield match[1]


def _encapsulation(modes: str) -> str:
    """Return the option for a pool's IPIP and VXLAN modes, each "Always", "CrossSubnet" or "Never"."""
    if not modes.strip():
        return ""
    ipip, vxlan = modes.split()
    if vxlan != "Never":
        return "VXLAN"
    return "IPIP" if ipip != "Never" else "None"
