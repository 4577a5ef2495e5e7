"""Deciding what a machine is in its cluster: a member, partial, or unknown."""

import dataclasses
import itertools

import pytest

from kubeadm_deploys.cluster.membership import membership_state, needs_registration
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState
from kubeadm_deploys.model.nodes import Node
from tests.support.machines import (
    ABSENT,
    MEMBER,
    OURS,
    PARTIAL,
    TOPOLOGY,
    WORKER,
    A,
    B,
    C,
    W,
    learner,
    made_anew,
    never_started,
    of_another_cluster,
    registered,
    voter,
)
from tests.support.memberships import NOT_READY, cluster, without


def state_of(
    found: KubeadmNodeState,
    *,
    node: Node = W,
    members: ClusterMembersState | None,
) -> NodeState:
    return membership_state(
        found, node=node, control_plane=node in TOPOLOGY.control_planes, cluster_ca=OURS, members=members
    )


def joining(found: KubeadmNodeState) -> KubeadmNodeState:
    """Return the same machine while its kubelet still requests a certificate."""
    return dataclasses.replace(found, files=found.files | {"bootstrap-kubelet.conf"}, rotating=False)


def with_copies(found: KubeadmNodeState) -> KubeadmNodeState:
    """Return the same machine with the files that kubectl and an etcd client need."""
    return dataclasses.replace(found, files=found.files | {"admin.conf", "pki/etcd/ca.crt"})


@pytest.mark.parametrize(
    ("found", "node", "members"),
    [
        (WORKER, W, cluster(W)),
        (MEMBER, C, cluster(C)),
        # kubelet.conf was recreated: on a worker, the only control plane, the third of three.
        (made_anew(WORKER), W, cluster(W)),
        (made_anew(WORKER), W, cluster(W, found=NOT_READY)),
        (made_anew(MEMBER), A, cluster(A, etcd=(voter(A),))),
        (made_anew(MEMBER), C, cluster(C)),
        # Its API server and its kubelet do not answer at the moment.
        (dataclasses.replace(made_anew(MEMBER), api="not ready: etcd"), C, cluster(C, found=NOT_READY)),
        # etcd knows it by another of its addresses or names.
        (MEMBER, C, cluster(C, etcd=(voter(A), voter(B), voter(C, ip="192.168.0.3")))),
        (MEMBER, C, cluster(C, etcd=(voter(A), voter(B), voter(C, name="c.example")))),
        # The Node object of a control plane was deleted: the vote counts.
        (MEMBER, C, without(C)),
        # Files of a control plane were copied to a worker.
        (with_copies(WORKER), W, cluster(W)),
        (with_copies(made_anew(WORKER)), W, cluster(W, found=NOT_READY)),
        # Its kubelet has its certificate, and the join's file is not deleted yet.
        (joining(WORKER), W, cluster(W)),
        # Files of a killed join on a machine that votes in etcd: it was a member before that join.
        (PARTIAL, C, cluster(C)),
    ],
)
def test_a_machine_that_the_cluster_counts_is_a_member_whatever_its_files(
    found: KubeadmNodeState, node: Node, members: ClusterMembersState
) -> None:
    assert state_of(found, node=node, members=members) is NodeState.MEMBER


@pytest.mark.parametrize(
    ("found", "node", "members"),
    [
        # The Node object of a worker was deleted: its kubelet does not register again by itself.
        (WORKER, W, without(W)),
        (made_anew(WORKER), W, without(W)),
        (PARTIAL, W, without(W)),
        # A killed join: the kubelet still requests a certificate, and the node is NotReady.
        (joining(WORKER), W, cluster(W, found=NOT_READY)),
        (PARTIAL, W, cluster(W, found=NOT_READY)),
        # etcd has added the control plane, but it does not vote.
        (dataclasses.replace(MEMBER, api=""), C, cluster(C, etcd=(voter(A), voter(B), learner(C)))),
        (dataclasses.replace(MEMBER, api="not ready: etcd"), C, cluster(C, etcd=(voter(A), voter(B)))),
        (PARTIAL, C, cluster(C, etcd=(voter(A), voter(B), never_started(C)))),
    ],
)
def test_a_machine_that_the_cluster_does_not_count_is_partial(
    found: KubeadmNodeState, node: Node, members: ClusterMembersState
) -> None:
    assert state_of(found, node=node, members=members) is NodeState.PARTIAL


@pytest.mark.parametrize(
    ("found", "node", "state"),
    [
        (ABSENT, W, NodeState.ABSENT),
        (WORKER, W, NodeState.MEMBER),
        (MEMBER, C, NodeState.MEMBER),
        (made_anew(WORKER), W, NodeState.UNKNOWN),
        (made_anew(MEMBER), C, NodeState.UNKNOWN),
        (PARTIAL, C, NodeState.UNKNOWN),
        (of_another_cluster(WORKER), W, NodeState.FOREIGN),
    ],
)
def test_without_the_clusters_api_no_machine_is_partial(
    found: KubeadmNodeState, node: Node, state: NodeState
) -> None:
    assert state_of(found, node=node, members=None) is state


def test_a_machine_that_the_cluster_counts_is_never_partial() -> None:
    """In all combinations: a partial machine neither is Ready under its machine ID nor votes."""
    seen = set()
    machines = (
        PARTIAL,
        WORKER,
        made_anew(WORKER),
        joining(WORKER),
        with_copies(WORKER),
        MEMBER,
        made_anew(MEMBER),
    )
    nodes: list[RegisteredNode | None] = [None, registered(), NOT_READY, registered(control_plane=True)]
    for found, node, ready, votes in itertools.product(machines, (C, W), nodes, (False, True)):
        etcd = (voter(A), voter(B), *([voter(node)] if votes else []))
        members = ClusterMembersState(etcd=etcd, nodes={node.name: ready} if ready else {})
        state = state_of(found, node=node, members=members)
        seen.add(state)
        if votes or (node is W and ready and ready.ready):
            assert state is NodeState.MEMBER
        assert state_of(found, node=node, members=None) is not NodeState.PARTIAL
    assert seen == {NodeState.MEMBER, NodeState.PARTIAL}


def test_a_control_plane_without_a_node_object_registers_again() -> None:
    assert needs_registration(node=C, found=MEMBER, members=without(C))
    assert not needs_registration(node=C, found=MEMBER, members=cluster(C))
    assert not needs_registration(node=W, found=WORKER, members=without(W))
