"""What kubeadm is to do on a machine: create the cluster, join it, or nothing; decided from what was read.

Nothing here asks a machine. Both decisions are made from what was read right before they are acted on.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kubeadm_deploys.election import Election
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState, node_state
from kubeadm_deploys.membership import JOINED_ANOTHER, join_refusal, standing
from kubeadm_deploys.nodes import Node, Topology

_ADDONS = ("kube-proxy", "coredns")


@dataclass(frozen=True, kw_only=True)
class JoinStep:
    """What is done with a machine that is to be a node of a cluster.

    ``refusal`` says why it is left alone, ``member`` is whether it is a node already. Without both it is joined, and
    with ``clean`` what kubeadm left on it is removed before.
    """

    refusal: str = ""
    member: bool = False
    clean: bool = False


@dataclass(frozen=True, kw_only=True)
class InitStep:
    """What is done with the machine on which a cluster is to be created.

    ``refusal`` says why none is; with ``clean`` what an interrupted init left on it is removed before.
    """

    refusal: str = ""
    clean: bool = False


def join_step(
    topology: Topology,
    *,
    node: Node,
    found: KubeadmNodeState,
    election: Election,
    members: ClusterMembersState | None,
    endpoint: str,
) -> JoinStep:
    """Decide what is done with a machine while operations run. ``members`` is None while the API does not answer."""
    if members is None:
        return JoinStep(
            refusal=(
                "the cluster's API does not answer, so it is not known what this machine is in the cluster; no changes were "
                "made to it; run again when it answers"
            )
        )
    if refusal := join_refusal(
        topology, node=node, found=found, election=election, members=members, endpoint=endpoint
    ):
        return JoinStep(refusal=f"{refusal}; no changes were made to it")
    state = standing(
        found,
        node=node,
        control_plane=node in topology.control_planes,
        cluster_ca=election.ca_certificate,
        members=members,
    )
    if state is NodeState.MEMBER:
        return JoinStep(member=True)
    if node.host == election.leader:
        why = (
            "nothing of kubeadm is on it any more"
            if state is NodeState.ABSENT
            else "the cluster does not count it as a member"
        )
        return JoinStep(
            refusal=(
                f"leads the cluster, yet {why}; no changes were made to it; look at 'kubectl get nodes' and "
                "'etcdctl member list' there"
            )
        )
    return JoinStep(clean=state is not NodeState.ABSENT)


def init_step(found: KubeadmNodeState, *, election: Election) -> InitStep:
    """Decide what is done with the leader of a cluster that does not exist yet."""
    if election.problem:
        return InitStep(refusal=election.problem)
    state = node_state(found)
    if state is NodeState.FOREIGN or (found.has_cluster and not election.stored_nothing):
        return InitStep(
            refusal="has data of a cluster that were not there a moment ago; no cluster was created; run again"
        )
    if found.is_worker:
        return InitStep(refusal=f"{JOINED_ANOTHER[0]}; no cluster was created; {JOINED_ANOTHER[1]}")
    return InitStep(clean=state is not NodeState.ABSENT)


def remaining_phases(missing: Sequence[str], *, has_joined: bool) -> tuple[tuple[str, ...], ...] | None:
    """Arguments of the ``kubeadm init`` phases that make what a cluster lacks; None when only all of init does.

    ``missing`` is what ``InitRemainder`` has found, ``has_joined`` whether kubeadm's files are as it leaves them.
    """
    addons = [name for name in _ADDONS if name in missing]
    if set(missing) != set(addons):
        return None
    phases = [("addon", addon) for addon in addons]
    # What an init does last. What it does before would take changes that were made since for errors.
    finalize = len(addons) == len(_ADDONS) and not has_joined
    return (("kubelet-finalize", "all"), *phases) if finalize else tuple(phases)


def finish_refusal(missing: Sequence[str], *, others: Collection[str]) -> str:
    """Why an init that lacks more than its last phases is not done again, empty when it is.

    ``others`` are the names of the cluster's other nodes.
    """
    if not others:
        return ""
    return (
        f"kubeadm init did not finish here ({', '.join(missing)} missing), yet the cluster has the nodes "
        f"{', '.join(sorted(others))}; no changes were made to it; find out who removed them, and put them back"
    )
