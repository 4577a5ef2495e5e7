"""Decide what kubeadm does on a machine: create the cluster, join it, or nothing.

Nothing here contacts a machine. Each decision uses what was read immediately before it is carried out.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.cluster.membership import JOINED_ANOTHER, join_refusal, membership_state
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState, node_state
from kubeadm_deploys.model.nodes import Node, Topology

_ADDONS = ("kube-proxy", "coredns")


@dataclass(frozen=True, kw_only=True)
class JoinStep:
    """What is done with a machine that should become a node.

    ``refusal`` says why the machine is left alone, ``member`` is whether it already is a node. Without
    either, it is joined; with ``clean``, what kubeadm left on it is removed first.
    """

    refusal: str = ""
    member: bool = False
    clean: bool = False


@dataclass(frozen=True, kw_only=True)
class InitStep:
    """What is done with the machine on which the cluster should be created.

    ``refusal`` says why no cluster is created; with ``clean``, what an interrupted init left is removed
    first.
    """

    refusal: str = ""
    clean: bool = False


def join_step(
    topology: Topology,
    *,
    node: Node,
    found: KubeadmNodeState,
    api_leader: ApiLeader,
    members: ClusterMembersState | None,
    endpoint: str,
) -> JoinStep:
    """Decide what is done with a machine while operations run; ``members`` is None if the API is down."""
    if members is None:
        return JoinStep(
            refusal=(
                "the cluster's API does not answer, so it is not known whether this machine is a node; no "
                "changes were made to it; run again when it answers"
            )
        )
    if refusal := join_refusal(
        topology, node=node, found=found, api_leader=api_leader, members=members, endpoint=endpoint
    ):
        return JoinStep(refusal=f"{refusal}; no changes were made to it")
    state = membership_state(
        found,
        node=node,
        control_plane=node in topology.control_planes,
        cluster_ca=api_leader.ca_certificate,
        members=members,
    )
    if state is NodeState.MEMBER:
        return JoinStep(member=True)
    if node.host == api_leader.leader:
        why = (
            "its kubeadm files are gone"
            if state is NodeState.ABSENT
            else "the cluster does not count it as a member"
        )
        return JoinStep(
            refusal=(
                f"is the cluster's leader, but {why}; no changes were made to it; look at 'kubectl get "
                "nodes' and 'etcdctl member list' on it"
            )
        )
    return JoinStep(clean=state is not NodeState.ABSENT)


def init_step(found: KubeadmNodeState, *, api_leader: ApiLeader) -> InitStep:
    """Decide what is done with the leader while the cluster does not exist yet."""
    if api_leader.problem:
        return InitStep(refusal=api_leader.problem)
    state = node_state(found)
    if state is NodeState.FOREIGN or (found.has_cluster and not api_leader.stored_nothing):
        return InitStep(
            refusal="has cluster data that did not exist a moment ago; no cluster was created; run again"
        )
    if found.is_worker:
        return InitStep(refusal=f"{JOINED_ANOTHER[0]}; no cluster was created; {JOINED_ANOTHER[1]}")
    return InitStep(clean=state is not NodeState.ABSENT)


def remaining_phases(missing: Sequence[str], *, has_joined: bool) -> tuple[tuple[str, ...], ...] | None:
    """Return the ``kubeadm init`` phases that create what a cluster lacks; None if only a complete init does.

    ``missing`` is what ``InitRemainder`` found, ``has_joined`` whether kubeadm's files are those of a
    finished run.
    """
    addons = [name for name in _ADDONS if name in missing]
    if set(missing) != set(addons):
        return None
    phases = [("addon", addon) for addon in addons]
    # Only the last phases of init: earlier ones would treat changes that were made since as errors.
    finalize = len(addons) == len(_ADDONS) and not has_joined
    return (("kubelet-finalize", "all"), *phases) if finalize else tuple(phases)


def finish_refusal(missing: Sequence[str], *, others: Collection[str]) -> str:
    """Return why an init that lacks more than its last phases is not repeated, empty if it is.

    ``others`` are the names of the cluster's other nodes.
    """
    if not others:
        return ""
    return (
        f"kubeadm init did not finish here ({', '.join(missing)} missing), but the cluster has the nodes "
        f"{', '.join(sorted(others))}; no changes were made to it; find out who removed what is missing, and "
        "restore it"
    )
