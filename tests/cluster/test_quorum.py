"""Which members of etcd are orphans, which may be removed, and when etcd gets another one."""

import pytest

from kubeadm_deploys.cluster.quorum import orphan_members, orphan_refusal, unready_members
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.model.nodes import Node
from tests.support.machines import TOPOLOGY, A, B, C, W, learner, never_started, voter


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
