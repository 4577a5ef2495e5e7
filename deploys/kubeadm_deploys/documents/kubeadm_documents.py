"""The configuration documents of kubeadm, as pure functions of the options.

Source: kubeadm's API reference, kubeadm.k8s.io/v1beta4.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kubeadm_deploys.documents.templates import yaml_text
from kubeadm_deploys.model import checks, labels_and_taints
from kubeadm_deploys.model.cluster_configuration import OURS, with_extras
from kubeadm_deploys.model.nodes import API_PORT, Node, Topology
from kubeadm_deploys.model.options import ClusterOptions

CRI_SOCKET = "unix:///run/containerd/containerd.sock"
RESOLVER_FILE = "/etc/kubernetes/resolv.conf"
TOKEN_TTL = "30m0s"
"""Lifetime of a join token if the run that created it does not delete it."""

TOKEN_DESCRIPTION = "kubeadm-deploys"
"""Identifies join tokens of this package to the next run, which deletes them."""


def init_document(*, options: ClusterOptions, topology: Topology, node: Node, token: str) -> str:
    """Return the document of ``kubeadm init``, with the kubelet's and kube-proxy's configuration."""
    return yaml_text(
        {
            **_kubeadm("InitConfiguration"),
            "bootstrapTokens": [_bootstrap_token(token)],
            "localAPIEndpoint": _local_api_endpoint(node),
            "nodeRegistration": _node_registration(options=options, node=node),
        },
        cluster_configuration(options=options, topology=topology),
        kubelet_configuration(options),
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            **options.kube_proxy_configuration,
        },
    )


def restore_document(
    *,
    options: ClusterOptions,
    topology: Topology,
    node: Node,
    token: str,
    configuration: Mapping[str, Any],
    kubelet: Mapping[str, Any],
) -> str:
    """Return the document of a ``kubeadm init`` on a restored etcd.

    The ClusterConfiguration (``configuration``) and the kubelets' one are those of the backup; the certificate of the
    API server also gets the names and addresses of the inventory's control planes.
    """
    server = configuration.get("apiServer") or {}
    sans = [*(server.get("certSANs") or ()), *certificate_sans(options=options, topology=topology)]
    return yaml_text(
        {
            **_kubeadm("InitConfiguration"),
            "bootstrapTokens": [_bootstrap_token(token)],
            "localAPIEndpoint": _local_api_endpoint(node),
            "nodeRegistration": _node_registration(options=options, node=node),
        },
        {**configuration, "apiServer": {**server, "certSANs": list(dict.fromkeys(map(str, sans)))}},
        kubelet,
    )


def cluster_configuration(*, options: ClusterOptions, topology: Topology) -> dict[str, Any]:
    """Return the ClusterConfiguration, which all control planes share, with the user's fields."""
    ours: dict[str, Any] = {
        **_kubeadm("ClusterConfiguration"),
        "clusterName": options.cluster_name,
        "kubernetesVersion": f"v{options.kubernetes_version}",
        "controlPlaneEndpoint": f"{options.endpoint}:{API_PORT}",
        "networking": {
            "podSubnet": str(options.pod_subnet),
            "serviceSubnet": str(options.service_subnet),
            "dnsDomain": options.dns_domain,
        },
        "apiServer": {"certSANs": certificate_sans(options=options, topology=topology)},
    }
    for component, arguments in OURS.items():
        ours[component] = {**ours.get(component, {}), "extraArgs": list(arguments)}
    return with_extras(ours, options.cluster_configuration)


def reconfiguration_document(node: Node, *documents: Mapping[str, Any]) -> str:
    """Return the documents with which kubeadm, on a control plane, renders static pods or stores a configuration."""
    return yaml_text(
        {
            **_kubeadm("InitConfiguration"),
            "localAPIEndpoint": _local_api_endpoint(node),
            "nodeRegistration": {"name": node.name, "criSocket": CRI_SOCKET},
        },
        *map(dict, documents),
    )


def certificate_sans(*, options: ClusterOptions, topology: Topology) -> list[str]:
    """Return all names and addresses of the API servers: those that the cluster needs, and the user's own."""
    return list(dict.fromkeys([*needed_sans(options=options, topology=topology), *options.certificate_sans]))


def needed_sans(*, options: ClusterOptions, topology: Topology) -> list[str]:
    """Return the names and addresses by which nodes and operators reach the API servers."""
    sans = [options.endpoint, "localhost", "127.0.0.1"]
    for node in topology.control_planes:
        sans += [node.name, node.ip]
        # An alias in the operator's SSH configuration may not be valid in a certificate.
        with suppress(ValueError):
            sans.append(checks.san(node.address.lower()))
    if options.api_load_balancer_address:
        sans.append(str(options.api_load_balancer_address))
    return sans


def kubelet_configuration(options: ClusterOptions) -> dict[str, Any]:
    """Return the kubelet configuration; the user's fields override the defaults, except the cgroup driver."""
    swap: Mapping[str, Any] = {"failSwapOn": False} if options.swap == "keep" else {}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "resolvConf": RESOLVER_FILE,
        **swap,
        **options.kubelet_configuration,
        # containerd uses the same driver; two managers of one cgroup tree are unstable under pressure.
        "cgroupDriver": "systemd",
    }


def join_document(
    *, options: ClusterOptions, node: Node, control_plane: bool, token: str, ca_certificate: str
) -> str:
    """Return the document of ``kubeadm join`` for a control plane or worker. It only trusts this CA."""
    role = {"controlPlane": {"localAPIEndpoint": _local_api_endpoint(node)}} if control_plane else {}
    return yaml_text(
        {
            **_kubeadm("JoinConfiguration"),
            **role,
            "discovery": {
                "bootstrapToken": {
                    "token": token,
                    "apiServerEndpoint": f"{options.endpoint}:{API_PORT}",
                    "caCertHashes": [ca_certificate_hash(ca_certificate)],
                }
            },
            "nodeRegistration": _node_registration(options=options, node=node),
        }
    )


def token_document(*, options: ClusterOptions, node: Node, token: str) -> str:
    """Return the document of ``kubeadm token create`` on the control plane ``node``.

    kubeadm uses neither the address nor the release here. But without an address it looks for the default
    route, which a machine may not have, and without a release it asks dl.k8s.io for the newest one.
    """
    return yaml_text(
        {
            **_kubeadm("InitConfiguration"),
            "bootstrapTokens": [_bootstrap_token(token)],
            "localAPIEndpoint": _local_api_endpoint(node),
        },
        {**_kubeadm("ClusterConfiguration"), "kubernetesVersion": f"v{options.kubernetes_version}"},
    )


def ca_certificate_hash(pem: str) -> str:
    """Return kubeadm's pin of a CA: the sha256 of its public key (SubjectPublicKeyInfo)."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    public_key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(public_key).hexdigest()}"


def kubelet_flags(*, options: ClusterOptions, node: Node) -> dict[str, str]:
    """Return the kubelet flags that have no configuration field; they are set when a node joins."""
    flags = {"node-ip": node.ip}
    if options.cloud_provider != "none":
        # With this flag the node stays tainted until a cloud controller runs, so it is only set with a cloud.
        flags["cloud-provider"] = "external"
        if node.provider_id:
            flags["provider-id"] = node.provider_id
    return flags


def _bootstrap_token(token: str) -> dict[str, str]:
    return {"token": token, "ttl": TOKEN_TTL, "description": TOKEN_DESCRIPTION}


def _kubeadm(kind: str) -> dict[str, str]:
    return {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": kind}


def _local_api_endpoint(node: Node) -> dict[str, Any]:
    return {"advertiseAddress": node.ip, "bindPort": API_PORT}


def _node_registration(*, options: ClusterOptions, node: Node) -> dict[str, Any]:
    # Without this field, a control plane gets kubeadm's taint; with an empty list, it gets none.
    taints = {} if node.taints is None else {"taints": labels_and_taints.taint_objects(node.taints)}
    return {
        "name": node.name,
        "criSocket": CRI_SOCKET,
        **taints,
        "imagePullSerial": False,
        "kubeletExtraArgs": [
            {"name": name, "value": value}
            for name, value in kubelet_flags(options=options, node=node).items()
        ],
        "ignorePreflightErrors": list(options.ignore_preflight_errors),
    }
