"""The public configuration of a cluster, checked as a whole before anything is changed.

Nothing here reads a machine or a file. Entry scripts build ``ClusterOptions`` from pyinfra's data (see
``inventory.data``); a project that imports single sections builds it itself.
"""

import os
import warnings
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal, Self

from packaging.version import Version
from pydantic import Field, PlainValidator, ValidationInfo, model_validator

from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model import values as typed
from kubeadm_deploys.model.cluster_configuration import unmounted_files
from kubeadm_deploys.model.control_plane_file import ControlPlaneFile, path_on_control_plane
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.registries import Registry
from kubeadm_deploys.model.validation import Input

DEFAULT_RELEASES = {
    "kubernetes_version": artifacts.KUBERNETES_VERSION,
    "containerd_version": artifacts.CONTAINERD_VERSION,
    "runc_version": artifacts.RUNC_VERSION,
    "cni_plugins_version": artifacts.CNI_PLUGINS_VERSION,
    "calico_version": artifacts.CALICO_VERSION,
    "hcloud_cloud_controller_version": artifacts.HCLOUD_CLOUD_CONTROLLER_VERSION,
    "hcloud_csi_version": artifacts.HCLOUD_CSI_VERSION,
}
"""The options that follow an existing cluster unless the user sets them, with their defaults."""

RELEASE_NAMES = {
    "kubernetes_version": "Kubernetes",
    "containerd_version": "containerd",
    "runc_version": "runc",
    "cni_plugins_version": "CNI plugins",
    "calico_version": "Calico",
    "hcloud_cloud_controller_version": "Hetzner's cloud controller",
    "hcloud_csi_version": "Hetzner's CSI driver",
}
"""The names of the components that these options release."""

CNI_RELEASES = {"calico": "calico_version"}
"""By CNI, the option with its release; a cluster's record stores the release under the CNI's name."""

CLOUD_RELEASES = {
    "hetzner": {
        "hcloud-cloud-controller": "hcloud_cloud_controller_version",
        "hcloud-csi": "hcloud_csi_version",
    }
}
"""By cloud, the options with the releases of its components, by their names in a cluster's record."""

_CNI_OPTIONS = {
    "calico": (
        "calico_version",
        "encapsulation",
        "pod_mtu",
        "vxlan_checksum_offload",
        "service_load_balancer_cidr",
    )
}
"""By CNI, the options that only apply to it."""

CLOUD_DATA = {"hetzner": ("hetzner", "hcloud_network", "hcloud_location", "hcloud_endpoint")}
"""By cloud, its own host data: the description of the servers, and their place in the cloud."""

RENAMED = {
    "load_balancer_address": "api_load_balancer_address",
    "load_balancer_range": "service_load_balancer_cidr",
    "provisioning_timeout": "cloud_init_timeout",
    "waive_checks": "skip_preflight_checks",
}
"""New names of options by their names before 0.2. In 0.2 the old names still work, with a warning."""

_FIRST_CALICO_WITH_LOAD_BALANCERS = Version("3.30")

_FIRST_WITH_CONTAINERD_2 = Version("1.37")
"""From this release on, kubeadm requires a runtime that reports its cgroup driver, as containerd 2 does."""


class Scope(StrEnum):
    """What an option applies to: the cluster, a single machine, or the operator's side of a run."""

    CLUSTER = "cluster"
    MACHINE = "machine"
    OPERATOR = "operator"


def _option(
    default: object,
    meaning: str,
    *,
    scope: Scope = Scope.CLUSTER,
    secret: bool = False,
    example: object | None = None,
) -> Any:
    """Return a field whose description is shown in docs/options.md.

    The repr of the options has no ``secret`` value. Messages may have the ``example``.
    """
    examples = None if example is None else [example]
    return Field(
        default=default,
        description=meaning,
        examples=examples,
        json_schema_extra={"scope": scope},
        repr=not secret,
    )


class ClusterOptions(Input):
    """The options of a cluster. Every field has a working default.

    Values may be given as text, as in pyinfra's data; they are converted to networks, addresses and releases.

    Raises:
        InputError: lists every wrong field with its value and the fix.
    """

    unknown: ClassVar[str] = "is not an option"

    cluster_name: typed.DnsLabel = _option("kubernetes", "Name of the cluster, also in its kubeconfig.")
    kubernetes_version: typed.KubernetesRelease = _option(
        artifacts.KUBERNETES_VERSION,
        "Kubernetes release, 1.31 or newer (for kubeadm's v1beta4 documents).",
    )
    containerd_version: typed.ContainerdRelease = _option(
        artifacts.CONTAINERD_VERSION, "containerd release, 1.7 or newer."
    )
    runc_version: typed.Release = _option(artifacts.RUNC_VERSION, "runc release.")
    cni_plugins_version: typed.Release = _option(
        artifacts.CNI_PLUGINS_VERSION, "Release of the reference CNI plugins."
    )
    cni: Literal["calico", "none"] = _option(
        "calico", "Pod network; with `none` you install one yourself, and nodes are not Ready before that."
    )
    calico_version: typed.Release = _option(artifacts.CALICO_VERSION, "Calico release.")
    pod_subnet: typed.PodSubnet = _option(
        "10.244.0.0/16", "IPv4 network of the pods; every node gets a /24 of it."
    )
    service_subnet: typed.ServiceSubnet = _option(
        "10.96.0.0/12", "IPv4 network of the cluster IPs of Services."
    )
    dns_domain: typed.DnsName = _option("cluster.local", "DNS domain of Services and pods.")
    control_plane_endpoint: typed.OptionalDnsName = _option(
        "",
        "DNS name of the API server for the nodes, written to their `/etc/hosts`; empty: `api.<cluster_name>.internal`.",
    )
    certificate_sans: typed.Sans = _option(
        (), "Additional names and addresses in the API server's certificate."
    )
    encapsulation: Annotated[Literal["VXLAN", "IPIP", "None"], typed.NoneIsAWord] = _option(
        "VXLAN", "How Calico carries pod traffic between nodes; `None` routes it with BGP."
    )
    pod_mtu: typed.Mtu = _option(
        0,
        "MTU of the pods' interfaces in bytes; 0: the smallest of the nodes' interfaces, minus the encapsulation.",
    )
    vxlan_checksum_offload: typed.Flag = _option(
        True,
        "Whether checksums of VXLAN packets are left to the network interface; `false` where pods of different nodes reach each other only with ping, or slowly (Felix's `ChecksumOffloadBroken`).",
    )
    swap: Literal["off", "keep"] = _option(
        "off", "`off` turns swap off permanently; `keep` leaves it on and makes the kubelet tolerate it."
    )
    mirror: typed.OptionalUrl = _option(
        "", "URL of a mirror of all upstream hosts; empty: the official hosts."
    )
    http_proxy: typed.OptionalProxy = _option(
        "",
        "URL of the proxy through which the machine downloads from http URLs, like `http://10.0.0.9:3128`; empty: none.",
        scope=Scope.MACHINE,
        secret=True,
    )
    https_proxy: typed.OptionalProxy = _option(
        "",
        "URL of the proxy for https URLs, which usually starts with http too; empty: none.",
        scope=Scope.MACHINE,
        secret=True,
    )
    no_proxy: typed.WithoutProxy = _option(
        (),
        "Names (with everything below them), addresses and networks to reach without a proxy, in addition to the cluster's own.",
        scope=Scope.MACHINE,
    )
    registries: Mapping[typed.RegistryHost, Registry] = _option(
        {},
        "By registry host: `mirrors`, a list of URLs that are tried in order before the registry, and `username` with `password_env`, the environment variable of the operator that has the password.",
        scope=Scope.MACHINE,
        example={"registry.example.com": dict(Registry.example)},
    )
    checksums: typed.Checksums = _option(
        {},
        "sha256 by upstream URL, for artifacts that are missing in the built-in table or were built for a mirror; in pyinfra data also the path of a file in `sha256sum` format.",
    )
    kubernetes_apt_key_fingerprint: typed.Fingerprint = _option(
        artifacts.KUBERNETES_APT_KEY_FINGERPRINT, "Fingerprint of the key that signs the apt repository."
    )
    containerd_restrict_oom_score_adj: typed.Flag = _option(
        False,
        "Value of containerd's `restrict_oom_score_adj`; required where lowering `oom_score_adj` is not permitted.",
        scope=Scope.MACHINE,
    )
    kubelet_configuration: typed.KubeletConfiguration = _option(
        {}, "Fields to add to the kubelets' KubeletConfiguration."
    )
    kube_proxy_configuration: typed.KubeProxyConfiguration = _option(
        {}, "Fields to add to the kube-proxies' KubeProxyConfiguration."
    )
    cluster_configuration: typed.ClusterConfiguration = _option(
        {},
        "Fields to add to kubeadm's ClusterConfiguration, such as [arguments of the API server](configuration.md#control-plane-arguments-and-files).",
    )
    control_plane_files: Mapping[Annotated[str, PlainValidator(path_on_control_plane)], ControlPlaneFile] = (
        _option(
            {},
            "By path below `/etc/kubernetes/`: small files of the control planes that such arguments name, each with its `content`, or a local `file` that has it, and its `mode` if that is not `0600`.",
            secret=True,
            example={"/etc/kubernetes/audit/policy.yaml": dict(ControlPlaneFile.example)},
        )
    )
    ignore_preflight_errors: typed.PreflightChecks = _option(
        (), "Names of kubeadm's preflight checks to ignore.", scope=Scope.OPERATOR
    )
    skip_preflight_checks: typed.SkippableChecks = _option(
        (),
        "Names of this package's preflight checks to skip.",
        scope=Scope.OPERATOR,
    )
    kubeconfig: typed.OptionalPath = _option(
        "",
        "Path of the administrator's kubeconfig on the operator's machine; empty: `<cluster_name>.kubeconfig`. A file that "
        "also contains other clusters is never changed.",
        scope=Scope.OPERATOR,
    )
    kubeconfig_address: typed.OptionalSan = _option(
        "",
        "Host or address of the API server in that kubeconfig, like that of a load balancer; empty: a control plane's.",
        scope=Scope.OPERATOR,
    )
    backup_recipients: typed.Recipients = _option(
        (),
        "Public keys of age or SSH for which `backup.py` encrypts; empty: with the passphrase in `BACKUP_PASSPHRASE`.",
        scope=Scope.OPERATOR,
    )
    ready_timeout: typed.Seconds = _option(
        300, "Seconds to wait for nodes, CoreDNS and Calico to become ready.", scope=Scope.OPERATOR
    )
    cloud_init_timeout: typed.Seconds = _option(
        300,
        "Seconds to wait on a new machine for cloud-init and for the interface with `node_ip`.",
        scope=Scope.MACHINE,
    )
    nameservers: typed.Nameservers = _option(
        (),
        "DNS servers of the kubelet, CoreDNS and pods for names outside the cluster, at most three; empty: the machine's own.",
        scope=Scope.MACHINE,
    )
    cloud_provider: Literal["none", "hetzner"] = _option(
        "none", "`hetzner` installs Hetzner's cloud controller and CSI driver; the Hetzner inventory sets it."
    )
    hcloud_cloud_controller_version: typed.CloudControllerRelease = _option(
        artifacts.HCLOUD_CLOUD_CONTROLLER_VERSION,
        "Release of Hetzner's cloud controller manager, 1.35.0 or newer.",
    )
    hcloud_csi_version: typed.Release = _option(
        artifacts.HCLOUD_CSI_VERSION, "Release of Hetzner's CSI driver."
    )
    endpoint_kind: Literal["", "single", "load_balancer", "local_proxy"] = _option(
        "",
        "What the API server's name points to on workers: the `single` control plane, a `load_balancer`, or a `local_proxy` (haproxy on every worker); empty: the load balancer if it has an address, else `single` with one control plane and `local_proxy` with several.",
    )
    api_load_balancer_address: typed.OptionalAddress = _option(
        "", "Address of a load balancer in front of the API servers, for the workers."
    )
    service_load_balancer_cidr: typed.OptionalNetwork = _option(
        "",
        "IPv4 network from which Calico assigns addresses to Services of type LoadBalancer; every node answers on them, and your router must route the network to a node; empty: no addresses.",
    )

    def __init__(self, /, **values: Any) -> None:
        renamed = with_new_names(values)
        for old in values.keys() - renamed.keys():
            warnings.warn(f"{old} was renamed to {RENAMED[old]} in 0.2", FutureWarning, stacklevel=2)
        super().__init__(**renamed)

    @model_validator(mode="after")
    def _check_relations(self, info: ValidationInfo) -> Self:
        """Check the relations between fields, which is only useful if the single values are valid."""
        followed: frozenset[str] = info.context or frozenset()
        problems = [
            *_subnet_problems(self),
            *_endpoint_problems(self),
            # With values of a cluster, all fields are set, and the user's own have been checked before.
            *(_cni_problems(self) if info.context is None else []),
            *_load_balancer_problems(self),
            *_version_problems(self, followed=followed),
            *unmounted_files(self.cluster_configuration, list(self.control_plane_files)),
        ]
        if problems:
            raise InputError(problems)
        return self

    @property
    def given(self) -> frozenset[str]:
        """The names of the fields that the user has set, to any value."""
        return frozenset(self.model_fields_set)

    def following(self, cluster: Mapping[str, str]) -> "ClusterOptions":
        """Return these options with the given fields replaced by the cluster's values.

        The cluster's release may have no known checksum: that only matters when it has to be fetched.

        Raises:
            InputError: a value of the cluster conflicts with these options, or is not supported.
        """
        options = ClusterOptions.__new__(ClusterOptions)
        # Releases that the user has not set are defaults, or followed a cluster before.
        followed = cluster.keys() | (DEFAULT_RELEASES.keys() - self.given)
        options._read(dict(self) | dict(cluster), context=frozenset(followed))
        return ClusterOptions.model_construct(_fields_set=set(self.given), **dict(options))

    def release(self, component: str) -> str:
        """Return the release of a component (containerd, runc, cni_plugins, calico, kubernetes) as text."""
        return str(getattr(self, f"{component}_version"))

    @property
    def kubernetes_minor(self) -> str:
        """The minor release, like ``1.36``, for which there is one apt repository."""
        return f"{self.kubernetes_version.major}.{self.kubernetes_version.minor}"

    @property
    def endpoint(self) -> str:
        """The DNS name of the API servers."""
        return self.control_plane_endpoint or f"api.{self.cluster_name}.internal"

    @property
    def kubeconfig_path(self) -> str:
        """The path of the administrator's kubeconfig on the operator's machine, with ``~`` expanded."""
        return os.path.expanduser(self.kubeconfig) or f"{self.cluster_name}.kubeconfig"

    @property
    def max_nodes(self) -> int:
        """The number of nodes for which the pod subnet has room."""
        return int(2 ** (typed.NODE_SUBNET_PREFIX - self.pod_subnet.prefixlen))


def with_new_names(values: Mapping[str, object]) -> dict[str, object]:
    """Return the options under their current names.

    Raises:
        InputError: an option is given under both of its names.
    """
    if twice := set_twice(values):
        raise InputError(twice)
    return {RENAMED.get(name, name): value for name, value in values.items()}


def set_twice(values: Mapping[str, object]) -> list[str]:
    """Return a problem for each option that is given under both of its names."""
    return [
        f"{old}: was renamed to {new}, and both are set; leave {old} out"
        for old, new in RENAMED.items()
        if {old, new} <= values.keys()
    ]


def scope_of(option: str) -> Scope:
    """Return what an option applies to."""
    extra: Any = ClusterOptions.model_fields[option].json_schema_extra
    return Scope(extra["scope"])


def _subnet_problems(options: ClusterOptions) -> list[str]:
    if not options.pod_subnet.overlaps(options.service_subnet):
        return []
    return [
        f"service_subnet: {options.service_subnet} overlaps pod_subnet {options.pod_subnet}; "
        "choose two disjoint networks, like 10.96.0.0/12 and 10.244.0.0/16"
    ]


def _endpoint_problems(options: ClusterOptions) -> list[str]:
    if options.endpoint_kind == "load_balancer" and not options.api_load_balancer_address:
        return [
            "endpoint_kind: 'load_balancer' needs api_load_balancer_address; set it, or choose local_proxy, "
            "which needs no load balancer"
        ]
    return []


def _load_balancer_problems(options: ClusterOptions) -> list[str]:
    wanted = options.service_load_balancer_cidr
    if not wanted:
        return []
    problems = [
        f"service_load_balancer_cidr: {wanted} overlaps {field} {network}; choose a network that nothing else uses"
        for field, network in (
            ("pod_subnet", options.pod_subnet),
            ("service_subnet", options.service_subnet),
        )
        if wanted.overlaps(network)
    ]
    if options.cloud_provider != "none":
        problems.append(
            f"service_load_balancer_cidr: Calico would assign addresses of {wanted}, but with cloud_provider "
            f"{options.cloud_provider} the cloud assigns the addresses of Services; leave one of the two out"
        )
    if options.calico_version < _FIRST_CALICO_WITH_LOAD_BALANCERS:
        problems.append(
            f"service_load_balancer_cidr: {wanted} needs Calico 3.30 or newer; choose a newer calico_version"
        )
    return problems


def _cni_problems(options: ClusterOptions) -> list[str]:
    return [
        f"{field}: is an option of {cni}, but cni is {options.cni}; leave it out"
        for cni, fields in _CNI_OPTIONS.items()
        if cni != options.cni
        for field in fields
        if field in options.given
    ]


def _version_problems(options: ClusterOptions, *, followed: frozenset[str]) -> list[str]:
    problems = []
    for component, variants in (
        ("containerd", artifacts.ARCHITECTURES),
        ("runc", artifacts.ARCHITECTURES),
        ("cni_plugins", artifacts.ARCHITECTURES),
        *(
            [("calico", (artifacts.calico_manifest(options.encapsulation),))]
            if options.cni == "calico"
            else []
        ),
    ):
        release = options.release(component)
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
        options.kubernetes_version >= _FIRST_WITH_CONTAINERD_2
        and options.containerd_version < Version("2.0")
        and not {"containerd_version", "kubernetes_version"} <= followed
    ):
        problems.append(
            f"containerd_version: {options.containerd_version} is too old for Kubernetes {options.kubernetes_version}, "
            "which asks the container runtime for its cgroup driver; choose 2.3 or newer"
        )
    return problems
