"""What the machines of a cluster must be beside each other: clocks, identities, releases.

Sources: Kubernetes documentation, "Installing kubeadm" (unique names, MACs and product UUIDs) and "Version Skew
Policy"; containerd's RELEASES.md, "Kubernetes Support".
"""

import re
from collections.abc import Iterator, Mapping, Sequence

from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.machine import Clock
from kubeadm_deploys.findings import Finding, Severity
from kubeadm_deploys.machine_checks import Subject
from kubeadm_deploys.options import ClusterOptions

_DANGEROUS_SECONDS = 60
_DOUBTFUL_SECONDS = 5

_OLDER_KUBELETS = 3
"""How many minors a kubelet may be behind the API server."""

_CONTAINERD = {
    "1.31": ("2.0.0", "1.7.20"),
    "1.32": ("2.1.0", "2.0.1", "1.7.24"),
    "1.33": ("2.1.0", "2.0.4", "1.7.24"),
    "1.34": ("2.1.3", "2.0.6", "1.7.28"),
    "1.35": ("2.2.0", "2.1.5", "1.7.28"),
    "1.36": ("2.3.0", "2.2.0"),
    "1.37": ("2.4.0", "2.3.0"),
}
"""By Kubernetes minor, the oldest release of each series of containerd that is tested with it, the newest first."""


def cluster_findings(
    subjects: Sequence[Subject], *, options: ClusterOptions, members: ClusterMembersState
) -> Iterator[Finding]:
    """Everything that is seen only with all machines side by side; ``options`` have the cluster's releases."""
    yield from _clocks(subjects)
    yield from _identities(subjects, members)
    yield from _kubernetes(subjects, options)
    yield from _containerd(options)


def _clocks(subjects: Sequence[Subject]) -> Iterator[Finding]:
    """Each clock against the one that is nearest to the operator's: that one is right if any is."""
    clocks = [(subject, subject.machine.clock) for subject in subjects if subject.machine.clock]
    if not clocks:
        return
    nearest, right = min(clocks, key=lambda pair: abs(_ahead(pair[1], Clock(least=0, most=0))))
    for subject, clock in clocks:
        seconds = _ahead(clock, right)
        if abs(seconds) >= _DOUBTFUL_SECONDS:
            yield subject.finding(
                "clock",
                Severity.DANGER if abs(seconds) >= _DANGEROUS_SECONDS else Severity.DOUBT,
                found=f"its clock is {_in_words(seconds)} that of {nearest.node.name}",
                cure="have it synchronised, with 'timedatectl set-ntp true' or chrony",
            )
    seconds = _ahead(right, Clock(least=0, most=0))
    if abs(seconds) >= _DANGEROUS_SECONDS:
        yield Finding(
            check="clock",
            host="",
            severity=Severity.DOUBT,
            found=f"all clocks are at least {_in_words(seconds)} that of the machine which runs this",
            cure="look which one is right: certificates are valid from the nodes' now on",
        )


def _ahead(clock: Clock, other: Clock) -> float:
    """By how many seconds a clock is surely ahead of the other one, negative when it is behind, 0 if it may be right."""
    if clock.least > other.most:
        return clock.least - other.most
    return min(clock.most - other.least, 0)


def _in_words(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'}"


def _identities(subjects: Sequence[Subject], members: ClusterMembersState) -> Iterator[Finding]:
    host_names = _shared({subject.node.name: subject.machine.hostname for subject in subjects})
    machine_ids = _shared(
        {
            **{name: node.machine_id for name, node in members.nodes.items()},
            **{subject.node.name: subject.machine.machine_id for subject in subjects},
        }
    )
    product_uuids = _shared({subject.node.name: subject.machine.product_uuid for subject in subjects})
    macs = _shared({subject.node.name: _mac(subject) for subject in subjects})
    for subject in subjects:
        name = subject.node.name
        if name in host_names:
            yield subject.doubt(
                "hostname",
                found=f"its host name {subject.machine.hostname} is that of {host_names[name]} as well",
                cure=f"run 'hostnamectl set-hostname {name}' on it",
            )
        if name in machine_ids:
            yield subject.danger(
                "machine-id",
                found=f"its machine ID is that of {machine_ids[name]} as well",
                cure="if it is a clone, run 'rm /etc/machine-id && systemd-machine-id-setup' on it and reboot",
            )
        if name in macs:
            # Two virtual networks may have the same MAC without harm; a clone has more in common.
            is_clone = name in machine_ids or name in product_uuids
            yield subject.finding(
                "mac-address",
                Severity.DANGER if is_clone else Severity.DOUBT,
                found=f"the MAC {_mac(subject)} of its node address is that of {macs[name]} as well",
                cure="give the virtual machine another MAC",
            )


def _mac(subject: Subject) -> str:
    """The MAC of the interface that has the node's address, empty if it is not known."""
    interface = subject.machine.addresses.get(subject.node.ip, "")
    return subject.machine.macs.get(interface, "")


def _shared(values: Mapping[str, str]) -> dict[str, str]:
    """By name, who has the same value; values that are empty are nobody's."""
    return {
        name: ", ".join(others)
        for name, value in values.items()
        if value and (others := [each for each, its in values.items() if its == value and each != name])
    }


def _kubernetes(subjects: Sequence[Subject], options: ClusterOptions) -> Iterator[Finding]:
    running = [
        subject.machine.api_server
        for subject in subjects
        if subject.member and subject.control_plane and _minor(subject.machine.api_server)
    ]
    if not running:
        return
    oldest = min(running, key=_minor)
    if {_minor(release) for release in running} != {_minor(options.kubernetes_version)}:
        yield Finding(
            check="kubernetes-version",
            host="",
            severity=Severity.DANGER,
            found=(
                f"the cluster's API servers have Kubernetes {', '.join(sorted(set(running)))}, and its configuration "
                f"says {options.kubernetes_version}: an upgrade did not come to its end"
            ),
            cure="finish the upgrade on every control plane first",
        )
    for subject in subjects:
        kubelet = subject.machine.kubelet
        behind = _minor(oldest) - _minor(kubelet)
        if subject.member and _minor(kubelet) and not 0 <= behind <= _OLDER_KUBELETS:
            yield subject.danger(
                "kubernetes-version",
                found=(
                    f"its kubelet is {kubelet.partition('-')[0]}, and the API servers have {oldest}: "
                    f"{'no kubelet may be newer' if behind < 0 else 'at most three minors older is supported'}"
                ),
                cure=(
                    "upgrade the control plane first"
                    if behind < 0
                    else "remove the node with deploys/remove_node.py, and join it again"
                ),
            )


def _minor(version: str) -> int:
    """The minor of a Kubernetes release, 0 if there is none."""
    match = re.match(r"1\.(\d+)", version)
    return int(match[1]) if match else 0


def _containerd(options: ClusterOptions) -> Iterator[Finding]:
    tested = [_release(version) for version in _CONTAINERD.get(options.kubernetes_minor, ())]
    chosen = _release(options.containerd_version)
    in_series = [version for version in tested if version[:2] == chosen[:2]]
    if tested and chosen < (in_series or [tested[0]])[0]:
        yield Finding(
            check="containerd-version",
            host="",
            severity=Severity.DOUBT,
            found=f"containerd {options.containerd_version} is not among those tested with Kubernetes {options.kubernetes_minor}",
            cure=f"choose {', '.join(_CONTAINERD[options.kubernetes_minor])} or newer of its series",
        )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
