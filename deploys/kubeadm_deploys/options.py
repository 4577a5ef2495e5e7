"""The whole public configuration of a cluster, checked once, before anything is touched.

Nothing here reads a machine or a file. The entry scripts build ``ClusterOptions`` from pyinfra's data
(see ``entry``); a project that imports single sections builds it by itself.
"""

import dataclasses
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass
from typing import Any, Self

from kubeadm_deploys import artifacts, checks
from kubeadm_deploys.errors import InputError, shown

DEFAULT_RELEASES = {
    "kubernetes_version": artifacts.KUBERNETES_VERSION,
    "containerd_version": artifacts.CONTAINERD_VERSION,
    "runc_version": artifacts.RUNC_VERSION,
    "cni_plugins_version": artifacts.CNI_PLUGINS_VERSION,
    "calico_version": artifacts.CALICO_VERSION,
}
"""The options that follow a cluster when the user has not set them, each with this package's own release."""

_NODE_SUBNET_PREFIX = 24
"""kube-controller-manager gives every node a /24 of the pod subnet (kubeadm's default)."""

_BIGGEST_POD_SUBNET_PREFIX = 8
"""kubeadm refuses a subnet of more than 2^16 nodes."""

_FIRST_CALICO_WITH_LOAD_BALANCERS = (3, 30)

_FIRST_WITH_CONTAINERD_2 = (1, 37, 0)
"""From then on kubeadm's preflight demands a runtime that tells the kubelet its cgroup driver, as containerd 2 does."""


def _pod_subnet(value: object) -> str:
    found = ipaddress.IPv4Network(checks.network(value))
    if found.prefixlen > _NODE_SUBNET_PREFIX:
        raise ValueError("is too small, every node takes a /24; use a /16, like 10.244.0.0/16")
    if found.prefixlen < _BIGGEST_POD_SUBNET_PREFIX:
        raise ValueError(
            f"is too big, kubeadm takes a /{_BIGGEST_POD_SUBNET_PREFIX} at most; use a /16, like 10.244.0.0/16"
        )
    return str(found)


def _service_subnet(value: object) -> str:
    found = ipaddress.IPv4Network(checks.network(value))
    # kubeadm wants ten addresses, the API server refuses more than 20 host bits.
    if not 12 <= found.prefixlen <= 28:
        size = "big" if found.prefixlen < 12 else "small"
        raise ValueError(f"is too {size}; use a /12 to a /28, like 10.96.0.0/12")
    return str(found)


def _kubelet_configuration(value: object) -> Mapping[str, Any]:
    found = checks.document(value)
    if found.get("rotateCertificates") is False:
        raise ValueError(
            "turns rotateCertificates off, so that every node is lost after a year; leave it out"
        )
    return found


def _kubernetes_version(value: object) -> str:
    found = checks.version(value)
    known = list(artifacts.SANDBOX_IMAGES)
    if found.rpartition(".")[0] not in known:
        raise ValueError(f"is not supported; choose a release of {known[0]} to {known[-1]}")
    return found


def _containerd_version(value: object) -> str:
    found = checks.version(value)
    if artifacts.containerd_config_version(found) is None:
        raise ValueError("is not supported; choose 1.7 or newer")
    return found


def _cloud_controller_version(value: object) -> str:
    found = checks.version(value)
    if _release(found) < _release(artifacts.OLDEST_HCLOUD_CLOUD_CONTROLLER):
        raise ValueError(
            "does not go with the manifest that this package installs; "
            f"choose {artifacts.OLDEST_HCLOUD_CLOUD_CONTROLLER} or newer"
        )
    return found


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _option(
    default: Any, check: Callable[[object], object], meaning: str, *, per_machine: bool = False
) -> Any:
    """A field with its check and the sentence that the README's table of options shows.

    ``per_machine`` is whether it decides about one machine alone, so that machines may differ in it.
    """
    metadata = {"check": check, "meaning": meaning, "per_machine": per_machine}
    if isinstance(default, Mapping):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """What the user may decide; every field has a default that makes a good cluster.

    Only ``following`` passes ``followed``, the fields that have the cluster's values, and ``set_by_user``.

    Raises:
        InputError: with every wrong field at once, each with its value and what to write instead.
    """

    followed: InitVar[frozenset[str]] = frozenset()
    set_by_user: InitVar[frozenset[str] | None] = None

    cluster_name: str = _option("kubernetes", checks.dns_label, "Name of the cluster, in its kubeconfig too.")
    kubernetes_version: str = _option(
        artifacts.KUBERNETES_VERSION,
        _kubernetes_version,
        "Kubernetes release; 1.31 or newer, because the kubeadm document is v1beta4.",
    )
    containerd_version: str = _option(
        artifacts.CONTAINERD_VERSION, _containerd_version, "containerd release, 1.7 or newer."
    )
    runc_version: str = _option(artifacts.RUNC_VERSION, checks.version, "runc release.")
    cni_plugins_version: str = _option(
        artifacts.CNI_PLUGINS_VERSION, checks.version, "Release of the reference CNI plugins."
    )
    calico_version: str = _option(artifacts.CALICO_VERSION, checks.version, "Calico release.")
    pod_subnet: str = _option(
        "10.244.0.0/16", _pod_subnet, "IPv4 network of the pods; every node takes a /24 of it."
    )
    service_subnet: str = _option(
        "10.96.0.0/12", _service_subnet, "IPv4 network of the Services' ClusterIPs."
    )
    dns_domain: str = _option("cluster.local", checks.dns_name, "DNS domain of Services and pods.")
    control_plane_endpoint: str = _option(
        "",
        checks.dns_name_or_empty,
        "Name of the API server that nodes use, kept in their `/etc/hosts`; empty: `api.<cluster_name>.internal`.",
    )
    certificate_sans: tuple[str, ...] = _option(
        (), checks.tuple_of(checks.san), "Further names and addresses for the API server's certificate."
    )
    encapsulation: str = _option(
        "VXLAN",
        checks.one_of("VXLAN", "IPIP", "None"),
        "How Calico carries pod traffic between nodes; `None` routes it by BGP.",
    )
    pod_mtu: int = _option(
        0,
        checks.mtu,
        "MTU of the pods' interfaces in bytes; 0: the node interface's, less the encapsulation.",
    )
    swap: str = _option(
        "off",
        checks.one_of("off", "keep"),
        "`off` turns swap off for good; `keep` leaves it and makes the kubelet tolerate it.",
    )
    mirror: str = _option(
        "", checks.url_or_empty, "URL under which every upstream host is mirrored; empty: the official hosts."
    )
    checksums: Mapping[str, str] = _option(
        {},
        checks.checksums,
        "sha256 by upstream URL, for artifacts that the built-in table lacks or a mirror built itself; in pyinfra data also the path of a file in `sha256sum` format.",
    )
    kubernetes_apt_key_fingerprint: str = _option(
        artifacts.KUBERNETES_APT_KEY_FINGERPRINT,
        checks.fingerprint,
        "Fingerprint of the key that signs the apt repository.",
    )
    containerd_restrict_oom_score_adj: bool = _option(
        False,
        checks.flag,
        "Set containerd's option of this name; needed where lowering `oom_score_adj` is refused.",
        per_machine=True,
    )
    kubelet_configuration: Mapping[str, Any] = _option(
        {}, _kubelet_configuration, "Fields to add to the KubeletConfiguration of `kubeadm init`."
    )
    kube_proxy_configuration: Mapping[str, Any] = _option(
        {}, checks.document, "Fields to add to the KubeProxyConfiguration of `kubeadm init`."
    )
    ignore_preflight_errors: tuple[str, ...] = _option(
        (), checks.tuple_of(checks.preflight_check), "kubeadm preflight checks to waive, by name."
    )
    waive_checks: tuple[str, ...] = _option(
        (),
        checks.tuple_of(checks.waivable_check),
        "Checks of ours to waive, by the names under [Before anything is changed](#before-anything-is-changed).",
    )
    kubeconfig: str = _option(
        "",
        checks.path_or_empty,
        "Where the administrator's kubeconfig goes on the operator's machine; empty: `<cluster_name>.kubeconfig`. A file "
        "that holds other clusters too is never touched.",
    )
    kubeconfig_address: str = _option(
        "",
        checks.san_or_empty,
        "Host or address of the API in that kubeconfig, like a load balancer's; empty: a control plane's.",
    )
    ready_timeout: int = _option(
        300, checks.seconds, "Seconds that nodes, CoreDNS and Calico have to become ready."
    )

    provisioning_timeout: int = _option(
        300,
        checks.seconds,
        "Seconds that a new machine has to finish cloud-init and to bring up the interface with `node_ip`.",
        per_machine=True,
    )
    nameservers: tuple[str, ...] = _option(
        (),
        checks.nameservers,
        "DNS servers that kubelet, CoreDNS and pods ask for names outside the cluster, at most three; empty: the machine's own.",
        per_machine=True,
    )
    cloud_provider: str = _option(
        "none",
        checks.one_of("none", "hetzner"),
        "`hetzner` runs Hetzner's cloud controller and CSI driver; the Hetzner inventory sets it.",
    )
    hcloud_cloud_controller_version: str = _option(
        artifacts.HCLOUD_CLOUD_CONTROLLER_VERSION,
        _cloud_controller_version,
        "Release of Hetzner's cloud controller manager, 1.35.0 or newer.",
    )
    hcloud_csi_version: str = _option(
        artifacts.HCLOUD_CSI_VERSION, checks.version, "Release of Hetzner's CSI driver."
    )
    endpoint_kind: str = _option(
        "",
        checks.one_of("", "single", "load_balancer", "local_proxy"),
        "What workers find behind the API's name: `single` control plane, `load_balancer`, or `local_proxy` (haproxy on every worker); empty: the load balancer if it has an address, else `single` with one control plane and `local_proxy` with several.",
    )
    load_balancer_address: str = _option(
        "",
        checks.address_or_empty,
        "Address of a load balancer before the API servers, for the workers.",
    )
    load_balancer_range: str = _option(
        "",
        checks.network_or_empty,
        "IPv4 network from which Calico gives Services of type LoadBalancer their addresses; every node answers them, and leading the network to a node is your router's part; empty: they get none.",
    )

    def __new__(cls, **fields: Any) -> Self:
        options = super().__new__(cls)
        # A dataclass does not tell a value that was given from a default of the same value.
        object.__setattr__(options, "_given", frozenset(fields))
        return options

    def __post_init__(self, followed: frozenset[str], set_by_user: frozenset[str] | None) -> None:
        if set_by_user is not None:
            object.__setattr__(self, "_given", set_by_user)
        problems = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            try:
                object.__setattr__(self, field.name, field.metadata["check"](value))
            except ValueError as error:
                problems.append(f"{field.name}: {shown(value)} {error}")
        # The relations are only worth a word when the single values make sense.
        problems = problems or [
            *_subnet_problems(self),
            *_endpoint_problems(self),
            *_load_balancer_problems(self),
            *_version_problems(self, followed=followed),
        ]
        if problems:
            raise InputError(problems)

    @property
    def given(self) -> frozenset[str]:
        """Names of the fields that the user has set, to whatever value; after ``dataclasses.replace`` these are all."""
        return frozenset(self.__dict__["_given"])

    def following(self, cluster: Mapping[str, str]) -> "ClusterOptions":
        """The same options with values of the cluster, by field, in the place of these.

        A release that the cluster has may be one whose checksum nobody knows: that only matters to what has to fetch it.

        Raises:
            InputError: these options do not go with a value of the cluster, or this package does not know it.
        """
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return ClusterOptions(**values | dict(cluster), followed=frozenset(cluster), set_by_user=self.given)

    @property
    def kubernetes_minor(self) -> str:
        """The minor release, like ``1.36``: what an apt repository serves."""
        return self.kubernetes_version.rpartition(".")[0]

    @property
    def endpoint(self) -> str:
        """The name behind which the API servers stand."""
        return self.control_plane_endpoint or f"api.{self.cluster_name}.internal"

    @property
    def kubeconfig_path(self) -> str:
        """Where the administrator's kubeconfig is written on the operator's machine; ``~`` is the operator's home."""
        return os.path.expanduser(self.kubeconfig) or f"{self.cluster_name}.kubeconfig"

    @property
    def max_nodes(self) -> int:
        """How many nodes the pod subnet has room for."""
        return int(2 ** (_NODE_SUBNET_PREFIX - ipaddress.IPv4Network(self.pod_subnet).prefixlen))


def _subnet_problems(options: ClusterOptions) -> list[str]:
    pods = ipaddress.IPv4Network(options.pod_subnet)
    services = ipaddress.IPv4Network(options.service_subnet)
    if not pods.overlaps(services):
        return []
    return [
        f"service_subnet: {services} overlaps pod_subnet {pods}; choose two disjoint networks, "
        "like 10.96.0.0/12 and 10.244.0.0/16"
    ]


def _endpoint_problems(options: ClusterOptions) -> list[str]:
    if options.endpoint_kind == "load_balancer" and not options.load_balancer_address:
        return [
            "endpoint_kind: 'load_balancer' needs load_balancer_address; set it, or choose local_proxy, "
            "which needs no load balancer"
        ]
    return []


def _load_balancer_problems(options: ClusterOptions) -> list[str]:
    if not options.load_balancer_range:
        return []
    wanted = ipaddress.IPv4Network(options.load_balancer_range)
    problems = [
        f"load_balancer_range: {wanted} overlaps {field} {getattr(options, field)}; "
        "choose a network that nothing else uses"
        for field in ("pod_subnet", "service_subnet")
        if wanted.overlaps(ipaddress.IPv4Network(getattr(options, field)))
    ]
    if options.cloud_provider != "none":
        problems.append(
            f"load_balancer_range: {wanted} is Calico's to give, but with cloud_provider "
            f"{options.cloud_provider} the cloud gives Services their addresses; leave one of the two out"
        )
    if tuple(map(int, options.calico_version.split(".")[:2])) < _FIRST_CALICO_WITH_LOAD_BALANCERS:
        problems.append(
            f"load_balancer_range: {wanted} needs Calico 3.30 or newer; choose such a calico_version"
        )
    return problems


def _version_problems(options: ClusterOptions, *, followed: frozenset[str]) -> list[str]:
    problems = []
    for component, variants in (
        ("containerd", artifacts.ARCHITECTURES),
        ("runc", artifacts.ARCHITECTURES),
        ("cni_plugins", artifacts.ARCHITECTURES),
        ("calico", (artifacts.calico_manifest(options.encapsulation),)),
    ):
        release = getattr(options, f"{component}_version")
        files = [
            artifacts.release_file(component=component, version=release, variant=variant)
            for variant in variants
        ]
        known = any(artifacts.expected_sha256(file=file, checksums=options.checksums) for file in files)
        if not known and f"{component}_version" not in followed:
            problems.append(
                f"{component}_version: {release} has no known checksum for {files[0].url}; "
                "add it to checksums or choose a known release"
            )
    if (
        _release(options.kubernetes_version) >= _FIRST_WITH_CONTAINERD_2
        and _release(options.containerd_version) < (2, 0, 0)
        and not {"containerd_version", "kubernetes_version"} <= followed
    ):
        problems.append(
            f"containerd_version: {options.containerd_version} is too old for Kubernetes {options.kubernetes_version}, "
            "which asks the container runtime for its cgroup driver; choose 2.3 or newer"
        )
    return problems
