"""What a single machine must be to become a node, each check a pure function of what was found on it.

Sources: Kubernetes documentation, "Installing kubeadm", before you begin; kubeadm's own preflight checks and its
system validators (k8s.io/system-validators).
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from kubeadm_deploys import apt_key, artifacts
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.downloads import DownloadsState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState
from kubeadm_deploys.facts.machine import MachineState, Route
from kubeadm_deploys.findings import CHECKS, Finding, Severity
from kubeadm_deploys.images import node_images
from kubeadm_deploys.nodes import Node
from kubeadm_deploys.options import ClusterOptions

SYSTEMS = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04", "26.04")}

_OLDEST_KERNEL = (4, 19)
_GOOD_KERNEL = (5, 10)

_CONTROLLERS = {
    1: frozenset({"cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"}),
    # Devices and freezer are always there.
    2: frozenset({"cpu", "cpuset", "memory", "pids"}),
}
_FIRST_MINOR_WITHOUT_CGROUP_V1 = 35

_CONTROL_PLANE_MEGABYTES = 1700
_CONTROL_PLANE_CPUS = 2

_GIB = 1024**3
_LEAST_SPACE = 2 * _GIB
_GOOD_SPACE = 10 * _GIB
_EVICTION_PERCENT = 15
"""The kubelet's own ``imagefs.available``: with less of containerd's disk free it removes images and ends pods."""

_UNKNOWN_HOST = 6
"""curl's exit code for a name that it cannot resolve."""

_REGISTRY_HOSTS = {"docker.io": "registry-1.docker.io"}
"""Where a registry really is, if not at the host of its name."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A machine that is looked at: what is to become of it, what it is by kubeadm's traces, and all else on it."""

    node: Node
    control_plane: bool
    state: NodeState
    kubeadm: KubeadmNodeState
    machine: MachineState
    downloads: DownloadsState = field(default_factory=DownloadsState)

    @property
    def member(self) -> bool:
        """Whether it is a node of the cluster already."""
        return self.state is NodeState.MEMBER

    def finding(self, check: str, severity: Severity, *, found: str, cure: str) -> Finding:
        """A finding on this machine, eased if it is a node already."""
        if self.member and CHECKS[check].eased:
            severity = Severity.DOUBT
        return Finding(check=check, host=self.node.host, severity=severity, found=found, cure=cure)

    def danger(self, check: str, *, found: str, cure: str) -> Finding:
        """A danger on this machine, only a doubt if it has shown that it can be a node."""
        return self.finding(check, Severity.DANGER, found=found, cure=cure)

    def doubt(self, check: str, *, found: str, cure: str) -> Finding:
        """A doubt on this machine."""
        return self.finding(check, Severity.DOUBT, found=found, cure=cure)


def urls_to_try(*, options: ClusterOptions, control_plane: bool) -> tuple[str, ...]:
    """One URL for each server from which a node of this role fetches something: the mirror alone, if there is one."""
    if options.mirror:
        return (options.mirror,)
    releases = [
        artifacts.release_file(
            component=component, version=getattr(options, f"{component}_version"), variant="amd64"
        ).url
        for component in ("containerd", "runc", "cni_plugins", *(("calico",) if control_plane else ()))
    ]
    servers = [urlsplit(url).netloc for url in releases]
    servers.append(urlsplit(artifacts.kubernetes_apt_repository(options.kubernetes_minor)).netloc)
    registries = [
        image.partition("/")[0] for image in node_images(options=options, control_plane=control_plane)
    ]
    servers += [_REGISTRY_HOSTS.get(registry, registry) for registry in registries]
    return tuple(f"https://{server}/" for server in dict.fromkeys(servers))


def has_to_fetch(machine: MachineState, *, found: KubeadmNodeState, options: ClusterOptions) -> bool:
    """Whether a machine is to fetch anything: a node that has the wanted release is not."""
    has_release = machine.kubelet.startswith(f"{options.kubernetes_version}-")
    return not (has_release and "kubelet.conf" in found.files)


def machine_findings(
    subject: Subject, *, options: ClusterOptions, settings: ClusterSettingsState | None = None
) -> Iterator[Finding]:
    """Everything about one machine that others have no part in. ``settings`` are those of the cluster that is there."""
    # Nodes take it from the cluster, whatever the options say once there is one.
    kubelet = options.kubelet_configuration
    if settings and settings.kubelet is not None:
        kubelet = settings.kubelet
    yield from _system(subject)
    yield from _kernel(subject)
    yield from _cgroups(subject, options, kubelet)
    yield from _size(subject, options)
    yield from _disks(subject, kubelet)
    yield from _address(subject)
    yield from _routes(subject, options)
    yield from _servers(subject)
    yield from _repository_key(subject, options)


def _system(subject: Subject) -> Iterator[Finding]:
    machine = subject.machine
    system, release = machine.os
    if system and release not in SYSTEMS.get(system, ()):
        yield subject.doubt(
            "os",
            found=f"runs {system} {release or 'without a release'}, which this project does not know",
            cure="take Debian 12 or 13, or Ubuntu 22.04, 24.04 or 26.04",
        )
    if machine.architecture and machine.architecture not in artifacts.ARCHITECTURES:
        yield subject.danger(
            "architecture",
            found=f"is {machine.architecture}, for which there are no releases",
            cure=f"take a machine with {' or '.join(artifacts.ARCHITECTURES)}",
        )
    if machine.systemd is False:
        yield subject.danger(
            "systemd",
            found="is not run by systemd, which has to run containerd and the kubelet",
            cure="boot with it",
        )
    if machine.missing_tools:
        yield subject.danger(
            "tools",
            found=f"has no {', no '.join(machine.missing_tools)}",
            cure="install the package that has it (ip is in iproute2)",
        )


def _kernel(subject: Subject) -> Iterator[Finding]:
    machine = subject.machine
    version = re.match(r"(\d+)\.(\d+)", machine.kernel)
    release = tuple(map(int, version.groups())) if version else _GOOD_KERNEL
    if release < _GOOD_KERNEL:
        severity = Severity.DANGER if release < _OLDEST_KERNEL else Severity.DOUBT
        yield subject.finding(
            "kernel", severity, found=f"has Linux {machine.kernel}", cure="install 5.10 or newer, and reboot"
        )
    # A container has neither modules nor their list; its section asks for them on the machine around it.
    if machine.missing_modules and not machine.in_container:
        yield subject.danger(
            "kernel-modules",
            found=f"cannot load {' and '.join(machine.missing_modules)} into Linux {machine.kernel}",
            cure="install the package with the kernel's modules, or reboot if another kernel has been installed",
        )


def _cgroups(subject: Subject, options: ClusterOptions, kubelet: Mapping[str, Any]) -> Iterator[Finding]:
    machine = subject.machine
    if not machine.cgroup:
        return
    if missing := _CONTROLLERS[machine.cgroup] - machine.controllers:
        yield subject.finding(
            "cgroups",
            Severity.DOUBT if subject.member else Severity.DANGER,
            found=f"lacks the cgroup controllers {', '.join(sorted(missing))}",
            cure="enable them on the kernel's command line (memory: cgroup_enable=memory), and reboot",
        )
    tolerated = kubelet.get("failCgroupV1") is False
    # kubeadm asks only a machine that is to become a node.
    admitted = subject.member or "SystemVerification" in options.ignore_preflight_errors
    if machine.cgroup == 2 or (tolerated and admitted):
        return
    if int(options.kubernetes_minor.partition(".")[2]) >= _FIRST_MINOR_WITHOUT_CGROUP_V1:
        yield subject.danger(
            "cgroups",
            found="has cgroup v1, with which neither kubeadm nor the kubelet of Kubernetes 1.35 and newer starts",
            cure=(
                "boot with systemd.unified_cgroup_hierarchy=1, or set failCgroupV1 to false in kubelet_configuration "
                "(where the cluster exists: in its ConfigMap kubelet-config) and put SystemVerification into "
                "ignore_preflight_errors"
            ),
        )
    elif not tolerated:
        yield subject.doubt(
            "cgroups",
            found="has cgroup v1, which Kubernetes 1.35 does not support any more",
            cure="boot with systemd.unified_cgroup_hierarchy=1",
        )


def _size(subject: Subject, options: ClusterOptions) -> Iterator[Finding]:
    if not subject.control_plane:
        return
    machine = subject.machine
    megabytes = machine.memory // 1024**2
    for check, kubeadms, value, least, what in (
        ("memory", "Mem", megabytes, _CONTROL_PLANE_MEGABYTES, "MB of memory"),
        ("cpus", "NumCPU", machine.cpus, _CONTROL_PLANE_CPUS, "CPU" if machine.cpus == 1 else "CPUs"),
    ):
        if value and value < least:
            ignored = kubeadms in options.ignore_preflight_errors
            yield subject.finding(
                check,
                Severity.DOUBT if ignored else Severity.DANGER,
                found=f"has {value} {what}, and a control plane needs {least}",
                cure="take a bigger machine",
            )


def _disks(subject: Subject, kubelet: Mapping[str, Any]) -> Iterator[Finding]:
    paths: dict[str, list[str]] = {}
    for path, disk in subject.machine.disks.items():
        if subject.control_plane or path != "/var/lib/etcd":
            paths.setdefault(disk.mount, []).append(path)
    for mount, its in paths.items():
        disk = subject.machine.disks[its[0]]
        found = f"has {disk.free / _GIB:.1f} GiB free on {mount} (for {', '.join(its)})"
        enough = disk.size * _EVICTION_PERCENT // 100
        if disk.free < _GOOD_SPACE:
            yield subject.finding(
                "disk-space",
                Severity.DANGER if disk.free < _LEAST_SPACE else Severity.DOUBT,
                found=found,
                cure=f"free {_GOOD_SPACE // _GIB} GiB, or mount a bigger disk",
            )
        elif disk.free < enough and "/var/lib/containerd" in its and "evictionHard" not in kubelet:
            yield subject.doubt(
                "disk-space",
                found=f"{found}: the kubelet ends pods while that is less than {_EVICTION_PERCENT} % of the disk",
                cure=f"have {enough / _GIB:.0f} GiB free, or set evictionHard in kubelet_configuration",
            )


def _address(subject: Subject) -> Iterator[Finding]:
    node, there = subject.node, subject.machine.addresses
    if not there or node.ip in there:
        return
    if node.interface_mac:
        yield subject.doubt(
            "node-address",
            found=f"no interface has the address {node.ip} yet",
            cure=f"the one with the MAC {node.interface_mac} is waited for",
        )
        return
    seen = ", ".join(f"{name} {address}".strip() for address, name in there.items() if name != "lo")
    yield subject.danger(
        "node-address",
        found=f"no interface has the address {node.ip} (there are: {seen or 'none'})",
        cure="set node_ip to an address that the machine has",
    )


def _routes(subject: Subject, options: ClusterOptions) -> Iterator[Finding]:
    # The subnets of a cluster cannot be chosen again.
    if subject.member:
        return
    for option in ("pod_subnet", "service_subnet"):
        subnet = ipaddress.IPv4Network(getattr(options, option))
        for route in subject.machine.routes:
            if not route.network.overlaps(subnet) or _of_a_cluster(route) or _is_default(route):
                continue
            inside = route.network.subnet_of(subnet)
            yield subject.finding(
                "subnets",
                Severity.DANGER if inside else Severity.DOUBT,
                found=(
                    f"has a route to {route.network}{' by ' if route.device else ''}{route.device}, which "
                    f"{'lies in' if inside else 'contains'} {option} {subnet}"
                ),
                cure=f"choose another {option}, or take the route away if nothing needs it",
            )


def _of_a_cluster(route: Route) -> bool:
    """Whether Calico or kube-proxy made it, as on a machine on which a join did not finish."""
    return (
        route.device.startswith(("cali", "vxlan.calico", "wireguard.cali"))
        or route.device in ("tunl0", "kube-ipvs0")
        or route.protocol in ("80", "bird")
    )


def _is_default(route: Route) -> bool:
    """Whether it is the default route, or one of the halves in which a VPN replaces it."""
    return route.network.prefixlen <= 1


def _servers(subject: Subject) -> Iterator[Finding]:
    failed = {
        urlsplit(url).hostname: probe for url, probe in subject.downloads.probes.items() if probe.status
    }
    unknown = [server for server, probe in failed.items() if probe.status == _UNKNOWN_HOST]
    if unknown:
        yield subject.danger(
            "name-resolution",
            found=f"cannot resolve {', '.join(map(str, unknown))}",
            cure="look at /etc/resolv.conf there, or set mirror",
        )
    silent = [
        f"{server} ({probe.said.removeprefix(f'curl: ({probe.status}) ') or 'no answer'})"
        for server, probe in failed.items()
        if server not in unknown
    ]
    if silent:
        yield subject.danger(
            "reachability",
            found=f"cannot reach {', '.join(silent)}",
            cure="open the way to it, or set mirror",
        )


def _repository_key(subject: Subject, options: ClusterOptions) -> Iterator[Finding]:
    if not subject.downloads.published_key:
        return
    try:
        apt_key.pinned_key(
            subject.downloads.published_key.encode(),
            fingerprint=options.kubernetes_apt_key_fingerprint,
            now=datetime.now(UTC),
        )
    except ValueError as error:
        yield subject.danger(
            "apt-key",
            found=f"gets a key of the apt repository that {error}",
            cure=(
                "have the mirror serve the key that the repository publishes now, and no other; set "
                "kubernetes_apt_key_fingerprint only if you sign the repository yourself"
            ),
        )
