"""The configuration of a cluster that this package made, as kubectl prints it."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from kubeadm_deploys.facts.cluster_settings import ClusterSettings, ClusterSettingsState

CLUSTER = {
    "apiServer": {"certSANs": ["api.kubernetes.internal", "localhost", "127.0.0.1", "cp-1", "10.0.0.1"]},
    "apiVersion": "kubeadm.k8s.io/v1beta4",
    "caCertificateValidityPeriod": "87600h0m0s",
    "certificatesDir": "/etc/kubernetes/pki",
    "clusterName": "kubernetes",
    "controlPlaneEndpoint": "api.kubernetes.internal:6443",
    "kind": "ClusterConfiguration",
    "kubernetesVersion": "v1.37.2",
    "networking": {
        "dnsDomain": "cluster.local",
        "podSubnet": "10.244.0.0/16",
        "serviceSubnet": "10.96.0.0/12",
    },
}
KUBELET = {
    "apiVersion": "kubelet.config.k8s.io/v1beta1",
    "authentication": {"anonymous": {"enabled": False}, "webhook": {"cacheTTL": "0s", "enabled": True}},
    "cgroupDriver": "systemd",
    "clusterDNS": ["10.96.0.10"],
    "clusterDomain": "cluster.local",
    "evictionPressureTransitionPeriod": "0s",
    "kind": "KubeletConfiguration",
    "resolvConf": "/etc/kubernetes/resolv.conf",
    "rotateCertificates": True,
    "staticPodPath": "/etc/kubernetes/manifests",
}
KUBE_PROXY = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "clusterCIDR": "10.244.0.0/16",
    "conntrack": {"maxPerCore": None, "min": None, "tcpCloseWaitTimeout": None},
    "kind": "KubeProxyConfiguration",
    "mode": "",
}
RELEASES = {"containerd": "2.3.4", "runc": "1.4.3", "cni-plugins": "1.9.1", "calico": "3.31.0"}


def objects(
    *,
    cluster: Mapping[str, Any] = CLUSTER,
    kubelet: Mapping[str, Any] = KUBELET,
    kube_proxy: Mapping[str, Any] | None = KUBE_PROXY,
    record: Mapping[str, str] | None = None,
    calico: str = "quay.io/calico/node:v3.31.0",
    deployments: Mapping[str, Sequence[str]] = {},
) -> dict[str, Any]:
    """Return the list that kubectl gets.

    ``record`` is the data of our ConfigMap, ``calico`` is calico-node's image, ``deployments`` are images by name.
    """
    config_maps = {
        "kubeadm-config": {"ClusterConfiguration": yaml.safe_dump(dict(cluster))},
        "kubelet-config": {"kubelet": yaml.safe_dump(dict(kubelet))},
        **({"kube-proxy": {"config.conf": yaml.safe_dump(dict(kube_proxy))}} if kube_proxy else {}),
        **({} if record is None else {"kubeadm-deploys": dict(record)}),
    }
    items: list[dict[str, Any]] = [
        {"kind": "ConfigMap", "metadata": {"name": name}, "data": data} for name, data in config_maps.items()
    ]
    if calico:
        items.append(
            {"kind": "ConfigMap", "metadata": {"name": "calico-config"}, "data": {"veth_mtu": "1450"}}
        )
        containers = [{"name": "calico-node", "image": calico}]
        items.append(
            {
                "kind": "DaemonSet",
                "metadata": {"name": "calico-node"},
                "spec": {"template": {"spec": {"containers": containers}}},
            }
        )
    for name, images in deployments.items():
        containers = [
            {"name": image.rpartition("/")[2].partition(":")[0], "image": image} for image in images
        ]
        items.append(
            {
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": {"template": {"spec": {"containers": containers}}},
            }
        )
    return {"apiVersion": "v1", "kind": "List", "items": items}


def answer(*, pool: str = "Never Always", **arguments: Any) -> list[str]:
    """Return what the fact's script prints; ``pool`` holds Calico's modes of IPIP and of VXLAN."""
    encoded = base64.b64encode(json.dumps(objects(**arguments)).encode()).decode()
    return [f"objects {encoded}", f"pool {pool}"]


def record(**releases: str) -> dict[str, str]:
    """Return the data of a record with these releases instead of the package's own."""
    return {
        "releases": json.dumps(
            RELEASES | {name.replace("_", "-"): version for name, version in releases.items()}
        )
    }


def settings_of(lines: list[str]) -> ClusterSettingsState:
    """Return what the fact makes of these lines, from a cluster that has stored its configuration."""
    found = ClusterSettings().process(lines)
    assert found is not None
    return found
