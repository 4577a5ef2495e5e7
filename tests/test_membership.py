"""What a machine is in its cluster, who may join it, and what etcd can do without: decided from what was read."""

import dataclasses
import itertools
import json

import pytest

from kubeadm_deploys.election import Election
from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMember, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState
from kubeadm_deploys.findings import Severity
from kubeadm_deploys.membership import join_findings, join_refusal, needs_registration, standing
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.quorum import orphan_members, unready_members
from tests.machines import (
    ABSENT,
    HALF,
    MEMBER,
    OURS,
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
    """A cluster in which everything is well, one of whose nodes is the machine that is looked at."""
    own = found or dataclasses.replace(NODES[node.name], machine_id="m")
    return ClusterMembersState(etcd=etcd, nodes={**NODES, node.name: own})


def without(node: Node, *, etcd: tuple[EtcdMember, ...] = VOTERS) -> ClusterMembersState:
    """The same cluster without the machine's Node object."""
    return ClusterMembersState(etcd=etcd, nodes={n: each for n, each in NODES.items() if n != node.name})


def what_is(
    found: KubeadmNodeState,
    *,
    node: Node = W,
    members: ClusterMembersState | None,
) -> NodeState:
    return standing(
        found, node=node, control_plane=node in TOPOLOGY.control_planes, cluster_ca=OURS, members=members
    )


def joining(found: KubeadmNodeState) -> KubeadmNodeState:
    """The same machine while its kubelet still asks for a certificate."""
    return dataclasses.replace(found, files=found.files | {"bootstrap-kubelet.conf"}, rotating=False)


def with_copies(found: KubeadmNodeState) -> KubeadmNodeState:
    """The same machine with what kubectl and a client of etcd need."""
    return dataclasses.replace(found, files=found.files | {"admin.conf", "pki/etcd/ca.crt"})


NOT_READY = registered(ready=False)


@pytest.mark.parametrize(
    ("found", "node", "members"),
    [
        (WORKER, W, cluster(W)),
        (MEMBER, C, cluster(C)),
        # kubelet.conf was made anew: on a worker, the only control plane, the third of three.
        (made_anew(WORKER), W, cluster(W)),
        (made_anew(WORKER), W, cluster(W, found=NOT_READY)),
        (made_anew(MEMBER), A, cluster(A, etcd=(voter(A),))),
        (made_anew(MEMBER), C, cluster(C)),
        # Its own API server does not answer for the moment, and neither does its kubelet.
        (dataclasses.replace(made_anew(MEMBER), api="not ready: etcd"), C, cluster(C, found=NOT_READY)),
        # etcd knows it under another of its addresses, or of its names.
        (MEMBER, C, cluster(C, etcd=(voter(A), voter(B), voter(C, ip="192.168.0.3")))),
        (MEMBER, C, cluster(C, etcd=(voter(A), voter(B), voter(C, name="c.example")))),
        # A person has deleted the Node object of a control plane: the vote counts.
        (MEMBER, C, without(C)),
        # A worker to which a person has copied files of a control plane.
        (with_copies(WORKER), W, cluster(W)),
        (with_copies(made_anew(WORKER)), W, cluster(W, found=NOT_READY)),
        # Its kubelet has its certificate and the file of the join is not yet deleted.
        (joining(WORKER), W, cluster(W)),
        # Files of a join that was killed, on a machine that etcd counts: it was not the join that made it a member.
        (HALF, C, cluster(C)),
    ],
)
def test_what_the_cluster_counts_is_a_member_whatever_its_files_look_like(
    found: KubeadmNodeState, node: Node, members: ClusterMembersState
) -> None:
    assert what_is(found, node=node, members=members) is NodeState.MEMBER


@pytest.mark.parametrize(
    ("found", "node", "members"),
    [
        # The Node object of a worker was deleted: its kubelet will not come back by itself.
        (WORKER, W, without(W)),
        (made_anew(WORKER), W, without(W)),
        (HALF, W, without(W)),
        # A join that was killed: the kubelet still asks for a certificate, and the API does not have it Ready.
        (joining(WORKER), W, cluster(W, found=NOT_READY)),
        (HALF, W, cluster(W, found=NOT_READY)),
        # etcd has added the control plane, and it does not vote.
        (dataclasses.replace(MEMBER, api=""), C, cluster(C, etcd=(voter(A), voter(B), learner(C)))),
        (dataclasses.replace(MEMBER, api="not ready: etcd"), C, cluster(C, etcd=(voter(A), voter(B)))),
        (HALF, C, cluster(C, etcd=(voter(A), voter(B), never_started(C)))),
    ],
)
def test_what_the_cluster_was_asked_about_and_does_not_count_is_half(
    found: KubeadmNodeState, node: Node, members: ClusterMembersState
) -> None:
    assert what_is(found, node=node, members=members) is NodeState.HALF


@pytest.mark.parametrize(
    ("found", "node", "state"),
    [
        (ABSENT, W, NodeState.ABSENT),
        (WORKER, W, NodeState.MEMBER),
        (MEMBER, C, NodeState.MEMBER),
        (made_anew(WORKER), W, NodeState.UNKNOWN),
        (made_anew(MEMBER), C, NodeState.UNKNOWN),
        (HALF, C, NodeState.UNKNOWN),
        (of_another_cluster(WORKER), W, NodeState.FOREIGN),
    ],
)
def test_while_the_cluster_cannot_be_asked_nothing_is_half(
    found: KubeadmNodeState, node: Node, state: NodeState
) -> None:
    assert what_is(found, node=node, members=None) is state


def test_no_machine_that_is_counted_is_ever_cleaned() -> None:
    """Over all combinations: half is what is neither Ready under its machine ID nor has a vote."""
    seen = set()
    machines = (
        HALF,
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
        state = what_is(found, node=node, members=members)
        seen.add(state)
        if votes or (node is W and ready and ready.ready):
            assert state is NodeState.MEMBER
        assert what_is(found, node=node, members=None) is not NodeState.HALF
    assert seen == {NodeState.MEMBER, NodeState.HALF}


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
    election = Election(leader=A.host, exists=exists, ca_certificate=OURS if exists else "")
    return join_refusal(
        topology, node=node, found=found, election=election, members=members, endpoint=ENDPOINT
    )


NOBODY = ClusterMembersState()


def test_machines_without_a_past_and_members_may_be_joined() -> None:
    assert refusal(ABSENT, members=without(W)) == ""
    assert refusal(ABSENT, exists=False, members=NOBODY) == ""
    assert refusal(HALF, node=C, members=without(C, etcd=(voter(A), voter(B)))) == ""
    assert refusal(WORKER, members=cluster(W)) == ""
    assert refusal(made_anew(WORKER), members=cluster(W)) == ""
    assert refusal(MEMBER, node=C, members=cluster(C)) == ""
    assert refusal(made_anew(MEMBER), node=C, members=cluster(C)) == ""
    assert refusal(HALF, node=A, exists=False, members=NOBODY) == ""


@pytest.mark.parametrize(("found", "node"), [(WORKER, W), (MEMBER, C), (HALF, W)])
def test_nodes_of_other_clusters_are_refused(found: KubeadmNodeState, node: Node) -> None:
    for members in (cluster(node), without(node), None):
        said = refusal(of_another_cluster(found), node=node, members=members)
        assert said.startswith("is a node of another cluster")
        assert "kubeadm reset" not in said


def test_a_worker_with_a_clusters_files_is_refused_where_there_is_no_cluster() -> None:
    for found in (WORKER, HALF, of_another_cluster(WORKER)):
        assert "none of the inventory's control planes has a cluster" in refusal(
            found, exists=False, members=NOBODY
        )


@pytest.mark.parametrize("copied", [(), ("admin.conf",)])
def test_a_worker_of_another_cluster_is_no_init_that_was_interrupted(copied: tuple[str, ...]) -> None:
    """Its address stands in the group control_plane, whose machines have no cluster yet."""
    worker = dataclasses.replace(WORKER, files=WORKER.files.union(copied))
    assert "none of the inventory's control planes has a cluster" in refusal(
        worker, node=A, exists=False, members=NOBODY
    )


def test_data_of_another_etcd_are_refused() -> None:
    etcd = KubeadmNodeState(files=frozenset({"etcd"}), machine_id="m")
    assert "has etcd data in /var/lib/etcd" in refusal(etcd, node=C, members=cluster(C))
    assert "has etcd data in /var/lib/etcd" in refusal(etcd, exists=False, members=NOBODY)
    assert "has etcd data in /var/lib/etcd" in refusal(etcd, members=None)


def test_a_role_does_not_change_by_itself() -> None:
    swapped = Topology(control_planes=(A, B, W), workers=(C,))
    assert "is a worker of the cluster" in refusal(
        WORKER, topology=swapped, members=cluster(W, etcd=(voter(A), voter(W)))
    )
    assert "is a control plane of the cluster" in refusal(
        MEMBER, node=C, topology=swapped, members=cluster(C)
    )


@pytest.mark.parametrize("found", [ABSENT, HALF, WORKER])
def test_a_name_is_not_taken_from_another_machine(found: KubeadmNodeState) -> None:
    said = refusal(found, members=cluster(W, found=registered(machine_id="other")))
    assert "node_name 'w' is in the cluster already, under another machine" in said


def test_a_renamed_node_is_refused_and_not_cleaned() -> None:
    renamed = dataclasses.replace(W, name="worker-1")
    topology = Topology(control_planes=(A, B, C), workers=(renamed,))
    said = refusal(WORKER, node=renamed, topology=topology, members=cluster(W))
    assert said.startswith("is node w of the cluster (same machine ID), and the inventory calls it worker-1")
    assert "set node_name to w" in said
    # A machine ID that could not be read is nobody's.
    nameless, nodes = dataclasses.replace(WORKER, machine_id=""), {"w": registered(machine_id="")}
    unknown = ClusterMembersState(etcd=VOTERS, nodes=nodes)
    assert refusal(nameless, node=renamed, topology=topology, members=unknown) == ""
    # A machine without a past that was made of the same image is told by the check of machine IDs.
    assert refusal(ABSENT, node=renamed, topology=topology, members=cluster(W)) == ""


@pytest.mark.parametrize(
    ("vote", "said"),
    [
        (
            voter(C, ip="192.168.0.3"),
            "etcd has the member c at 192.168.0.3, and the inventory has c at 10.0.0.3",
        ),
        (voter(C, name="old"), "etcd has the member old at 10.0.0.3, and the inventory has c at 10.0.0.3"),
    ],
)
@pytest.mark.parametrize("found", [ABSENT, HALF, MEMBER])
def test_a_vote_under_another_name_or_address_is_refused(
    vote: EtcdMember, said: str, found: KubeadmNodeState
) -> None:
    members = cluster(C, etcd=(voter(A), voter(B), vote))
    election = Election(leader=A.host, exists=True, ca_certificate=OURS)
    first, *_ = join_findings(
        TOPOLOGY, node=C, found=found, election=election, members=members, endpoint=ENDPOINT
    )
    assert (first.check, first.severity) == ("node-name", Severity.DANGER)
    assert first.found.startswith(said)


@pytest.mark.parametrize(
    ("members", "node", "has_data", "orphans"),
    [
        # Members without a vote, of this machine and of others.
        ((voter(A), never_started(B), learner(C)), B, False, (never_started(B), learner(C))),
        ((voter(A), never_started(B), learner(C)), B, True, (never_started(B), learner(C))),
        # Not those of machines that nobody here knows.
        ((voter(A), EtcdMember(id="x", name="", peer_ip="10.9.9.9")), B, False, ()),
        # A vote of this machine only when its data are gone: the machine was replaced.
        ((voter(A), voter(B)), B, False, (voter(B),)),
        ((voter(A), voter(B)), B, True, ()),
        ((voter(A), voter(B)), C, False, ()),
    ],
)
def test_what_broken_joins_left_in_etcd_is_found_and_no_vote_with_data(
    members: tuple[EtcdMember, ...], node: Node, has_data: bool, orphans: tuple[EtcdMember, ...]
) -> None:
    assert orphan_members(members, node=node, topology=TOPOLOGY, has_data=has_data) == list(orphans)


def test_etcd_takes_a_member_only_when_all_others_vote_and_answer() -> None:
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


def test_etcdctls_answers_are_read() -> None:
    assert EtcdMembers().process([MEMBER_LIST]) == (
        EtcdMember(id=f"{16295338496780830936:x}", name="a", peer_ip="10.0.0.1"),
        EtcdMember(id="5", name="", peer_ip="10.0.0.2", learner=True),
    )
    answers = '[{"endpoint":"https://10.0.0.1:2379","health":true},{"endpoint":"https://10.0.0.2:2379","health":false}]'
    assert EtcdHealth().process([answers]) == frozenset({"10.0.0.1"})


def test_members_are_read() -> None:
    nodes = ["node:a machine=m1 ready=True control-plane", "node:w machine=m3 ready=False", "node:x machine="]
    state = ClusterMembers().process([f"etcd {MEMBER_LIST}", *nodes, "token:bootstrap-token-abcdef"])
    assert state.tokens == ("bootstrap-token-abcdef",)
    assert state.nodes == {
        "a": registered(machine_id="m1", control_plane=True),
        "w": registered(machine_id="m3", ready=False),
        # A kubelet that has never said how it is.
        "x": registered(machine_id="", ready=False),
    }
    assert [state.votes(node.ip) for node in (A, B, W)] == [True, False, False]


@pytest.mark.parametrize("output", [[], ["etcd "], ["node:a machine=m1 ready=True"], ["etcd {}"]])
def test_an_answer_without_etcds_members_is_an_error_and_not_no_member(output: list[str]) -> None:
    with pytest.raises((KeyError, ValueError)):
        ClusterMembers().process(output)
    with pytest.raises((KeyError, ValueError)):
        EtcdMembers().process(output[:1])


@pytest.mark.parametrize("found", [WORKER, made_anew(WORKER)])
def test_a_ready_worker_that_was_moved_to_the_control_planes_is_refused_and_not_cleaned(
    found: KubeadmNodeState,
) -> None:
    members = cluster(C, etcd=(voter(A), voter(B)))
    state = standing(found, node=C, control_plane=True, cluster_ca=OURS, members=members)
    assert state is NodeState.MEMBER
    assert "is a worker of the cluster and cannot become a control plane" in refusal(
        found, node=C, members=members
    )


def test_a_control_plane_that_has_lost_its_etcd_data_is_named() -> None:
    lost = dataclasses.replace(MEMBER, files=MEMBER.files - {"etcd"})
    assert "has a vote in etcd, and no data of it in /var/lib/etcd" in refusal(
        lost, node=C, members=cluster(C)
    )


def test_an_api_server_with_an_etcd_of_its_own_is_named_and_not_cleaned() -> None:
    members = cluster(C, etcd=(voter(A), voter(B)))
    assert standing(MEMBER, node=C, control_plane=True, cluster_ca=OURS, members=members) is NodeState.MEMBER
    assert "it has an etcd of its own" in refusal(MEMBER, node=C, members=members)


@pytest.mark.parametrize(
    ("server", "refused"),
    [
        ("https://api.other.internal:6443", True),
        (f"https://{ENDPOINT}:6443", False),
        (f"https://{A.ip}:6443", False),
        ("", False),
    ],
)
def test_without_a_certificate_the_api_server_says_whose_a_machine_is(server: str, refused: bool) -> None:
    found = KubeadmNodeState(files=frozenset({"kubelet.conf"}), server=server, machine_id="m")
    assert ("its kubelet belongs to the cluster at" in refusal(found, members=without(W))) is refused


def test_a_worker_to_which_files_of_a_control_plane_were_copied_is_a_worker() -> None:
    copied = dataclasses.replace(WORKER, files=WORKER.files | {"admin.conf", "pki/etcd/ca.crt"})
    assert copied.is_control_plane
    assert refusal(copied, members=cluster(W)) == ""
