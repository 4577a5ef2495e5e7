"""Which nodes may leave: decided from etcd's members and their health."""

import pytest

from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations.removal import refusals
from kubeadm_deploys.removal import address_of, choose, is_machine_of, quorum_refusal

A, B, C, W = (
    Node(host=f"host-{name}", name=name, ip=ip, address=ip)
    for name, ip in (("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3"), ("w", "10.0.0.9"))
)
TOPOLOGY = Topology(control_planes=(A, B, C), workers=(W,))


def voters(*nodes: Node) -> tuple[EtcdMember, ...]:
    return tuple(EtcdMember(id=node.name, name=node.name, peer_ip=node.ip) for node in nodes)


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
    learner = EtcdMember(id="1", name="b", peer_ip=B.ip, learner=True)
    assert quorum_refusal((*voters(A), learner), name="b", healthy=addresses(A)) == ""


MEMBERS = ClusterMembersState(
    etcd=voters(A, Node(host="", name="lost", ip="10.0.0.7", address="")),
    nodes={"stranger": RegisteredNode(machine_id="m")},
)


def test_a_node_is_chosen_by_name_or_by_the_limit() -> None:
    assert choose(TOPOLOGY, name="w", only_host="", members=MEMBERS) == ("w", W)
    assert choose(TOPOLOGY, name="", only_host="host-b", members=MEMBERS) == ("b", B)
    assert choose(TOPOLOGY, name="w", only_host="host-b", members=MEMBERS) == ("w", W)


@pytest.mark.parametrize("name", ["lost", "stranger"])
def test_a_node_that_is_not_in_the_inventory_any_more_may_be_named(name: str) -> None:
    assert choose(TOPOLOGY, name=name, only_host="", members=MEMBERS) == (name, None)


@pytest.mark.parametrize("name", ["", "typo"])
def test_a_name_that_nobody_has_is_refused_with_those_that_are_known(name: str) -> None:
    with pytest.raises(InputError, match="add --data node=NAME with one of a, b, c, w, stranger, lost"):
        choose(TOPOLOGY, name=name, only_host="", members=MEMBERS)


def test_the_address_of_a_lost_control_plane_is_etcds() -> None:
    assert address_of("b", node=B, members=MEMBERS) == B.ip
    assert address_of("lost", node=None, members=MEMBERS) == "10.0.0.7"
    assert address_of("stranger", node=None, members=MEMBERS) == ""


def test_a_new_machine_under_a_lost_ones_name_is_not_taken_for_it() -> None:
    new = KubeadmNodeState(machine_id="new")
    assert not is_machine_of(RegisteredNode(machine_id="lost"), found=new)
    assert is_machine_of(RegisteredNode(machine_id="new"), found=new)
    assert is_machine_of(None, found=new)


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
