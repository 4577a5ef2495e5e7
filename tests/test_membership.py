"""Who leads, who may join, and what must not be touched: decided from what was found."""

import dataclasses
import json

import pytest

from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMember, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState, NodeState
from kubeadm_deploys.findings import Severity
from kubeadm_deploys.membership import (
    Election,
    elect,
    join_refusal,
    membership_findings,
    orphan_members,
    quorum_lost,
    standing,
    unlisted_members,
    unready_members,
)
from kubeadm_deploys.nodes import Node, Topology

A, B, C, W = (
    Node(host=f"host-{name}", name=name, ip=ip, address=ip)
    for name, ip in (("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3"), ("w", "10.0.0.9"))
)
TOPOLOGY = Topology(control_planes=(A, B, C), workers=(W,))
ALL = frozenset(node.host for node in TOPOLOGY.control_planes)

ABSENT = KubeadmNodeState(machine_id="m")
HALF = KubeadmNodeState(files=frozenset({"pki/ca.key"}), ca_certificate="ours")
WORKER = KubeadmNodeState(
    files=frozenset({"kubelet.conf"}), rotating=True, ca_certificate="ours", machine_id="m"
)
MEMBER = dataclasses.replace(
    WORKER, files=frozenset({"kubelet.conf", "manifests/kube-apiserver.yaml"}), api="ok"
)
DOWN = dataclasses.replace(MEMBER, api="not ready: etcd")


def election(
    *found: KubeadmNodeState | None, able: frozenset[str] = ALL, topology: Topology = TOPOLOGY
) -> Election:
    hosts = [node.host for node in topology.control_planes]
    return elect(topology, found=dict(zip(hosts, found, strict=True)), able=able)


@pytest.mark.parametrize(
    ("found", "leader", "exists", "healthy"),
    [
        ((ABSENT, ABSENT, ABSENT), A, False, ()),
        ((HALF, ABSENT, ABSENT), A, False, ()),
        ((ABSENT, HALF, ABSENT), A, False, ()),
        ((MEMBER, ABSENT, ABSENT), A, True, (A,)),
        ((ABSENT, MEMBER, HALF), B, True, (B,)),
        ((None, MEMBER, MEMBER), B, True, (B, C)),
        ((DOWN, MEMBER, MEMBER), B, True, (B, C)),
        ((MEMBER, MEMBER, MEMBER), A, True, (A, B, C)),
    ],
)
def test_the_first_healthy_member_leads_and_on_an_empty_cluster_the_first_host(
    found: tuple[KubeadmNodeState | None, ...], leader: Node, exists: bool, healthy: tuple[Node, ...]
) -> None:
    elected = election(*found)
    assert (elected.leader, elected.exists, elected.healthy) == (leader.host, exists, healthy)
    assert elected.problem == ""
    assert elected.ca_certificate == ("ours" if exists else "")


def test_the_inventorys_order_only_decides_between_healthy_members() -> None:
    reverse = Topology(control_planes=(C, B, A), workers=())
    assert election(ABSENT, MEMBER, MEMBER, topology=reverse).leader == B.host


def test_a_host_that_failed_in_this_run_does_not_lead_while_another_can() -> None:
    assert election(MEMBER, MEMBER, MEMBER, able=ALL - {A.host}).leader == B.host
    assert election(MEMBER, ABSENT, ABSENT, able=ALL - {A.host}).leader == A.host
    assert election(ABSENT, ABSENT, ABSENT, able=ALL - {A.host}).leader == B.host


def test_no_second_cluster_is_made_while_the_first_may_be_on_a_machine_that_does_not_answer() -> None:
    elected = election(None, ABSENT, HALF)
    assert not elected.exists
    assert "a cannot be reached" in elected.problem
    assert "nothing was created" in elected.problem


def test_a_cluster_without_an_api_server_is_not_an_empty_one() -> None:
    elected = election(DOWN, None, ABSENT)
    assert elected.exists
    assert elected.problem == "no API server answers: a not ready: etcd; b cannot be reached; c has none"


def voter(node: Node) -> EtcdMember:
    return EtcdMember(id=node.name, name=node.name, peer_ip=node.ip)


@pytest.mark.parametrize(
    ("there", "lost"),
    [
        ((A, B, C), ""),
        ((A, C), ""),
        ((A,), "etcd has 3 members and needs 2 of them, but b, c cannot be reached"),
        ((W,), "etcd has 3 members and needs 2 of them, but a, b, c cannot be reached"),
    ],
)
def test_etcd_without_a_majority_is_not_waited_for(there: tuple[Node, ...], lost: str) -> None:
    learner = EtcdMember(id="w", name="w", peer_ip=W.ip, learner=True)
    said = quorum_lost(members=(voter(A), voter(B), voter(C), learner), there={node.ip for node in there})
    assert said.startswith(lost)
    assert bool(said) is bool(lost)


def test_an_etcd_that_says_nothing_may_come_back() -> None:
    assert quorum_lost(members=(), there=()) == ""


@pytest.mark.parametrize(
    ("listed", "refused"),
    [((A, B, C), ""), ((A, B), ""), ((A,), "b, c are 2 of the cluster's 3 control planes")],
)
def test_an_inventory_without_most_of_the_control_planes_is_refused(
    listed: tuple[Node, ...], refused: str
) -> None:
    topology = Topology(control_planes=listed, workers=())
    found = ClusterMembersState(etcd=(voter(A), voter(B), voter(C)))
    findings = list(membership_findings(topology, election=election(MEMBER, MEMBER, MEMBER), members=found))
    unlisted = [node.name for node in (A, B, C) if node not in listed]
    assert unlisted_members(topology, found=found) == unlisted
    if refused:
        (finding,) = findings
        assert finding.severity is Severity.DANGER and refused in finding.sentence
    else:
        assert [finding.severity for finding in findings] == [Severity.DOUBT for _ in unlisted]
        assert all(f"--data node={name} " in f"{findings[0].cure} " for name in unlisted)


def test_a_machine_that_may_have_the_cluster_is_a_danger_while_no_other_has_it() -> None:
    elected = election(None, ABSENT, HALF)
    (finding,) = membership_findings(TOPOLOGY, election=elected, members=ClusterMembersState())
    assert finding.severity is Severity.DANGER
    assert finding.words == elected.problem


def refusal(
    found: KubeadmNodeState,
    *,
    control_plane: bool = False,
    exists: bool = True,
    nodes: dict[str, RegisteredNode] | None = None,
) -> str:
    return join_refusal(
        Topology(control_planes=(A, W), workers=()) if control_plane else TOPOLOGY,
        node=W,
        found=found,
        election=Election(leader=A.host, exists=exists, ca_certificate="ours" if exists else ""),
        members=ClusterMembersState(nodes=nodes or {}),
    )


def test_machines_without_a_past_and_members_may_be_joined() -> None:
    assert refusal(ABSENT) == ""
    assert refusal(ABSENT, exists=False) == ""
    assert refusal(HALF, control_plane=True) == ""
    assert refusal(WORKER) == ""
    assert refusal(MEMBER, control_plane=True) == ""
    assert refusal(WORKER, nodes={"w": RegisteredNode(machine_id="m")}) == ""


def test_members_of_other_clusters_are_refused() -> None:
    assert "belongs to another cluster" in refusal(dataclasses.replace(WORKER, ca_certificate="other"))
    assert "belongs to another cluster" in refusal(WORKER, exists=False)


def test_data_of_another_etcd_are_refused() -> None:
    etcd = KubeadmNodeState(files=frozenset({"etcd"}), machine_id="m")
    assert "data in /var/lib/etcd" in refusal(etcd, control_plane=True)
    assert "data in /var/lib/etcd" in refusal(etcd, exists=False)


def test_a_role_does_not_change_by_itself() -> None:
    assert "is a worker of the cluster" in refusal(WORKER, control_plane=True)
    assert "is a control plane of the cluster" in refusal(MEMBER)


NOT_REGISTERED = None
REGISTERED = RegisteredNode(machine_id="m")
MARKED = RegisteredNode(machine_id="m", control_plane=True)


@pytest.mark.parametrize("registered", [NOT_REGISTERED, REGISTERED, MARKED])
@pytest.mark.parametrize("votes", [False, True])
@pytest.mark.parametrize("control_plane", [False, True])
@pytest.mark.parametrize("found", [ABSENT, HALF, WORKER, MEMBER])
def test_every_combination_of_a_machine_and_what_its_cluster_says_of_it(
    found: KubeadmNodeState, control_plane: bool, votes: bool, registered: RegisteredNode | None
) -> None:
    state = standing(
        found,
        node=W,
        control_plane=control_plane,
        cluster_ca="ours",
        members=ClusterMembersState(
            etcd=(voter(A), voter(W)) if votes else (voter(A),),
            nodes={"a": MARKED} | ({"w": registered} if registered else {}),
        ),
    )
    if found is ABSENT or found is HALF:
        assert state is {id(ABSENT): NodeState.ABSENT, id(HALF): NodeState.HALF}[id(found)]
    elif control_plane:
        assert (state is NodeState.MEMBER) is (votes and registered is MARKED)
        assert state in (NodeState.MEMBER, NodeState.HALF)
    else:
        assert state is (NodeState.HALF if registered is NOT_REGISTERED else NodeState.MEMBER)


@pytest.mark.parametrize("members", [ClusterMembersState(), ClusterMembersState(etcd=(voter(A),))])
def test_what_a_cluster_that_does_not_answer_leaves_out_means_nothing(members: ClusterMembersState) -> None:
    state = standing(MEMBER, node=W, control_plane=True, cluster_ca="ours", members=members)
    assert state is NodeState.MEMBER


def test_a_name_is_not_taken_from_another_machine() -> None:
    nodes = {"w": RegisteredNode(machine_id="other")}
    assert "node_name 'w' is in the cluster already" in refusal(ABSENT, nodes=nodes)


def test_what_broken_joins_left_in_etcd_is_found() -> None:
    never_started = EtcdMember(id="1", name="", peer_ip=B.ip)
    learner = EtcdMember(id="2", name="c", peer_ip=C.ip, learner=True)
    strange = EtcdMember(id="3", name="", peer_ip="10.9.9.9")
    members = (voter(A), never_started, learner, strange)
    assert orphan_members(members, node=B, topology=TOPOLOGY) == [never_started, learner]
    # A vote of the machine that is about to join is an orphan as well: kubeadm had not finished there.
    assert orphan_members((voter(A), voter(B)), node=B, topology=TOPOLOGY) == [voter(B)]
    assert orphan_members((voter(A), voter(B)), node=C, topology=TOPOLOGY) == []


def test_etcd_takes_a_member_only_when_all_others_vote_and_answer() -> None:
    members = (
        voter(A),
        voter(B),
        EtcdMember(id="1", name="", peer_ip=C.ip),
        EtcdMember(id="2", name="w", peer_ip=W.ip, learner=True),
    )
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
    assert EtcdMembers().process([]) == ()
    answers = '[{"endpoint":"https://10.0.0.1:2379","health":true},{"endpoint":"https://10.0.0.2:2379","health":false}]'
    assert EtcdHealth().process([answers]) == frozenset({"10.0.0.1"})


def test_members_are_known_when_etcd_and_the_api_have_answered() -> None:
    nodes = ["node:a m1 control-plane", "node:w m3 "]
    state = ClusterMembers().process([f"etcd {MEMBER_LIST}", *nodes, "token:bootstrap-token-abcdef"])
    assert state.tokens == ("bootstrap-token-abcdef",)
    assert state.nodes == {
        "a": RegisteredNode(machine_id="m1", control_plane=True),
        "w": RegisteredNode(machine_id="m3"),
    }
    assert state.known
    assert [state.votes(node.ip) for node in (A, B, W)] == [True, False, False]
    assert not ClusterMembers().process(["etcd ", *nodes]).known
    assert not ClusterMembers().process([f"etcd {MEMBER_LIST}"]).known


def test_the_api_servers_own_words_are_kept() -> None:
    state = KubeadmNode().process(["machine-id abc", "have:kubelet.conf", "api not ready: etcd-readiness"])
    assert (state.machine_id, state.api) == ("abc", "not ready: etcd-readiness")
