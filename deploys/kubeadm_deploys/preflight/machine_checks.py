"""Checks of a single machine that is to become a node; each is a pure function of what was read on it.

Sources: Kubernetes documentation, "Installing kubeadm", before you begin; kubeadm's own preflight checks and
its system validators (k8s.io/system-validators).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeadm_deploys.cluster.document_fields import value_of
from kubeadm_deploys.cni import CNIS, cni_of
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.downloads import DownloadsState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState
from kubeadm_deploys.facts.machine import NETWORK_MTUS, MachineState, Route
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.findings import CHECKS, Finding, Severity
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.model.proxies import NO_PROXIES, Proxies

SYSTEMS = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04", "26.04")}

_OLDEST_KERNEL = (4, 19)
_GOOD_KERNEL = (5, 10)

_CONTROLLERS = {
    1: frozenset({"cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"}),
    # Devices and freezer always exist.
    2: frozenset({"cpu", "cpuset", "memory", "pids"}),
}
_FIRST_MINOR_WITHOUT_CGROUP_V1 = 35

_CONTROL_PLANE_MEGABYTES = 1700
_CONTROL_PLANE_CPUS = 2

_GIB = 1024**3
_LEAST_SPACE = 2 * _GIB
_GOOD_SPACE = 10 * _GIB
_EVICTION_PERCENT = 15
"""The kubelet's default ``imagefs.available``: with less disk free, it removes images and evicts pods."""


@dataclass(frozen=True, kw_only=True)
class CandidateNode:
    """A machine to check: its future node, its kubeadm state, and everything else that was read on it.

    ``proxies`` are those that the options set for it.
    """

    node: Node
    control_plane: bool
    state: NodeState
    kubeadm: KubeadmNodeState
    machine: MachineState
    downloads: DownloadsState = field(default_factory=DownloadsState)
    proxies: Proxies = NO_PROXIES

    @property
    def member(self) -> bool:
        """Whether it is already a node of the cluster."""
        return self.state is NodeState.MEMBER

    def finding(self, check: str, severity: Severity, *, found: str, fix: str) -> Finding:
        """Return a finding on this machine, as a warning if it is a member and the check allows that."""
        if self.member and CHECKS[check].warning_on_members:
            severity = Severity.WARNING
        return Finding(check=check, host=self.node.host, severity=severity, found=found, fix=fix)

    def error(self, check: str, *, found: str, fix: str) -> Finding:
        """Return an error on this machine; like ``finding``, it may become a warning."""
        return self.finding(check, Severity.ERROR, found=found, fix=fix)

    def warning(self, check: str, *, found: str, fix: str) -> Finding:
        """Return a warning on this machine."""
        return self.finding(check, Severity.WARNING, found=found, fix=fix)


def machine_findings(
    candidate: CandidateNode, *, options: ClusterOptions, settings: ClusterSettingsState | None = None
) -> Iterator[Finding]:
    """Yield the findings about one machine on its own. ``settings`` are those of an existing cluster."""
    # In an existing cluster, nodes use its kubelet configuration, not the option.
    kubelet = options.kubelet_configuration
    if settings and settings.kubelet is not None:
        kubelet = settings.kubelet
    yield from _system(candidate)
    yield from _kernel(candidate)
    yield from _cgroups(candidate, options, {**kubelet, **candidate.node.kubelet_configuration})
    yield from _size(candidate, options)
    yield from _disks(candidate, kubelet)
    yield from _address(candidate)
    yield from _mtu(candidate, options)
    yield from _gateway(candidate, options)
    yield from _routes(candidate, options)


def _system(candidate: CandidateNode) -> Iterator[Finding]:
    machine = candidate.machine
    system, release = machine.os
    if system and release not in SYSTEMS.get(system, ()):
        yield candidate.warning(
            "os",
            found=f"runs {system} {release or 'without a release'}, which is untested",
            fix="use Debian 12 or 13, or Ubuntu 22.04, 24.04 or 26.04",
        )
    if machine.architecture and machine.architecture not in artifacts.ARCHITECTURES:
        yield candidate.error(
            "architecture",
            found=f"has the architecture {machine.architecture}, for which there are no releases",
            fix=f"use a machine with {' or '.join(artifacts.ARCHITECTURES)}",
        )
    if machine.systemd is False:
        yield candidate.error(
            "systemd",
            found="does not run systemd, which has to run containerd and the kubelet",
            fix="boot with systemd",
        )
    if machine.missing_tools:
        yield candidate.error(
            "tools",
            found=f"has no {', no '.join(machine.missing_tools)}",
            fix="install the missing package (ip is in iproute2)",
        )


def _kernel(candidate: CandidateNode) -> Iterator[Finding]:
    machine = candidate.machine
    version = re.match(r"(\d+)\.(\d+)", machine.kernel)
    release = tuple(map(int, version.groups())) if version else _GOOD_KERNEL
    if release < _GOOD_KERNEL:
        severity = Severity.ERROR if release < _OLDEST_KERNEL else Severity.WARNING
        yield candidate.finding(
            "kernel", severity, found=f"has Linux {machine.kernel}", fix="install 5.10 or newer, and reboot"
        )
    # A container has neither modules nor their list; their section checks them on the machine that runs it.
    if machine.missing_modules and not machine.in_container:
        yield candidate.error(
            "kernel-modules",
            found=f"cannot load {' and '.join(machine.missing_modules)} into Linux {machine.kernel}",
            fix="install the package with the kernel's modules, or reboot if a new kernel has been installed",
        )


def _cgroups(
    candidate: CandidateNode, options: ClusterOptions, kubelet: Mapping[str, Any]
) -> Iterator[Finding]:
    machine = candidate.machine
    if not machine.cgroup:
        return
    if missing := _CONTROLLERS[machine.cgroup] - machine.controllers:
        yield candidate.finding(
            "cgroups",
            Severity.WARNING if candidate.member else Severity.ERROR,
            found=f"lacks the cgroup controllers {', '.join(sorted(missing))}",
            fix="enable them on the kernel's command line (memory: cgroup_enable=memory), and reboot",
        )
    tolerated = kubelet.get("failCgroupV1") is False
    # kubeadm only checks a machine that is to become a node.
    admitted = candidate.member or "SystemVerification" in options.ignore_preflight_errors
    if machine.cgroup == 2 or (tolerated and admitted):
        return
    if int(options.kubernetes_minor.partition(".")[2]) >= _FIRST_MINOR_WITHOUT_CGROUP_V1:
        yield candidate.error(
            "cgroups",
            found="has cgroup v1, with which kubeadm and the kubelet of Kubernetes 1.35 or newer fail",
            fix=(
                "boot with systemd.unified_cgroup_hierarchy=1, or set failCgroupV1 to false in kubelet_configuration "
                "(for an existing cluster: in its ConfigMap kubelet-config) and add SystemVerification to "
                "ignore_preflight_errors"
            ),
        )
    elif not tolerated:
        yield candidate.warning(
            "cgroups",
            found="has cgroup v1, which Kubernetes 1.35 no longer supports",
            fix="boot with systemd.unified_cgroup_hierarchy=1",
        )


def _size(candidate: CandidateNode, options: ClusterOptions) -> Iterator[Finding]:
    if not candidate.control_plane:
        return
    machine = candidate.machine
    megabytes = machine.memory // 1024**2
    for check, kubeadm_check, value, least, what in (
        ("memory", "Mem", megabytes, _CONTROL_PLANE_MEGABYTES, "MB of memory"),
        ("cpus", "NumCPU", machine.cpus, _CONTROL_PLANE_CPUS, "CPU" if machine.cpus == 1 else "CPUs"),
    ):
        if value and value < least:
            ignored = kubeadm_check in options.ignore_preflight_errors
            yield candidate.finding(
                check,
                Severity.WARNING if ignored else Severity.ERROR,
                found=f"has {value} {what}, and a control plane needs {least}",
                fix="use a bigger machine",
            )


def _disks(candidate: CandidateNode, kubelet: Mapping[str, Any]) -> Iterator[Finding]:
    # Any evictionHard of the cluster replaces the kubelet's defaults; a node's own is merged into them.
    own = value_of(candidate.node.kubelet_configuration, "evictionHard/imagefs.available")
    evicts_by_default = "evictionHard" not in kubelet and own is None
    paths_of: dict[str, list[str]] = {}
    for path, disk in candidate.machine.disks.items():
        if candidate.control_plane or path != "/var/lib/etcd":
            paths_of.setdefault(disk.mount, []).append(path)
    for mount, paths in paths_of.items():
        disk = candidate.machine.disks[paths[0]]
        found = f"has {disk.free / _GIB:.1f} GiB free on {mount} (for {', '.join(paths)})"
        enough = disk.size * _EVICTION_PERCENT // 100
        if disk.free < _GOOD_SPACE:
            yield candidate.finding(
                "disk-space",
                Severity.ERROR if disk.free < _LEAST_SPACE else Severity.WARNING,
                found=found,
                fix=f"free {_GOOD_SPACE // _GIB} GiB, or mount a bigger disk",
            )
        elif disk.free < enough and "/var/lib/containerd" in paths and evicts_by_default:
            yield candidate.warning(
                "disk-space",
                found=f"{found}: the kubelet evicts pods below {_EVICTION_PERCENT} % of the disk",
                fix=f"have {enough / _GIB:.0f} GiB free, or set evictionHard in kubelet_configuration, or its imagefs.available in node_kubelet_configuration",
            )


def _address(candidate: CandidateNode) -> Iterator[Finding]:
    node, addresses = candidate.node, candidate.machine.addresses
    if not addresses or node.ip in addresses:
        return
    if node.interface_mac:
        yield candidate.warning(
            "node-address",
            found=f"no interface has the address {node.ip} yet",
            fix=f"the run waits for the interface with the MAC {node.interface_mac}",
        )
        return
    existing = ", ".join(f"{name} {address}".strip() for address, name in addresses.items() if name != "lo")
    yield candidate.error(
        "node-address",
        found=f"no interface has the address {node.ip} (existing: {existing or 'none'})",
        fix="set node_ip to an address of the machine",
    )


def _mtu(candidate: CandidateNode, options: ClusterOptions) -> Iterator[Finding]:
    machine, address = candidate.machine, candidate.node.ip
    mtu = machine.mtu_of(address)
    if mtu and mtu not in NETWORK_MTUS and cni_of(options).component and not options.pod_mtu:
        yield candidate.error(
            "interface-mtu",
            found=f"the interface {machine.addresses[address]} with node_ip {address} has an MTU of {mtu}",
            fix="set node_ip to an address of a network interface, or set pod_mtu",
        )


def _gateway(candidate: CandidateNode, options: ClusterOptions) -> Iterator[Finding]:
    if not candidate.machine.gateway_route and cni_of(options).gateway_route:
        yield candidate.warning(
            "default-route",
            found="has no default route and no route to 169.254.1.1, the gateway of its pods, which then reach nothing",
            fix="add a default route, or a route to 169.254.1.1 through the interface with node_ip",
        )


def _routes(candidate: CandidateNode, options: ClusterOptions) -> Iterator[Finding]:
    # The subnets of an existing cluster cannot be changed.
    if candidate.member:
        return
    for option, subnet in (("pod_subnet", options.pod_subnet), ("service_subnet", options.service_subnet)):
        for route in candidate.machine.routes:
            if not route.network.overlaps(subnet) or _of_a_cluster(route) or _is_default(route):
                continue
            inside = route.network.subnet_of(subnet)
            yield candidate.finding(
                "subnets",
                Severity.ERROR if inside else Severity.WARNING,
                found=(
                    f"has a route to {route.network}{' via ' if route.device else ''}{route.device}, which "
                    f"{'is inside' if inside else 'contains'} {option} {subnet}"
                ),
                fix=f"choose another {option}, or remove the route if nothing needs it",
            )


def _of_a_cluster(route: Route) -> bool:
    """Return whether a pod network or kube-proxy created the route, for example in an interrupted join."""
    return (
        route.device.startswith(tuple(name for cni in CNIS.values() for name in cni.devices))
        or route.device == "kube-ipvs0"
        or route.protocol in ("80", "bird")
    )


def _is_default(route: Route) -> bool:
    """Return whether it is the default route, or one of the two halves by which a VPN replaces it."""
    return route.network.prefixlen <= 1
