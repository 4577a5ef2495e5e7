"""The documents that kubeadm reads, as pure functions of the options.

Source: kubeadm's API reference, kubeadm.k8s.io/v1beta4.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kubeadm_deploys import checks, marks
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.text import yaml_text

API_PORT = 6443
CRI_SOCKET = "unix:///run/containerd/containerd.sock"
RESOLVER_FILE = "/etc/kubernetes/resolv.conf"
TOKEN_TTL = "30m0s"
"""How long a join token lives when the run that made it dies before deleting it."""

TOKEN_DESCRIPTION = "kubeadm-deploys"
"""By which our join tokens are known to the next run, which deletes them."""


def init_document(*, options: ClusterOptions, topology: Topology, node: Node, token: str) -> str:
    """The one document of ``kubeadm init``: InitConfiguration, ClusterConfiguration, kubelet and kube-proxy."""
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


def cluster_configuration(*, options: ClusterOptions, topology: Topology) -> dict[str, Any]:
    """What all control planes share."""
    return {
        **_kubeadm("ClusterConfiguration"),
        "clusterName": options.cluster_name,
        "kubernetesVersion": f"v{options.kubernetes_version}",
        "controlPlaneEndpoint": f"{options.endpoint}:{API_PORT}",
        "networking": {
            "podSubnet": options.pod_subnet,
            "serviceSubnet": options.service_subnet,
            "dnsDomain": options.dns_domain,
        },
        "apiServer": {"certSANs": certificate_sans(options=options, topology=topology)},
    }


def certificate_sans(*, options: ClusterOptions, topology: Topology) -> list[str]:
    """Every way into the API: the endpoint, each control plane by name and addresses, and the user's own."""
    ways = [options.endpoint, "localhost", "127.0.0.1"]
    for node in topology.control_planes:
        ways += [node.name, node.ip]
        # An alias in the operator's SSH configuration need not be a name that a certificate can have.
        with suppress(ValueError):
            ways.append(checks.san(node.address.lower()))
    if options.load_balancer_address:
        ways.append(options.load_balancer_address)
    return list(dict.fromkeys([*ways, *options.certificate_sans]))


def kubelet_configuration(options: ClusterOptions) -> dict[str, Any]:
    """The kubelets' configuration; the user's own fields count before ours, except for the cgroup driver."""
    swap: Mapping[str, Any] = {"failSwapOn": False} if options.swap == "keep" else {}
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "resolvConf": RESOLVER_FILE,
        **swap,
        **options.kubelet_configuration,
        # containerd is configured to the same; two managers of one cgroup tree fall out under pressure.
        "cgroupDriver": "systemd",
    }


def join_document(
    *, options: ClusterOptions, node: Node, control_plane: bool, token: str, ca_certificate: str
) -> str:
    """The document of ``kubeadm join``, as a control plane or a worker; it trusts only the API of this CA."""
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


def token_document(token: str) -> str:
    """The document of ``kubeadm token create``."""
    return yaml_text({**_kubeadm("InitConfiguration"), "bootstrapTokens": [_bootstrap_token(token)]})


def ca_certificate_hash(pem: str) -> str:
    """kubeadm's pin of a CA: the sha256 of its public key (SubjectPublicKeyInfo)."""
    certificate = x509.load_pem_x509_certificate(pem.encode())
    public_key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"sha256:{hashlib.sha256(public_key).hexdigest()}"


def kubelet_flags(*, options: ClusterOptions, node: Node) -> dict[str, str]:
    """What a kubelet can only be told on its command line, when its node joins."""
    flags = {"node-ip": node.ip}
    if options.cloud_provider != "none":
        # The node waits with a taint for the cloud's controller, so never without one.
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
    # Without the field a control plane gets kubeadm's taint, with an empty list none.
    taints = {} if node.taints is None else {"taints": marks.taint_objects(node.taints)}
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
