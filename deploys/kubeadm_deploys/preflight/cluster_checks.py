"""Checks that compare the machines of a cluster: clocks, identities, releases.

Sources: Kubernetes documentation, "Installing kubeadm" (unique names, MACs and product UUIDs) and "Version
Skew Policy"; containerd's RELEASES.md, "Kubernetes Support".
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from packaging.version import Version

from kubeadm_deploys.cluster.live_options import UPGRADE
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.machine import Clock
from kubeadm_deploys.model.findings import Finding, Severity
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.preflight.machine_checks import CandidateNode

_ERROR_SECONDS = 60
_WARNING_SECONDS = 5

_OLDER_KUBELETS = 3
"""Minors that a kubelet may be behind the API server."""

_CONTAINERD = {
    "1.31": ("2.0.0", "1.7.20"),
    "1.32": ("2.1.0", "2.0.1", "1.7.24"),
    "1.33": ("2.1.0", "2.0.4", "1.7.24"),
    "1.34": ("2.1.3", "2.0.6", "1.7.28"),
    "1.35": ("2.2.0", "2.1.5", "1.7.28"),
    "1.36": ("2.3.0", "2.2.0"),
    "1.37": ("2.4.0", "2.3.0"),
}
"""By Kubernetes minor, the oldest tested release of each containerd series, newest series first."""


def cluster_findings(
    candidates: Sequence[CandidateNode], *, options: ClusterOptions, members: ClusterMembersState
) -> Iterator[Finding]:
    """Yield the findings of all checks that compare machines; ``options`` have the cluster's releases."""
    yield from _clocks(candidates)
    yield from _identities(candidates, members)
    yield from _kubernetes(candidates, options)
    yield from _containerd(options)


def _clocks(candidates: Sequence[CandidateNode]) -> Iterator[Finding]:
    """Compare each clock with the one nearest to the operator's, which is most likely to be right."""
    clocks = [(candidate, candidate.machine.clock) for candidate in candidates if candidate.machine.clock]
    if not clocks:
        return
    nearest, right = min(clocks, key=lambda pair: abs(_ahead(pair[1], Clock(least=0, most=0))))
    for candidate, clock in clocks:
        seconds = _ahead(clock, right)
        if abs(seconds) >= _WARNING_SECONDS:
            yield candidate.finding(
                "clock",
                Severity.ERROR if abs(seconds) >= _ERROR_SECONDS else Severity.WARNING,
                found=f"its clock is {_in_words(seconds)} that of {nearest.node.name}",
                fix="synchronise it with 'timedatectl set-ntp true' or chrony",
            )
    seconds = _ahead(right, Clock(least=0, most=0))
    if abs(seconds) >= _ERROR_SECONDS:
        yield Finding(
            check="clock",
            host="",
            severity=Severity.WARNING,
            found=f"all clocks are at least {_in_words(seconds)} that of the operator's machine",
            fix="check which is right: certificates are valid from the nodes' current time on",
        )


def _ahead(clock: Clock, other: Clock) -> float:
    """Return by how many seconds a clock is certainly ahead of the other; negative if behind, 0 if unsure."""
    if clock.least > other.most:
        return clock.least - other.most
    return min(clock.most - other.least, 0)


def _in_words(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def _identities(candidates: Sequence[CandidateNode], members: ClusterMembersState) -> Iterator[Finding]:
    host_names = _shared({candidate.node.name: candidate.machine.hostname for candidate in candidates})
    machine_ids = _shared(
        {
            **{name: node.machine_id for name, node in members.nodes.items()},
            **{candidate.node.name: candidate.machine.machine_id for candidate in candidates},
        }
    )
    product_uuids = _shared({candidate.node.name: candidate.machine.product_uuid for candidate in candidates})
    macs = _shared({candidate.node.name: _mac(candidate) for candidate in candidates})
    for candidate in candidates:
        name = candidate.node.name
        if name in host_names:
            yield candidate.warning(
                "hostname",
                found=f"its host name {candidate.machine.hostname} is also that of {host_names[name]}",
                fix=f"run 'hostnamectl set-hostname {name}' on it",
            )
        if name in machine_ids:
            yield candidate.error(
                "machine-id",
                found=f"its machine ID is also that of {machine_ids[name]}",
                fix="if it is a clone, run 'rm /etc/machine-id && systemd-machine-id-setup' on it and reboot",
            )
        if name in macs:
            # The same MAC in two virtual networks is harmless; a clone has more in common.
            is_clone = name in machine_ids or name in product_uuids
            yield candidate.finding(
                "mac-address",
                Severity.ERROR if is_clone else Severity.WARNING,
                found=f"the MAC {_mac(candidate)} of its node address is also that of {macs[name]}",
                fix="give the virtual machine another MAC",
            )


def _mac(candidate: CandidateNode) -> str:
    """Return the MAC of the interface with the node's address, empty if it is unknown."""
    interface = candidate.machine.addresses.get(candidate.node.ip, "")
    return candidate.machine.macs.get(interface, "")


def _shared(values: Mapping[str, str]) -> dict[str, str]:
    """Return by name the other names with the same value; empty values are ignored."""
    return {
        name: ", ".join(others)
        for name, value in values.items()
        if value and (others := [other for other in values if values[other] == value and other != name])
    }


def _kubernetes(candidates: Sequence[CandidateNode], options: ClusterOptions) -> Iterator[Finding]:
    running = [
        candidate.machine.api_server
        for candidate in candidates
        if candidate.member and candidate.control_plane and _minor(candidate.machine.api_server)
    ]
    if not running:
        return
    oldest = min(running, key=_minor)
    if {_minor(release) for release in running} != {options.kubernetes_version.minor}:
        yield Finding(
            check="kubernetes-version",
            host="",
            severity=Severity.ERROR,
            found=(
                f"the cluster's API servers have Kubernetes {', '.join(sorted(set(running)))}, and its "
                f"configuration says {options.kubernetes_version}: an upgrade was not completed"
            ),
            fix=f"finish the upgrade with '{UPGRADE}'",
        )
    for candidate in candidates:
        kubelet = candidate.machine.kubelet
        behind = _minor(oldest) - _minor(kubelet)
        if candidate.member and _minor(kubelet) and not 0 <= behind <= _OLDER_KUBELETS:
            yield candidate.error(
                "kubernetes-version",
                found=(
                    f"its kubelet is {kubelet.partition('-')[0]}, and the API servers have {oldest}: "
                    f"a kubelet must {'not be newer' if behind < 0 else 'be at most three minors older'}"
                ),
                fix=(
                    "upgrade the control plane first"
                    if behind < 0
                    else "remove the node with deploys/remove_node.py, and join it again"
                ),
            )


def _minor(version: str) -> int:
    """Return the minor of a Kubernetes release, 0 if the text is not one."""
    match = re.match(r"1\.(\d+)", version)
    return int(match[1]) if match else 0


def _containerd(options: ClusterOptions) -> Iterator[Finding]:
    tested = [Version(version) for version in _CONTAINERD.get(options.kubernetes_minor, ())]
    chosen = options.containerd_version
    in_series = [version for version in tested if version.release[:2] == chosen.release[:2]]
    if tested and chosen < (in_series or [tested[0]])[0]:
        yield Finding(
            check="containerd-version",
            host="",
            severity=Severity.WARNING,
            found=(
                f"containerd {options.containerd_version} is not among those tested with Kubernetes "
                f"{options.kubernetes_minor}"
            ),
            fix=f"choose {', '.join(_CONTAINERD[options.kubernetes_minor])} or a newer release of its series",
        )
