"""Deciding what a machine is in its cluster, whether it may join, and which etcd members can be removed."""

import dataclasses
import itertools
import json

import pytest

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.cluster.membership import (
    join_findings,
    join_refusal,
    membership_state,
    needs_registration,
)
from kubeadm_deploys.cluster.quorum import orphan_members, orphan_refusal, unready_members
from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMember, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState
from kubeadm_deploys.model.findings import Severity
from kubeadm_deploys.model.nodes import Node, Topology
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

NODES = {
    node.name: registered(control_plane=node is not W, machine_id=f"m-{node.name}") for node in (A, B, C, W)
}
VOTERS = (voter(A), voter(B), voter(C))


def cluster(
    node: Node, *, etcd: tuple[EtcdMember, ...] = VOTERS, found: RegisteredNode | None = None
) -> ClusterMembersState:
    """Return a healthy cluster; ``node`` is the tested machine, with the machine ID ``m``."""
    own = found or dataclasses.replace(NODES[node.name], machine_id="m")
    return ClusterMembersState(etcd=etcd, nodes={**NODES, node.name: own})


def without(node: Node, *, etcd: tuple[EtcdMember, ...] = VOTERS) -> ClusterMembersState:
    """Return the same cluster without the machine's Node object."""
    return ClusterMembersState(
        etcd=etcd, nodes={name: other for name, other in NODES.items() if name != node.name}
    )


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


NOT_READY = registered(ready=False)


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


ENDPOINT = "api.kubernetes.internal"


def refusal(
    found: KubeadmNodeState,
    *,
    node: Node = W,
    topology: Topology = TOPOLOGY,
    exists: bool = True,
    members: ClusterMembersState | None,
) -> str:
    api_leader = ApiLeader(leader=A.host, exists=exists, ca_certificate=OURS if exists else "")
    return join_refusal(
        topology, node=node, found=found, api_leader=api_leader, members=members, endpoint=ENDPOINT
    )


NO_MEMBERS = ClusterMembersState()


def test_bare_machines_and_members_are_not_refused() -> None:
    assert refusal(ABSENT, members=without(W)) == ""
    assert refusal(ABSENT, exists=False, members=NO_MEMBERS) == ""
    assert refusal(PARTIAL, node=C, members=without(C, etcd=(voter(A), voter(B)))) == ""
    assert refusal(WORKER, members=cluster(W)) == ""
    assert refusal(made_anew(WORKER), members=cluster(W)) == ""
    assert refusal(MEMBER, node=C, members=cluster(C)) == ""
    assert refusal(made_anew(MEMBER), node=C, members=cluster(C)) == ""
    assert refusal(PARTIAL, node=A, exists=False, members=NO_MEMBERS) == ""


@pytest.mark.parametrize(("found", "node"), [(WORKER, W), (MEMBER, C), (PARTIAL, W)])
def test_nodes_of_other_clusters_are_refused(found: KubeadmNodeState, node: Node) -> None:
    for members in (cluster(node), without(node), None):
        reason = refusal(of_another_cluster(found), node=node, members=members)
        assert reason.startswith("is a node of another cluster")
        assert "kubeadm reset" not in reason


def test_a_worker_with_a_clusters_files_is_refused_without_a_cluster() -> None:
    for found in (WORKER, PARTIAL, of_another_cluster(WORKER)):
        assert "none of the inventory's control planes has a cluster" in refusal(
            found, exists=False, members=NO_MEMBERS
        )


def test_data_of_another_etcd_is_refused() -> None:
    etcd = KubeadmNodeState(files=frozenset({"etcd"}), machine_id="m")
    assert "has etcd data in /var/lib/etcd" in refusal(etcd, node=C, members=cluster(C))
    assert "has etcd data in /var/lib/etcd" in refusal(etcd, exists=False, members=NO_MEMBERS)
    assert "has etcd data in /var/lib/etcd" in refusal(etcd, members=None)


def test_a_changed_role_is_refused() -> None:
    swapped = Topology(control_planes=(A, B, W), workers=(C,))
    assert "is a worker of the cluster" in refusal(
        WORKER, topology=swapped, members=cluster(W, etcd=(voter(A), voter(B)))
    )
    assert "is a control plane of the cluster" in refusal(
        MEMBER, node=C, topology=swapped, members=cluster(C)
    )


@pytest.mark.parametrize("found", [ABSENT, PARTIAL, WORKER])
def test_a_name_of_another_machine_is_refused(found: KubeadmNodeState) -> None:
    reason = refusal(found, members=cluster(W, found=registered(machine_id="other")))
    assert "node_name 'w' already belongs to another machine" in reason


def test_a_machine_without_a_machine_id_is_refused_for_that() -> None:
    nameless = dataclasses.replace(WORKER, machine_id="")
    assert refusal(nameless, members=cluster(W)).startswith("has no machine ID in /etc/machine-id")


@pytest.mark.parametrize("node", [W, C])
def test_a_ready_node_without_kubeadms_files_is_refused(node: Node) -> None:
    members = cluster(node, etcd=(voter(A), voter(B)))
    assert refusal(ABSENT, node=node, members=members).startswith(
        f"is node {node.name} of the cluster, which is Ready, but its kubeadm files are gone"
    )
    gone = cluster(node, etcd=(voter(A), voter(B)), found=NOT_READY)
    assert refusal(ABSENT, node=node, members=gone) == ""


def test_a_renamed_node_is_refused_and_not_cleaned() -> None:
    renamed = dataclasses.replace(W, name="worker-1")
    topology = Topology(control_planes=(A, B, C), workers=(renamed,))
    reason = refusal(WORKER, node=renamed, topology=topology, members=cluster(W))
    assert reason.startswith("is node w of the cluster (same machine ID)") and "worker-1" in reason
    assert "set node_name to w" in reason
    # Only certificates may be left of a node.
    certificate = KubeadmNodeState(ca_certificate=OURS, machine_id="m")
    assert "set node_name to w" in refusal(certificate, node=renamed, topology=topology, members=cluster(W))
    # An unknown machine ID matches no node.
    nameless, nodes = dataclasses.replace(WORKER, machine_id=""), {"w": registered(machine_id="")}
    unknown = ClusterMembersState(etcd=VOTERS, nodes=nodes)
    assert refusal(nameless, node=renamed, topology=topology, members=unknown) == ""
    # The check of machine IDs reports a bare machine that was created from the same image.
    assert refusal(ABSENT, node=renamed, topology=topology, members=cluster(W)) == ""


@pytest.mark.parametrize(
    ("vote", "problem"),
    [
        (
            voter(C, ip="192.168.0.3"),
            "etcd has the member c at 192.168.0.3, but the inventory has c at 10.0.0.3",
        ),
        (voter(C, name="old"), "etcd has the member old at 10.0.0.3, but the inventory has c at 10.0.0.3"),
    ],
)
@pytest.mark.parametrize("found", [ABSENT, PARTIAL, MEMBER])
def test_a_vote_with_another_name_or_address_is_refused(
    vote: EtcdMember, problem: str, found: KubeadmNodeState
) -> None:
    members = cluster(C, etcd=(voter(A), voter(B), vote))
    api_leader = ApiLeader(leader=A.host, exists=True, ca_certificate=OURS)
    first, *_ = join_findings(
        TOPOLOGY, node=C, found=found, api_leader=api_leader, members=members, endpoint=ENDPOINT
    )
    assert (first.check, first.severity) == ("node-name", Severity.ERROR)
    assert first.found.startswith(problem)


@pytest.mark.parametrize(
    ("members", "node", "has_data", "orphans"),
    [
        # Members without a vote, of this machine and of others.
        ((voter(A), never_started(B), learner(C)), B, False, (never_started(B), learner(C))),
        ((voter(A), never_started(B), learner(C)), B, True, (never_started(B), learner(C))),
        # Not those of machines outside the inventory.
        ((voter(A), EtcdMember(id="x", name="", peer_ip="10.9.9.9")), B, False, ()),
        # A vote of this machine only without its data: the machine was replaced.
        ((voter(A), voter(B)), B, False, (voter(B),)),
        ((voter(A), voter(B)), B, True, ()),
        ((voter(A), voter(B)), C, False, ()),
    ],
)
def test_orphans_are_members_of_broken_joins_and_votes_without_data(
    members: tuple[EtcdMember, ...], node: Node, has_data: bool, orphans: tuple[EtcdMember, ...]
) -> None:
    assert orphan_members(members, node=node, topology=TOPOLOGY, has_data=has_data) == list(orphans)


def test_a_vote_without_data_is_removed_only_if_dead_and_dispensable() -> None:
    etcd = (voter(A), voter(B), never_started(C))
    assert orphan_refusal([voter(B), never_started(C)], etcd=etcd, healthy=frozenset({A.ip})) == ""
    assert "its etcd member b answers at 10.0.0.2, but this machine has no etcd data" in orphan_refusal(
        [voter(B)], etcd=etcd, healthy=frozenset({A.ip, B.ip})
    )
    assert "etcd member b, whose data is no longer on this machine, cannot be removed" in orphan_refusal(
        [voter(B)], etcd=etcd, healthy=frozenset()
    )


def test_etcd_gets_a_member_only_if_all_others_vote_and_answer() -> None:
    members = (voter(A), voter(B), never_started(C), learner(W))
    assert unready_members(members, healthy=frozenset({A.ip, C.ip, W.ip})) == [
        "b does not answer",
        f"{C.ip} has never started",
        "w is still a learner",
    ]
    assert unready_members(members[:2], healthy=frozenset({A.ip, B.ip})) == []


MEMBER_LIST = json.dumps(
    {
        "members": [
            {"ID": 16295338496780830936, "name": "a", "peerURLs": ["https://10.0.0.1:2380"]},
            {"ID": 5, "peerURLs": ["https://10.0.0.2:2380"], "isLearner": True},
        ]
    }
)


def test_etcdctls_output_is_parsed() -> None:
    assert EtcdMembers().process([MEMBER_LIST]) == (
        EtcdMember(id=f"{16295338496780830936:x}", name="a", peer_ip="10.0.0.1"),
        EtcdMember(id="5", name="", peer_ip="10.0.0.2", learner=True),
    )
    answers = '[{"endpoint":"https://10.0.0.1:2379","health":true},{"endpoint":"https://10.0.0.2:2379","health":false}]'
    assert EtcdHealth().process([answers]) == frozenset({"10.0.0.1"})


def test_members_are_parsed() -> None:
    nodes = ["node:a machine=m1 ready=True control-plane", "node:w machine=m3 ready=False", "node:x machine="]
    state = ClusterMembers().process([f"etcd {MEMBER_LIST}", *nodes, "token:bootstrap-token-abcdef"])
    assert state.tokens == ("bootstrap-token-abcdef",)
    assert state.nodes == {
        "a": registered(machine_id="m1", control_plane=True),
        "w": registered(machine_id="m3", ready=False),
        # A kubelet that has never reported its status.
        "x": registered(machine_id="", ready=False),
    }
    assert [state.votes(node.ip) for node in (A, B, W)] == [True, False, False]


@pytest.mark.parametrize(
    "output", [[], ["etcd "], ["node:a machine=m1 ready=True"], ["etcd {}"], ['etcd {"members": []}']]
)
def test_an_answer_without_etcds_members_is_an_error(output: list[str]) -> None:
    with pytest.raises((KeyError, ValueError)):
        ClusterMembers().process(output)
    with pytest.raises((KeyError, ValueError)):
        EtcdMembers().process(output[:1])


@pytest.mark.parametrize("found", [WORKER, made_anew(WORKER)])
def test_a_ready_worker_in_the_control_plane_group_is_refused_and_not_cleaned(
    found: KubeadmNodeState,
) -> None:
    members = cluster(C, etcd=(voter(A), voter(B)))
    state = membership_state(found, node=C, control_plane=True, cluster_ca=OURS, members=members)
    assert state is NodeState.MEMBER
    assert "is a worker of the cluster and cannot become a control plane" in refusal(
        found, node=C, members=members
    )


def test_a_control_plane_without_its_etcd_data_is_refused() -> None:
    lost = dataclasses.replace(MEMBER, files=MEMBER.files - {"etcd"})
    assert "has a vote in etcd, but no etcd data in /var/lib/etcd" in refusal(
        lost, node=C, members=cluster(C)
    )


@pytest.mark.parametrize("found", [PARTIAL, WORKER])
@pytest.mark.parametrize("members", [cluster(C), without(C)])
def test_a_voter_without_its_files_is_not_called_a_worker(
    found: KubeadmNodeState, members: ClusterMembersState
) -> None:
    reason = refusal(found, node=C, members=members)
    assert reason.startswith("has a vote in etcd, but no etcd data in /var/lib/etcd")
    assert "worker" not in reason


@pytest.mark.parametrize("found", [PARTIAL, WORKER, MEMBER])
def test_a_voter_is_not_a_worker_whatever_its_files(found: KubeadmNodeState) -> None:
    members = ClusterMembersState(etcd=(*VOTERS, voter(W)), nodes=NODES | {"w": registered()})
    api_leader = ApiLeader(leader=A.host, exists=True, ca_certificate=OURS)
    *_, last = join_findings(
        TOPOLOGY, node=W, found=found, api_leader=api_leader, members=members, endpoint=ENDPOINT
    )
    assert last.found.startswith("is a control plane of the cluster and cannot become a worker")


def test_an_api_server_with_its_own_etcd_is_refused_and_not_cleaned() -> None:
    members = cluster(C, etcd=(voter(A), voter(B)))
    assert (
        membership_state(MEMBER, node=C, control_plane=True, cluster_ca=OURS, members=members)
        is NodeState.MEMBER
    )
    assert "it has its own etcd" in refusal(MEMBER, node=C, members=members)
    # Its init stopped before kubeadm labelled the node.
    members = cluster(C, etcd=(voter(A), voter(B)), found=registered())
    api_leader = ApiLeader(leader=A.host, exists=True, ca_certificate=OURS)
    (finding,) = join_findings(
        TOPOLOGY, node=C, found=MEMBER, api_leader=api_leader, members=members, endpoint=ENDPOINT
    )
    assert finding.check == "control-planes"


@pytest.mark.parametrize(
    ("server", "refused"),
    [
        ("https://api.other.internal:6443", True),
        (f"https://{ENDPOINT}:6443", False),
        (f"https://{A.ip}:6443", False),
        ("", False),
    ],
)
def test_without_a_certificate_the_api_servers_name_identifies_the_cluster(
    server: str, refused: bool
) -> None:
    found = KubeadmNodeState(files=frozenset({"kubelet.conf"}), server=server, machine_id="m")
    assert ("its kubelet belongs to the cluster at" in refusal(found, members=without(W))) is refused


def test_a_worker_with_copied_control_plane_files_is_a_worker() -> None:
    copied = dataclasses.replace(WORKER, files=WORKER.files | {"admin.conf", "pki/etcd/ca.crt"})
    assert copied.is_control_plane
    assert refusal(copied, members=cluster(W)) == ""
