"""What etcd's majority allows, decided from its members.

Source: etcd's FAQ, "What is failure tolerance?", and its operations guide, "Runtime reconfiguration".
"""

from collections.abc import Collection, Iterable

from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.nodes import Node, Topology

QUORUM_FIX = (
    "start the machines that are down, then run again; if a majority of them is lost for good, etcd has to be restored "
    "from a backup, or the whole cluster given up with deploys/reset.py"
)


def quorum_lost(
    *, members: tuple[EtcdMember, ...], there: Collection[str], emptied: Collection[str] = ()
) -> str:
    """That etcd has lost its majority, empty when it has not; see ``QUORUM_FIX``.

    ``there`` are the addresses of the machines that can be reached, whether or not their etcd answers, and ``emptied``
    of those of them that have no data of etcd, whose member does not come back.
    """
    voters = [member for member in members if member.joined]
    unreached = [member.name for member in voters if member.peer_ip not in there]
    empty = [member.name for member in voters if member.peer_ip in there and member.peer_ip in emptied]
    left = len(voters) - len(unreached) - len(empty)
    needed = len(voters) // 2 + 1
    if left == len(voters) or left >= needed:
        return ""
    why = [
        *([f"{', '.join(unreached)} cannot be reached"] if unreached else []),
        *([f"{', '.join(empty)} {'have' if len(empty) > 1 else 'has'} lost etcd's data"] if empty else []),
    ]
    return f"etcd has {len(voters)} members and needs {needed} of them, but {' and '.join(why)}"


def quorum_refusal(etcd: tuple[EtcdMember, ...], *, name: str, ip: str = "", healthy: frozenset[str]) -> str:
    """Why etcd must keep a member, empty when it can do without.

    The member is the one with this name, or at this address. ``healthy`` are addresses of members that answer.
    """
    voters = [member for member in etcd if member.joined]
    remaining = [member for member in voters if member.name != name and (not ip or member.peer_ip != ip)]
    if len(remaining) == len(voters):
        return ""
    if not remaining:
        return "is the last control plane; to give up the whole cluster use deploys/reset.py"
    answering = [member for member in remaining if member.peer_ip in healthy]
    needed = len(remaining) // 2 + 1
    if len(answering) >= needed:
        return ""
    silent = [member.name for member in remaining if member not in answering]
    return (
        f"cannot go: etcd would have {len(remaining)} members and need {needed} of them, and {', '.join(silent)} "
        f"{'do' if len(silent) > 1 else 'does'} not answer; start that machine, or remove it first"
    )


def removal_order(members: Iterable[EtcdMember], *, healthy: Collection[str]) -> list[EtcdMember]:
    """A node's members of etcd, those first that etcd does not miss: a member may be the one that makes the majority
    by which the others can be taken out.
    """
    return sorted(members, key=lambda member: (member.joined, member.peer_ip in healthy))


def unlisted_members(topology: Topology, *, found: ClusterMembersState) -> list[str]:
    """Names of the control planes that etcd counts but the inventory does not have."""
    known = {node.ip for node in topology.control_planes}
    return sorted(member.name for member in found.etcd if member.joined and member.peer_ip not in known)


def orphan_members(
    etcd: tuple[EtcdMember, ...], *, node: Node, topology: Topology, has_data: bool
) -> list[EtcdMember]:
    """etcd's members that are in the way of a join.

    Those that never got a vote, of this machine and of others: while a control plane has its turn to join, none of
    the others can be in the middle of it. And this machine's own with a vote when it has no data of etcd
    (``has_data``): it is then the member of a machine that was replaced, and will not answer again.
    """
    own = {node.ip, *(other.ip for other in topology.control_planes)}
    return [
        member
        for member in etcd
        if (not member.joined and member.peer_ip in own) or (member.peer_ip == node.ip and not has_data)
    ]


def orphan_refusal(
    orphans: Iterable[EtcdMember], *, etcd: tuple[EtcdMember, ...], healthy: frozenset[str]
) -> str:
    """Why orphans must stay in etcd, empty when they may go. ``healthy`` are addresses of members that answer."""
    for orphan in orphans:
        if orphan.joined and orphan.peer_ip in healthy:
            return (
                f"its member {orphan.name} of etcd answers at {orphan.peer_ip}, and no data of etcd are on this machine; "
                "look whether another machine has that address, and whether the disk of /var/lib/etcd is mounted"
            )
        if orphan.joined and (refusal := quorum_refusal(etcd, name=orphan.name, healthy=healthy)):
            return f"its member {orphan.name} of etcd, whose data are not on this machine any more, {refusal}"
    return ""


def unready_members(etcd: tuple[EtcdMember, ...], *, healthy: frozenset[str]) -> list[str]:
    """Why etcd must not get another member yet, one reason for each of its members that is not as it should be."""
    reasons = []
    for member in etcd:
        name = member.name or member.peer_ip
        if not member.joined:
            reasons.append(f"{name} {'is still a learner' if member.name else 'has never started'}")
        elif member.peer_ip not in healthy:
            reasons.append(f"{name} does not answer")
    return reasons
