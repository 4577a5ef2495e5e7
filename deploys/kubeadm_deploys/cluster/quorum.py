"""Decide from etcd's members what its majority allows.

Source: etcd's FAQ, "What is failure tolerance?", and its operations guide, "Runtime reconfiguration".
"""

from collections.abc import Collection, Iterable

from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.model.nodes import Node, Topology

QUORUM_FIX = (
    "start the machines that are down and mount their disks, then run again; if a majority of them is lost "
    "for good, restore the cluster from a backup with deploys/restore.py, or without one from a disk that is left "
    "(--data from=disk), or give it up with deploys/reset.py"
)


def quorum_lost(
    *, members: tuple[EtcdMember, ...], reached: Collection[str], with_data: Collection[str]
) -> str:
    """Return how etcd has lost its majority, empty if it has not; the fix is ``QUORUM_FIX``.

    ``reached`` are the addresses of the machines that can be reached, even if their etcd does not answer.
    ``with_data`` are those of them that have etcd data: a member without its data does not come back.
    """
    voters = [member for member in members if member.joined]
    unreached = [member.name for member in voters if member.peer_ip not in reached]
    empty = [
        member.name for member in voters if member.peer_ip in reached and member.peer_ip not in with_data
    ]
    needed = len(voters) // 2 + 1
    if not (unreached or empty) or len(voters) - len(unreached) - len(empty) >= needed:
        return ""
    reasons = [
        *([f"{', '.join(unreached)} cannot be reached"] if unreached else []),
        *([f"{', '.join(empty)} {'have' if len(empty) > 1 else 'has'} no etcd data"] if empty else []),
    ]
    return f"etcd has {len(voters)} members and needs {needed} of them, but {' and '.join(reasons)}"


def quorum_refusal(etcd: tuple[EtcdMember, ...], *, name: str, ip: str = "", healthy: frozenset[str]) -> str:
    """Return why etcd must keep a member, empty if the member can be removed.

    The member is identified by its name or address. ``healthy`` are the addresses of the members that answer.
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
        f"cannot be removed: etcd would have {len(remaining)} members and need {needed} of them, but "
        f"{', '.join(silent)} {'do' if len(silent) > 1 else 'does'} not answer"
        "; start that machine, or remove it first"
    )


def removal_order(members: Iterable[EtcdMember], *, healthy: Collection[str]) -> list[EtcdMember]:
    """Return a node's etcd members in the order of their removal: without a vote, then down, then live.

    A live member may be needed for the majority that removes the others.
    """
    return sorted(members, key=lambda member: (member.joined, member.peer_ip in healthy))


def unlisted_members(topology: Topology, *, found: ClusterMembersState) -> list[str]:
    """Return the names of the control planes that vote in etcd but are not in the inventory."""
    known = {node.ip for node in topology.control_planes}
    return sorted(member.name for member in found.etcd if member.joined and member.peer_ip not in known)


def orphan_members(
    etcd: tuple[EtcdMember, ...], *, node: Node, topology: Topology, has_data: bool
) -> list[EtcdMember]:
    """Return the etcd members that block a join.

    These are members without a vote, of this machine and of the other control planes: only one control plane
    joins at a time, so they are left over. A voting member of this machine also blocks if the machine has no
    etcd data (``has_data``): it belongs to a machine that was replaced and will not answer again.
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
    """Return why orphans must stay in etcd, empty if they may go; ``healthy`` are addresses that answer."""
    for orphan in orphans:
        if orphan.joined and orphan.peer_ip in healthy:
            return (
                f"its etcd member {orphan.name} answers at {orphan.peer_ip}, but this machine has no etcd "
                "data; check whether another machine has that address, and whether the disk of /var/lib/etcd "
                "is mounted"
            )
        if orphan.joined and (refusal := quorum_refusal(etcd, name=orphan.name, healthy=healthy)):
            return f"its etcd member {orphan.name}, whose data is no longer on this machine, {refusal}"
    return ""


def unready_members(etcd: tuple[EtcdMember, ...], *, healthy: frozenset[str]) -> list[str]:
    """Return why etcd must not get another member yet: one reason for each member that is not ready."""
    reasons = []
    for member in etcd:
        name = member.name or member.peer_ip
        if not member.joined:
            reasons.append(f"{name} {'is still a learner' if member.name else 'has never started'}")
        elif member.peer_ip not in healthy:
            reasons.append(f"{name} does not answer")
    return reasons
