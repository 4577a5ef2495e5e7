"""Deciding which nodes may be removed, from etcd's members and their health and from what is on machines."""

import pytest
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.draining import refusals
from kubeadm_deploys.cluster.quorum import quorum_refusal, removal_order
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.lifecycle.removal import (
    address_of,
    choose,
    etcd_members_of,
    is_machine_of,
    machine_refusal,
)
from kubeadm_deploys.lifecycle.removal_steps import has_left
from kubeadm_deploys.model.errors import InputError
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
            "cannot be removed: etcd would have 2 members and need 2 of them, but c does not answer",
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


def test_a_learner_may_always_be_removed() -> None:
    assert quorum_refusal((*voters(A), learner(B)), name="b", healthy=addresses(A)) == ""


def test_a_member_is_also_found_by_its_address() -> None:
    members = (voter(A), voter(B, name="other-name"), voter(C))
    assert quorum_refusal(members, name="b", healthy=addresses(A, B)) == ""
    refusal = quorum_refusal(members, name="b", ip=B.ip, healthy=addresses(A, B))
    assert "c does not answer" in refusal


def test_without_healthy_members_there_is_no_majority() -> None:
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
def test_a_node_outside_the_inventory_may_be_named(name: str) -> None:
    assert choose(TOPOLOGY, name=name, limited_to=[], members=MEMBERS) == (name, None)


@pytest.mark.parametrize("name", ["", "typo"])
def test_an_unknown_name_is_refused_with_the_known_names(name: str) -> None:
    with pytest.raises(InputError, match="add --data node=NAME with one of a, b, c, w, stranger, lost"):
        choose(TOPOLOGY, name=name, limited_to=[], members=MEMBERS)


def test_a_limit_to_several_hosts_needs_a_name() -> None:
    with pytest.raises(InputError, match=r"names 2 hosts \(host-b, host-w\).*add --data node=NAME"):
        choose(TOPOLOGY, name="", limited_to=["host-b", "host-w"], members=MEMBERS)


def test_the_address_of_a_lost_control_plane_comes_from_etcd() -> None:
    assert address_of("b", node=B, etcd=MEMBERS.etcd) == B.ip
    assert address_of("lost", node=None, etcd=MEMBERS.etcd) == "10.0.0.7"
    assert address_of("stranger", node=None, etcd=MEMBERS.etcd) == ""


def test_a_new_machine_with_a_lost_ones_name_is_not_the_lost_one() -> None:
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
    for found in (ABSENT, PARTIAL, WORKER, made_anew(WORKER), MEMBER):
        assert refusal(found, node=registered()) == ""
        # An earlier run has deleted the Node object.
        assert refusal(found, node=None) == ""


@pytest.mark.parametrize("node", [registered(), None])
@pytest.mark.parametrize("found", [PARTIAL, WORKER, MEMBER])
def test_a_machine_of_another_cluster_is_never_cleaned(
    found: KubeadmNodeState, node: RegisteredNode | None
) -> None:
    assert refusal(of_another_cluster(found), node=node).startswith("is a node of another cluster")


@pytest.mark.parametrize("node", [registered(), None])
def test_data_of_another_etcd_is_never_cleaned(node: RegisteredNode | None) -> None:
    etcd = KubeadmNodeState(files=frozenset({"etcd"}), machine_id="m")
    assert refusal(etcd, node=node).startswith("has etcd data in /var/lib/etcd")


def test_without_a_node_object_and_a_ca_certificate_a_machine_is_not_cleaned() -> None:
    unknown = KubeadmNodeState(files=frozenset({"kubelet.conf"}), machine_id="m")
    assert "not known whether it belonged to this cluster" in refusal(unknown, node=None)
    assert refusal(unknown, node=registered()) == ""


@pytest.mark.parametrize("node", [registered(), None])
def test_a_machine_whose_kubelet_has_another_api_server_is_not_cleaned(node: RegisteredNode | None) -> None:
    """A clone of this cluster's machine, with its machine ID, in another cluster."""
    other = KubeadmNodeState(
        files=frozenset({"kubelet.conf"}), server="https://api.production.internal:6443", machine_id="m"
    )
    assert refusal(other, node=node).startswith(
        "its kubelet belongs to the cluster at https://api.production"
    )


def test_a_nodes_members_are_found_by_name_and_by_address() -> None:
    etcd = (voter(A), voter(B), voter(C, ip="192.168.0.3"), never_started(W))
    assert etcd_members_of("b", node=B, etcd=etcd) == (voter(B),)
    assert etcd_members_of("c", node=C, etcd=etcd) == (voter(C, ip="192.168.0.3"),)
    assert etcd_members_of("c", node=None, etcd=etcd) == (voter(C, ip="192.168.0.3"),)
    assert etcd_members_of("w", node=W, etcd=etcd) == (never_started(W),)
    assert etcd_members_of("x", node=None, etcd=etcd) == ()
    both = (voter(A), voter(C, ip="192.168.0.3"), never_started(C))
    assert etcd_members_of("c", node=C, etcd=both) == both[1:]


def test_a_nodes_dead_member_is_removed_first() -> None:
    """Without the live member, a alone would have no majority to remove the dead one."""
    live, dead = voter(C), voter(C, ip="192.168.0.3")
    assert quorum_refusal((voter(A), live, dead), name="c", healthy=addresses(A, C)) == ""
    assert removal_order((live, dead), healthy=addresses(A, C)) == [dead, live]
    assert removal_order((dead, never_started(C)), healthy=addresses(A)) == [never_started(C), dead]


def test_a_member_of_another_name_at_the_nodes_address_is_refused() -> None:
    etcd = (voter(A), voter(B, name="renamed"))
    with pytest.raises(
        DeployError, match=r"b: etcd has the member renamed at its address 10\.0\.0\.2; no changes"
    ):
        etcd_members_of("b", node=B, etcd=etcd)
    assert etcd_members_of("renamed", node=None, etcd=etcd) == (voter(B, name="renamed"),)


def test_a_node_has_left_if_neither_the_api_nor_etcd_has_it() -> None:
    assert has_left(ClusterMembersState(etcd=voters(A, B)), node="c", ip=C.ip)
    for members in (
        ClusterMembersState(nodes={"c": registered()}),
        ClusterMembersState(etcd=voters(A, C)),
        ClusterMembersState(etcd=(voter(C, ip="192.168.0.3"),)),
        ClusterMembersState(etcd=(never_started(C),)),
    ):
        assert not has_left(members, node="c", ip=C.ip)


def test_repeated_lines_of_drain_are_printed_once() -> None:
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


def test_another_node_at_the_named_nodes_address_is_not_cleaned() -> None:
    reason = refusal(MEMBER, node=None, a=registered())
    assert reason.startswith("is node a of the cluster (same machine ID), not w;")
    # Clones share a machine ID; this one is registered under its own name.
    assert refusal(WORKER, node=registered(), a=registered()) == ""
