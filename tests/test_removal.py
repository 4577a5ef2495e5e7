"""Which nodes may leave: decided from etcd's members and their health."""

import pytest
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations.removal import has_left, refusals
from kubeadm_deploys.quorum import quorum_refusal, removal_order
from kubeadm_deploys.removal import address_of, choose, etcd_members_of, is_machine_of, machine_refusal
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


def voters(*nodes: Node) -> tuple[EtcdMember, ...]:
    return tuple(voter(node) for node in nodes)


def addresses(*nodes: Node) -> frozenset[str]:
    return frozenset(node.ip for node in nodes)


@pytest.mark.parametrize(
    ("members", "healthy", "name", "refused"),
    [
        ((A, B, C), (A, B, C), "a", ""),
        ((A, B, C), (A, B), "c", ""),
        (
            (A, B, C),
            (A, B),
            "b",
            "cannot go: etcd would have 2 members and need 2 of them, and c does not answer",
        ),
        ((A, B), (A, B), "a", ""),
        ((A, B), (A,), "b", ""),
        ((A,), (A,), "a", "is the last control plane"),
        ((A, B, C), (A, B), "w", ""),
        ((A,), (A,), "gone", ""),
    ],
)
def test_etcd_keeps_a_majority(
    members: tuple[Node, ...], healthy: tuple[Node, ...], name: str, refused: str
) -> None:
    refusal = quorum_refusal(voters(*members), name=name, healthy=addresses(*healthy))
    assert refusal.startswith(refused)
    assert bool(refusal) is bool(refused)


def test_a_learner_may_always_go() -> None:
    assert quorum_refusal((*voters(A), learner(B)), name="b", healthy=addresses(A)) == ""


def test_a_member_is_found_by_its_address_too_when_the_majority_is_counted() -> None:
    members = (voter(A), voter(B, name="other-name"), voter(C))
    assert quorum_refusal(members, name="b", healthy=addresses(A, B)) == ""
    refusal = quorum_refusal(members, name="b", ip=B.ip, healthy=addresses(A, B))
    assert "c does not answer" in refusal


def test_an_etcd_of_which_nothing_was_read_is_no_majority() -> None:
    assert quorum_refusal(voters(A, B, C), name="c", healthy=frozenset()) != ""


MEMBERS = ClusterMembersState(
    etcd=voters(A, Node(host="", name="lost", ip="10.0.0.7", address="")),
    nodes={"stranger": RegisteredNode(machine_id="m")},
)


@pytest.mark.parametrize(
    ("name", "limited_to", "chosen"),
    [
        ("w", [], ("w", W)),
        ("", ["host-b"], ("b", B)),
        ("w", ["host-b"], ("w", W)),
        ("w", ["host-a", "host-b"], ("w", W)),
    ],
)
def test_a_node_is_chosen_by_name_or_by_the_limit(
    name: str, limited_to: list[str], chosen: tuple[str, Node]
) -> None:
    assert choose(TOPOLOGY, name=name, limited_to=limited_to, members=MEMBERS) == chosen


@pytest.mark.parametrize("name", ["lost", "stranger"])
def test_a_node_that_is_not_in_the_inventory_any_more_may_be_named(name: str) -> None:
    assert choose(TOPOLOGY, name=name, limited_to=[], members=MEMBERS) == (name, None)


@pytest.mark.parametrize("name", ["", "typo"])
def test_a_name_that_nobody_has_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(InputError, match="add --data node=NAME with one of a, b, c, w, stranger, lost"):
        choose(TOPOLOGY, name=name, limited_to=[], members=MEMBERS)


def test_a_limit_to_several_hosts_names_none_of_them() -> None:
    with pytest.raises(InputError, match=r"names 2 hosts \(host-b, host-w\).*add --data node=NAME"):
        choose(TOPOLOGY, name="", limited_to=["host-b", "host-w"], members=MEMBERS)


def test_the_address_of_a_lost_control_plane_is_etcds() -> None:
    assert address_of("b", node=B, etcd=MEMBERS.etcd) == B.ip
    assert address_of("lost", node=None, etcd=MEMBERS.etcd) == "10.0.0.7"
    assert address_of("stranger", node=None, etcd=MEMBERS.etcd) == ""


def test_a_new_machine_under_a_lost_ones_name_is_not_taken_for_it() -> None:
    new = KubeadmNodeState(machine_id="new")
    assert not is_machine_of(RegisteredNode(machine_id="lost"), found=new)
    assert is_machine_of(RegisteredNode(machine_id="new"), found=new)
    assert is_machine_of(None, found=new)


def refusal(found: KubeadmNodeState, *, node: RegisteredNode | None, **others: RegisteredNode) -> str:
    nodes = {**others, **({W.name: node} if node else {})}
    return machine_refusal(
        found,
        node=W,
        topology=TOPOLOGY,
        members=ClusterMembersState(nodes=nodes),
        cluster_ca=OURS,
        endpoint="api.kubernetes.internal",
    )


def test_a_machine_of_this_cluster_may_be_cleaned_when_its_node_was_named() -> None:
    for found in (ABSENT, HALF, WORKER, made_anew(WORKER), MEMBER):
        assert refusal(found, node=registered()) == ""
        # What an earlier run has deleted.
        assert refusal(found, node=None) == ""


@pytest.mark.parametrize("node", [registered(), None])
@pytest.mark.parametrize("found", [HALF, WORKER, MEMBER])
def test_a_machine_of_another_cluster_is_not_cleaned_by_any_name(
    found: KubeadmNodeState, node: RegisteredNode | None
) -> None:
    assert refusal(of_another_cluster(found), node=node).startswith("is a node of another cluster")


@pytest.mark.parametrize("node", [registered(), None])
def test_data_of_another_etcd_are_not_cleaned_by_any_name(node: RegisteredNode | None) -> None:
    etcd = KubeadmNodeState(files=frozenset({"etcd"}), machine_id="m")
    assert refusal(etcd, node=node).startswith("has etcd data in /var/lib/etcd")


def test_without_a_node_object_only_the_ca_shows_that_a_machine_was_of_this_cluster() -> None:
    unknown = KubeadmNodeState(files=frozenset({"kubelet.conf"}), machine_id="m")
    assert "nothing shows that it was of this cluster" in refusal(unknown, node=None)
    assert refusal(unknown, node=registered()) == ""


@pytest.mark.parametrize("node", [registered(), None])
def test_a_machine_whose_kubelet_has_another_api_server_is_not_cleaned(node: RegisteredNode | None) -> None:
    """A clone of ours, with its machine ID, in another cluster."""
    other = KubeadmNodeState(
        files=frozenset({"kubelet.conf"}), server="https://api.production.internal:6443", machine_id="m"
    )
    assert refusal(other, node=node).startswith(
        "its kubelet belongs to the cluster at https://api.production"
    )


def test_a_node_is_all_members_of_its_name_and_of_its_address() -> None:
    etcd = (voter(A), voter(B), voter(C, ip="192.168.0.3"), never_started(W))
    assert etcd_members_of("b", node=B, etcd=etcd) == (voter(B),)
    assert etcd_members_of("c", node=C, etcd=etcd) == (voter(C, ip="192.168.0.3"),)
    assert etcd_members_of("c", node=None, etcd=etcd) == (voter(C, ip="192.168.0.3"),)
    assert etcd_members_of("w", node=W, etcd=etcd) == (never_started(W),)
    assert etcd_members_of("x", node=None, etcd=etcd) == ()
    both = (voter(A), voter(C, ip="192.168.0.3"), never_started(C))
    assert etcd_members_of("c", node=C, etcd=both) == both[1:]


def test_of_two_members_of_a_node_the_dead_one_goes_first() -> None:
    """Without the live one, a and the dead one would have no majority, and the dead one could not be taken out."""
    live, dead = voter(C), voter(C, ip="192.168.0.3")
    assert quorum_refusal((voter(A), live, dead), name="c", healthy=addresses(A, C)) == ""
    assert removal_order((live, dead), healthy=addresses(A, C)) == [dead, live]
    assert removal_order((dead, never_started(C)), healthy=addresses(A)) == [never_started(C), dead]


def test_another_member_at_the_nodes_address_is_not_taken_out_for_it() -> None:
    etcd = (voter(A), voter(B, name="renamed"))
    with pytest.raises(
        DeployError, match=r"b: etcd has the member renamed at its address 10\.0\.0\.2; no changes"
    ):
        etcd_members_of("b", node=B, etcd=etcd)
    assert etcd_members_of("renamed", node=None, etcd=etcd) == (voter(B, name="renamed"),)


def test_a_node_has_left_when_neither_the_api_nor_etcd_knows_it() -> None:
    assert has_left(ClusterMembersState(etcd=voters(A, B)), node="c", ip=C.ip)
    for members in (
        ClusterMembersState(nodes={"c": registered()}),
        ClusterMembersState(etcd=voters(A, C)),
        ClusterMembersState(etcd=(voter(C, ip="192.168.0.3"),)),
        ClusterMembersState(etcd=(never_started(C),)),
    ):
        assert not has_left(members, node="c", ip=C.ip)


def test_what_drain_repeats_is_said_once() -> None:
    blocked = 'error when evicting pods/"web-1" -n "shop" (will retry after 5s): Cannot evict pod as it would violate'
    stderr = (
        f"Warning: ignoring DaemonSet-managed Pods: x\n{blocked} it\n{blocked} it\nerror: unable to drain\n"
    )
    assert refusals(stderr) == [
        'error when evicting pods/"web-1" -n "shop": Cannot evict pod as it would violate it',
        "error: unable to drain",
    ]


def test_a_topology_without_a_node_keeps_the_others() -> None:
    assert TOPOLOGY.without("b") == Topology(control_planes=(A, C), workers=(W,))
    assert TOPOLOGY.without("w") == Topology(control_planes=(A, B, C), workers=())


def test_another_node_at_the_address_of_the_one_that_was_named_is_not_cleaned() -> None:
    said = refusal(MEMBER, node=None, a=registered())
    assert said == "is node a of the cluster (same machine ID), and not w; correct its address"
    # Clones share a machine ID; this one is registered under its own name.
    assert refusal(WORKER, node=registered(), a=registered()) == ""
