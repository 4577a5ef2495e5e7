"""Types of user input. Each is validated by one of ``checks``, whose error includes the fix."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

from packaging.version import Version
from pydantic import BeforeValidator, PlainValidator

from kubeadm_deploys.model import artifacts, checks, cluster_configuration, url_checks

NODE_SUBNET_PREFIX = 24
"""kube-controller-manager assigns a /24 of the pod subnet to every node (kubeadm's default)."""

_BIGGEST_POD_SUBNET_PREFIX = 8
"""kubeadm refuses a subnet of more than 2^16 nodes."""


def release(value: object) -> Version:
    """Return a release number like 1.37.2 as a Version.

    Raises:
        ValueError: it is not a release number.
    """
    return value if isinstance(value, Version) else Version(checks.version(value))


def _pod_subnet(value: object) -> IPv4Network:
    found = checks.network(value)
    if found.prefixlen > NODE_SUBNET_PREFIX:
        raise ValueError("is too small, because every node takes a /24; use a /16, like 10.244.0.0/16")
    if found.prefixlen < _BIGGEST_POD_SUBNET_PREFIX:
        raise ValueError(
            f"is too big, because kubeadm accepts at most a /{_BIGGEST_POD_SUBNET_PREFIX}; "
            "use a /16, like 10.244.0.0/16"
        )
    return found


def _service_subnet(value: object) -> IPv4Network:
    found = checks.network(value)
    # kubeadm requires ten addresses; the API server refuses more than 20 host bits.
    if not 12 <= found.prefixlen <= 28:
        size = "big" if found.prefixlen < 12 else "small"
        raise ValueError(f"is too {size}; use a /12 to a /28, like 10.96.0.0/12")
    return found


def _kubelet_configuration(value: object) -> Mapping[str, Any]:
    found = checks.document(value)
    if found.get("rotateCertificates") is False:
        raise ValueError(
            "turns off rotateCertificates, so every node's certificate expires after a year; leave it out"
        )
    return found


_FIXED_IN_KUBELETS = {
    "cgroupDriver": "is systemd, as containerd's",
    "staticPodPath": "is where kubeadm writes the static pods",
    **dict.fromkeys(
        ("healthzBindAddress", "healthzPort"),
        "kubeadm looks up in the cluster's configuration when it waits for a new node's kubelet; set it in "
        "kubelet_configuration",
    ),
}
"""Fields of a node's kubelet that users must not set, and why; the cluster's configuration has them for all nodes."""


def _node_kubelet_configuration(value: object) -> Mapping[str, Any]:
    found = _kubelet_configuration(value)
    for name, reason in _FIXED_IN_KUBELETS.items():
        if name in found:
            raise ValueError(f"has {name}, which {reason}; leave it out")
    if name := _without_value(found):
        raise ValueError(f"has {name} without a value, which removes the cluster's; write the value")
    return found


def _without_value(fields: Mapping[str, Any], *, above: str = "") -> str:
    """Return the path of the first field at any depth that is None, empty without one.

    The kubelet merges drop-ins as JSON merge patches, in which null removes a field.
    """
    for key, value in fields.items():
        if value is None:
            return f"{above}{key}"
        parts = enumerate(value) if isinstance(value, list) else ()
        inner = value if isinstance(value, Mapping) else {str(number): part for number, part in parts}
        if name := _without_value(inner, above=f"{above}{key}/"):
            return name
    return ""


_FIXED_IN_KUBE_PROXY = {
    ("clusterCIDR",): "is the option pod_subnet",
    ("hostnameOverride",): "is the node's name, with which kubeadm starts kube-proxy",
    ("clientConnection", "kubeconfig"): "is where kubeadm mounts it",
}
"""Fields of the KubeProxyConfiguration that users must not set, and why."""


def _kube_proxy_configuration(value: object) -> Mapping[str, Any]:
    found = checks.document(value)
    for path, reason in _FIXED_IN_KUBE_PROXY.items():
        part: object = found
        for key in path:
            part = part.get(key) if isinstance(part, Mapping) else None
        if part is not None:
            raise ValueError(f"has {'.'.join(path)}, which {reason}; leave it out")
    return found


def _cluster_configuration(value: object) -> Mapping[str, Any]:
    return cluster_configuration.check(checks.document(value))


def _kubernetes_version(value: object) -> Version:
    found = release(value)
    known = list(artifacts.SANDBOX_IMAGES)
    if f"{found.major}.{found.minor}" not in known:
        raise ValueError(f"is not supported; choose a release from {known[0]} to {known[-1]}")
    return found


def _containerd_version(value: object) -> Version:
    found = release(value)
    if artifacts.containerd_config_version(found) is None:
        raise ValueError("is not supported; choose 1.7 or newer")
    return found


def _cloud_controller_version(value: object) -> Version:
    found = release(value)
    if found < Version(artifacts.OLDEST_HCLOUD_CLOUD_CONTROLLER):
        raise ValueError(
            "does not work with the manifest that this package installs; "
            f"choose {artifacts.OLDEST_HCLOUD_CLOUD_CONTROLLER} or newer"
        )
    return found


def _none_is_a_word(value: object) -> object:
    # In a Python file, users write None for the word that the error message suggests.
    return "None" if value is None else value


Release = Annotated[Version, PlainValidator(release)]
"""A release number like 1.37.2."""

KubernetesRelease = Annotated[Version, PlainValidator(_kubernetes_version)]
ContainerdRelease = Annotated[Version, PlainValidator(_containerd_version)]
CloudControllerRelease = Annotated[Version, PlainValidator(_cloud_controller_version)]

PodSubnet = Annotated[IPv4Network, PlainValidator(_pod_subnet)]
ServiceSubnet = Annotated[IPv4Network, PlainValidator(_service_subnet)]
OptionalNetwork = Annotated[IPv4Network | None, PlainValidator(checks.or_none(checks.network))]
OptionalAddress = Annotated[IPv4Address | None, PlainValidator(checks.or_none(checks.node_address))]
Nameservers = Annotated[tuple[IPv4Address, ...], PlainValidator(checks.nameservers)]

DnsLabel = Annotated[str, PlainValidator(checks.dns_label)]
DnsName = Annotated[str, PlainValidator(checks.dns_name)]
OptionalDnsName = Annotated[str, PlainValidator(checks.or_empty(checks.dns_name))]
OptionalSan = Annotated[str, PlainValidator(checks.or_empty(checks.san))]
Sans = Annotated[tuple[str, ...], PlainValidator(checks.tuple_of(checks.san))]
OptionalUrl = Annotated[str, PlainValidator(url_checks.url_or_empty)]
OptionalProxy = Annotated[str, PlainValidator(url_checks.proxy_or_empty)]
WithoutProxy = Annotated[tuple[str, ...], PlainValidator(url_checks.without_proxy)]
OptionalPath = Annotated[str, PlainValidator(checks.path_or_empty)]
RegistryHost = Annotated[str, PlainValidator(url_checks.registry)]
RegistryMirrors = Annotated[tuple[str, ...], PlainValidator(checks.tuple_of(url_checks.registry_mirror))]
RegistryUser = Annotated[str, PlainValidator(checks.or_empty(url_checks.registry_user))]
EnvironmentVariable = Annotated[str, PlainValidator(checks.or_empty(url_checks.environment_variable))]
Content = Annotated[str, PlainValidator(checks.content)]
Mode = Annotated[str, PlainValidator(checks.mode)]
Fingerprint = Annotated[str, PlainValidator(checks.fingerprint)]
Recipients = Annotated[tuple[str, ...], PlainValidator(checks.tuple_of(checks.recipient))]
PreflightChecks = Annotated[tuple[str, ...], PlainValidator(checks.tuple_of(checks.preflight_check))]
SkippableChecks = Annotated[tuple[str, ...], PlainValidator(checks.tuple_of(checks.skippable_check))]

Flag = Annotated[bool, PlainValidator(checks.flag)]
Mtu = Annotated[int, PlainValidator(checks.mtu)]
Seconds = Annotated[int, PlainValidator(checks.seconds)]

KubeletConfiguration = Annotated[Mapping[str, Any], PlainValidator(_kubelet_configuration)]
NodeKubeletConfiguration = Annotated[Mapping[str, Any], PlainValidator(_node_kubelet_configuration)]
KubeProxyConfiguration = Annotated[Mapping[str, Any], PlainValidator(_kube_proxy_configuration)]
ClusterConfiguration = Annotated[Mapping[str, Any], PlainValidator(_cluster_configuration)]
Checksums = Annotated[Mapping[str, str], PlainValidator(checks.checksums)]

NoneIsAWord = BeforeValidator(_none_is_a_word)
