"""Which machines are the cluster, decided from what was found on its control planes."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState, node_state
from kubeadm_deploys.findings import Finding, Severity
from kubeadm_deploys.nodes import Node, Topology

ANOTHER_CLUSTER = (
    "belongs to another cluster than the inventory's control planes (its CA certificate differs)",
    "take it out of the inventory, or run 'kubeadm reset' on it to give it up",
)
ETCD_DATA = (
    "has data in /var/lib/etcd that nothing of kubeadm's on this machine explains",
    "move them away if nobody needs them there",
)
"""What was found, and its cure."""

_UNREACHABLE_CURE = "make it reachable, or take it out of the inventory"


@dataclass(frozen=True, kw_only=True)
class Election:
    """Through which control plane a run speaks to the cluster, and what it is.

    ``leader`` is its host's name for pyinfra. ``exists`` is whether there is a cluster, ``healthy`` are the control
    planes whose API server answers, and ``problem`` says why the cluster cannot be used as it is, empty if it can.
    """

    leader: str
    exists: bool
    healthy: tuple[Node, ...] = ()
    ca_certificate: str = ""
    problem: str = ""


def elect(
    topology: Topology, *, found: Mapping[str, KubeadmNodeState | None], able: frozenset[str]
) -> Election:
    """Choose the leader: the first control plane whose API server answers, and where there is none yet, the first.

    ``found`` is what was found on each control plane by host, None where nothing could be; ``able`` are the hosts
    that can still be told to do something in this run.
    """
    nodes = topology.control_planes
    members = [node for node in nodes if _is_member(found[node.host])]
    healthy = tuple(node for node in members if _state(found, node).api == "ok")
    for candidates in (healthy, members):
        if candidates:
            leader = next((node for node in candidates if node.host in able), candidates[0])
            return Election(
                leader=leader.host,
                exists=True,
                healthy=healthy,
                ca_certificate=_state(found, leader).ca_certificate,
                problem="" if healthy else f"no API server answers: {_seen(nodes, found)}",
            )
    leader = next((node for node in nodes if node.host in able), nodes[0])
    unread = [node.name for node in nodes if found[node.host] is None]
    return Election(
        leader=leader.host,
        exists=False,
        problem=(
            f"no control plane that answers has a cluster, but {', '.join(unread)} cannot be reached and may have one; "
            f"nothing was created; {_UNREACHABLE_CURE}"
            if unread
            else ""
        ),
    )


def quorum_lost(*, members: tuple[EtcdMember, ...], there: Collection[str]) -> str:
    """What to do when etcd has lost its majority, empty when it has not.

    ``there`` are the addresses of the machines that can be reached, whether or not their etcd answers.
    """
    voters = [member for member in members if member.joined]
    gone = [member.name for member in voters if member.peer_ip not in there]
    needed = len(voters) // 2 + 1
    if not gone or len(voters) - len(gone) >= needed:
        return ""
    return (
        f"etcd has {len(voters)} members and needs {needed} of them, but {', '.join(gone)} cannot be reached; nothing was "
        "changed; start the machines that are down, then run again; if a majority of them is lost for good, etcd has "
        "to be restored from a backup"
    )


def unlisted_members(topology: Topology, *, found: ClusterMembersState) -> list[str]:
    """Names of the control planes that etcd counts but the inventory does not have."""
    known = {node.ip for node in topology.control_planes}
    return sorted(member.name for member in found.etcd if member.joined and member.peer_ip not in known)


def membership_findings(
    topology: Topology, *, election: Election, members: ClusterMembersState
) -> Iterator[Finding]:
    """What the inventory's control planes say of the cluster as a whole."""
    of_cluster = partial(Finding, check="control-planes", host="")
    if not election.exists and election.problem:
        found = election.problem.removesuffix(f"; {_UNREACHABLE_CURE}")
        yield of_cluster(severity=Severity.DANGER, found=found, cure=_UNREACHABLE_CURE)
    unlisted = unlisted_members(topology, found=members)
    voters = sum(member.joined for member in members.etcd)
    if len(unlisted) * 2 > voters:
        yield of_cluster(
            severity=Severity.DANGER,
            found=(
                f"control_plane: {', '.join(unlisted)} are {len(unlisted)} of the cluster's {voters} control planes, "
                "but not in the inventory"
            ),
            cure="put them back, or remove them one by one with deploys/remove_node.py",
        )
        return
    for name in unlisted:
        yield of_cluster(
            severity=Severity.DOUBT,
            found=f"{name} is a control plane of the cluster, but not in the inventory",
            cure=f"if it is lost, remove it: deploys/remove_node.py --data node={name} --data force=true",
        )


def standing(
    found: KubeadmNodeState,
    *,
    node: Node,
    control_plane: bool,
    cluster_ca: str,
    members: ClusterMembersState,
) -> NodeState:
    """What a machine is in the cluster: what kubeadm made of it, held against what the cluster says of it.

    A machine that has joined is half a member when its Node object is missing, and a control plane also without a
    vote in etcd or without its role: kubeadm did not come to its end, or somebody has deleted the node.
    """
    state = node_state(found, cluster_ca=cluster_ca)
    if state is not NodeState.MEMBER or not members.known:
        return state
    registered = members.nodes.get(node.name)
    complete = registered and (not control_plane or (registered.control_plane and members.votes(node.ip)))
    return NodeState.MEMBER if complete else NodeState.HALF


def join_findings(
    topology: Topology,
    *,
    node: Node,
    found: KubeadmNodeState,
    election: Election,
    members: ClusterMembersState,
) -> Iterator[Finding]:
    """Why a machine must not be joined: it is something else already, or another has its name."""
    control_plane = node in topology.control_planes
    state = node_state(found, cluster_ca=election.ca_certificate)
    refused = partial(Finding, host=node.host, severity=Severity.DANGER)
    if found.has_etcd_of_others:
        yield refused(check="etcd-data", found=ETCD_DATA[0], cure=ETCD_DATA[1])
    elif state is NodeState.FOREIGN or (state is NodeState.MEMBER and not election.exists):
        yield refused(check="another-cluster", found=ANOTHER_CLUSTER[0], cure=ANOTHER_CLUSTER[1])
    elif state is NodeState.MEMBER and found.is_control_plane is not control_plane:
        is_now, to_be = ("worker", "control plane") if control_plane else ("control plane", "worker")
        yield refused(
            check="node-role",
            found=f"is a {is_now} of the cluster and cannot become a {to_be} as it is",
            cure="put it back into its group, or remove it with deploys/remove_node.py and run again",
        )
    elif (registered := members.nodes.get(node.name)) and registered.machine_id != found.machine_id:
        yield refused(
            check="node-name",
            found=f"node_name {node.name!r} is in the cluster already, under another machine",
            cure=(
                f"give this one another name, or remove the other one: deploys/remove_node.py --data node={node.name}, "
                "with --data force=true if it is lost"
            ),
        )


def join_refusal(
    topology: Topology,
    *,
    node: Node,
    found: KubeadmNodeState,
    election: Election,
    members: ClusterMembersState,
) -> str:
    """Why a machine must not be joined in one sentence, empty when it may."""
    findings = join_findings(topology, node=node, found=found, election=election, members=members)
    return next((finding.words for finding in findings), "")


def orphan_members(etcd: tuple[EtcdMember, ...], *, node: Node, topology: Topology) -> list[EtcdMember]:
    """etcd's members that joins left behind: this machine's, which is not one yet, and others that never got a vote.

    While a control plane has its turn to join, none of the others can be in the middle of it.
    """
    own = {other.ip for other in topology.control_planes}
    return [
        member
        for member in etcd
        if member.peer_ip == node.ip or (not member.joined and member.peer_ip in own)
    ]


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


def _is_member(found: KubeadmNodeState | None) -> bool:
    return found is not None and found.is_control_plane and node_state(found) is NodeState.MEMBER


def _state(found: Mapping[str, KubeadmNodeState | None], node: Node) -> KubeadmNodeState:
    return found[node.host] or KubeadmNodeState()


def _seen(nodes: tuple[Node, ...], found: Mapping[str, KubeadmNodeState | None]) -> str:
    def of(node: Node) -> str:
        state = found[node.host]
        if state is None:
            return "cannot be reached"
        return state.api or "has none"

    return "; ".join(f"{node.name} {of(node)}" for node in nodes)
