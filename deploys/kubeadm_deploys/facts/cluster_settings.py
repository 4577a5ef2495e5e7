"""What a cluster was made with, and our record of it, as its API server says; else as a control plane's files say.

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

from kubeadm_deploys import cluster_record
from kubeadm_deploys.cluster_record import ClusterRecord
from kubeadm_deploys.facts import lines
from kubeadm_deploys.facts.answers import ClusterFact
from kubeadm_deploys.facts.cni import CALICO_FOLDER
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class ClusterSettingsState:
    """What a cluster was made with.

    ``control_plane_endpoint`` is a name or address with its port, and may be empty. ``kubelet`` and ``kube_proxy`` are
    the documents that kubeadm keeps of their configurations. ``calico_version`` and ``encapsulation`` are those of the
    pod network, empty where there is none or nobody can tell.

    ``silent`` is what kubectl said when no API server answered. All else is then what the files of one control plane
    say, and empty where a file does not: without the documents and names of certificates, which are None, and without a
    record.
    """

    cluster_name: str
    control_plane_endpoint: str
    pod_subnet: str
    service_subnet: str
    dns_domain: str
    kubernetes_version: str
    certificate_sans: tuple[str, ...] | None = None
    kubelet: Mapping[str, Any] | None = None
    kube_proxy: Mapping[str, Any] | None = None
    calico_version: str = ""
    encapsulation: str = ""
    record: ClusterRecord = field(default_factory=ClusterRecord)
    silent: str = ""


class ClusterSettings(ClusterFact[ClusterSettingsState | None]):
    """All of it, read on a control plane in one command; None where kubeadm has not come as far as to store it."""

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
            raise ValueError(f"the cluster's configuration cannot be understood: {error}") from None


def _of_objects(encoded: str, *, encapsulation: str) -> ClusterSettingsState | None:
    listed = json.loads(base64.b64decode(encoded) or '{"items": []}')["items"]
    found = {each["metadata"]["name"]: each for each in listed}
    if not {"kubeadm-config", "kubelet-config"} <= found.keys():
        return None
    cluster = _texts(found["kubeadm-config"]["data"]["ClusterConfiguration"])
    networking = cluster["networking"]
    return ClusterSettingsState(
        cluster_name=cluster["clusterName"],
        control_plane_endpoint=cluster.get("controlPlaneEndpoint", ""),
        pod_subnet=networking.get("podSubnet", ""),
        service_subnet=networking["serviceSubnet"],
        dns_domain=networking["dnsDomain"],
        kubernetes_version=cluster["kubernetesVersion"].removeprefix("v"),
        certificate_sans=tuple((cluster.get("apiServer") or {}).get("certSANs") or ()),
        kubelet=dict(yaml.safe_load(found["kubelet-config"]["data"]["kubelet"])),
        kube_proxy=_kube_proxy(found.get("kube-proxy")),
        calico_version=_calico_version(found.get("calico-node")),
        encapsulation=encapsulation,
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
        calico_version=found.get("calico", ""),
        encapsulation=encapsulation,
        silent=values["silent"] or "no answer in time",
    )


def _kube_proxy(config_map: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Its configuration; kubeadm can be told to leave kube-proxy out."""
    return dict(yaml.safe_load(config_map["data"]["config.conf"])) if config_map else None


def _texts(text: str) -> dict[str, Any]:
    """A document in which every scalar is text: to Python's reader names like 1_000 are numbers, to Go's they are not."""
    return dict(yaml.load(text, Loader=yaml.BaseLoader))


def _calico_version(daemon_set: Mapping[str, Any] | None) -> str:
    """The release of calico-node's image, empty without one and for a tag that is no release."""
    return next(_tags(daemon_set), "") if daemon_set else ""


def _tags(daemon_set: Mapping[str, Any]) -> Iterator[str]:
    for container in daemon_set["spec"]["template"]["spec"]["containers"]:
        if match := re.search(r":v(\d+\.\d+\.\d+)$", container["image"]):
            yield match[1]


def _encapsulation(modes: str) -> str:
    """Calico's two modes of a pool ("Always", "CrossSubnet" or "Never", IPIP before VXLAN) as the option says it."""
    if not modes.strip():
        return ""
    ipip, vxlan = modes.split()
    if vxlan != "Never":
        return "VXLAN"
    return "IPIP" if ipip != "Never" else "None"
