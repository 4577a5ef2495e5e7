"""Choosing the leader from what was read: whether a cluster exists, and why it cannot be used."""

import dataclasses

import pytest

from kubeadm_deploys.cluster.api_leader import ApiLeader, choose_leader, fingerprint
from kubeadm_deploys.cluster.quorum import quorum_lost
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote.reading import NotRead
from tests.support.machines import (
    ABSENT,
    DOWN,
    MEMBER,
    OTHERS,
    OURS,
    PARTIAL,
    STATIC_PODS,
    TOPOLOGY,
    A,
    B,
    C,
    W,
    learner,
    made_anew,
    not_read,
    of_another_cluster,
    voter,
)

ALL = frozenset(node.host for node in TOPOLOGY.control_planes)

Found = KubeadmNodeState | NotRead


def api_leader(
    *found: Found,
    able: frozenset[str] = ALL,
    topology: Topology = TOPOLOGY,
    before: ApiLeader | None = None,
) -> ApiLeader:
    hosts = [node.host for node in topology.control_planes]
    return choose_leader(topology, found=dict(zip(hosts, found, strict=True)), able=able, before=before)


@pytest.mark.parametrize(
    ("found", "leader", "exists", "healthy"),
    [
        ((ABSENT, ABSENT, ABSENT), A, False, ()),
        ((PARTIAL, ABSENT, ABSENT), A, False, ()),
        ((ABSENT, PARTIAL, ABSENT), A, False, ()),
        ((MEMBER, ABSENT, ABSENT), A, True, (A,)),
        ((ABSENT, MEMBER, PARTIAL), B, True, (B,)),
        ((not_read(A), MEMBER, MEMBER), B, True, (B, C)),
        ((not_read(A, reached=True), ABSENT, MEMBER), C, True, (C,)),
        ((DOWN, MEMBER, MEMBER), B, True, (B, C)),
        ((MEMBER, MEMBER, MEMBER), A, True, (A, B, C)),
        ((made_anew(MEMBER), ABSENT, ABSENT), A, True, (A,)),
    ],
)
def test_the_first_healthy_member_leads_and_without_a_cluster_the_first_host(
    found: tuple[Found, ...], leader: Node, exists: bool, healthy: tuple[Node, ...]
) -> None:
    chosen = api_leader(*found)
    assert (chosen.leader, chosen.exists, chosen.healthy) == (leader.host, exists, healthy)
    assert chosen.problem == ""
    assert chosen.ca_certificate == (OURS if exists else "")
    assert chosen.cluster_name == ("kubernetes" if exists else "")


def test_inventory_order_decides_only_between_healthy_members() -> None:
    reverse = Topology(control_planes=(C, B, A), workers=())
    assert api_leader(ABSENT, MEMBER, MEMBER, topology=reverse).leader == B.host


def test_a_failed_host_leads_only_if_no_other_can() -> None:
    assert api_leader(MEMBER, MEMBER, MEMBER, able=ALL - {A.host}).leader == B.host
    assert api_leader(MEMBER, ABSENT, ABSENT, able=ALL - {A.host}).leader == A.host
    assert api_leader(ABSENT, ABSENT, ABSENT, able=ALL - {A.host}).leader == B.host


def test_an_init_that_stored_nothing_is_repeated_on_the_same_host() -> None:
    began = KubeadmNodeState(
        files=frozenset({"admin.conf", "pki/ca.key", "pki/etcd/ca.crt"}), ca_certificate=OURS
    )
    chosen = api_leader(ABSENT, began, ABSENT)
    assert (chosen.leader, chosen.exists, chosen.problem) == (B.host, False, "")


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (not_read(A), "a cannot be reached"),
        (not_read(A, reached=True), "a could not be read (sh: 1: Cannot fork)"),
    ],
)
@pytest.mark.parametrize("others", [(ABSENT, ABSENT), (ABSENT, PARTIAL)])
def test_an_unread_machine_is_not_taken_for_an_empty_one(
    found: NotRead, problem: str, others: tuple[Found, Found]
) -> None:
    chosen = api_leader(found, *others)
    assert not chosen.exists
    assert f"but {problem}, and may have one; no cluster was created" in chosen.problem


def test_a_cluster_without_an_api_server_still_exists() -> None:
    chosen = api_leader(DOWN, not_read(B), ABSENT)
    assert chosen.exists
    assert chosen.problem == (
        "no API server answers: a not ready: etcd; b cannot be reached; c has none; "
        "find out why with 'journalctl --unit kubelet' and 'crictl ps --all' there, then run again"
    )


DATA = KubeadmNodeState(files=frozenset({"etcd", "pki/etcd/ca.crt", "pki/ca.key"}), ca_certificate=OURS)
"""A control plane without any manifests."""


@pytest.mark.parametrize("missing", ["etcd", "kube-apiserver"])
@pytest.mark.parametrize("has_backup", [False, True])
def test_a_control_plane_without_a_manifest_still_has_the_cluster(missing: str, has_backup: bool) -> None:
    """A kubeadm upgrade that was killed between its two renames leaves this."""
    found = dataclasses.replace(
        MEMBER,
        files=MEMBER.files - {f"manifests/{missing}.yaml"},
        backups={missing: "/etc/kubernetes/tmp/x"} if has_backup else {},
        api="" if missing == "kube-apiserver" else "not ready: etcd",
    )
    chosen = api_leader(found, ABSENT, ABSENT)
    assert (chosen.leader, chosen.exists, chosen.healthy) == (A.host, True, ())
    assert f"a lacks the manifest of {missing}" in chosen.problem


def test_etcd_data_and_kubeadms_certificates_are_a_cluster() -> None:
    assert not DATA.files & STATIC_PODS
    chosen = api_leader(DATA, ABSENT, ABSENT)
    assert (chosen.leader, chosen.exists, chosen.healthy) == (A.host, True, ())
    assert chosen.problem


BEFORE = api_leader(MEMBER, ABSENT, ABSENT)


@pytest.mark.parametrize(
    "now",
    [
        (not_read(A), ABSENT, ABSENT),
        (not_read(A, reached=True), ABSENT, ABSENT),
        (ABSENT, ABSENT, ABSENT),
        (PARTIAL, ABSENT, ABSENT),
        (not_read(A), not_read(B), not_read(C)),
    ],
)
def test_a_cluster_that_existed_before_still_exists(now: tuple[Found, ...]) -> None:
    chosen = api_leader(*now, before=BEFORE)
    assert chosen.exists
    assert (chosen.leader, chosen.healthy, chosen.ca_certificate) == (A.host, (), OURS)
    assert "the cluster that existed when this run began can no longer be found" in chosen.problem


def test_a_later_reading_of_the_same_cluster_counts() -> None:
    assert api_leader(DOWN, ABSENT, ABSENT, before=BEFORE).problem.startswith("no API server answers")
    chosen = api_leader(not_read(A), MEMBER, ABSENT, before=BEFORE)
    assert (chosen.leader, chosen.healthy, chosen.problem) == (B.host, (B,), "")


def test_a_cluster_that_replaced_the_earlier_one_is_not_used() -> None:
    chosen = api_leader(of_another_cluster(MEMBER), ABSENT, ABSENT, before=BEFORE)
    assert (chosen.exists, chosen.healthy, chosen.ca_certificate) == (True, (), OURS)
    assert chosen.problem == (
        "a has a different CA certificate than when this run began "
        f"({fingerprint(OTHERS)} instead of {fingerprint(OURS)}); run again"
    )


def test_a_cluster_may_appear_where_none_existed() -> None:
    nothing = api_leader(ABSENT, ABSENT, ABSENT)
    assert api_leader(MEMBER, ABSENT, ABSENT, before=nothing) == BEFORE


@pytest.mark.parametrize("second", [MEMBER, DOWN])
def test_control_planes_of_two_clusters_are_refused(second: KubeadmNodeState) -> None:
    chosen = api_leader(MEMBER, of_another_cluster(second), ABSENT)
    assert chosen.exists
    for words in (
        "belong to 2 different clusters",
        f"a (CA {fingerprint(OURS)})",
        f"b (CA {fingerprint(OTHERS)})",
        "no changes were made",
    ):
        assert words in chosen.problem


@pytest.mark.parametrize("others", [(ABSENT, ABSENT), (MEMBER, ABSENT)])
def test_a_control_plane_without_a_ca_certificate_is_refused(
    others: tuple[KubeadmNodeState, KubeadmNodeState],
) -> None:
    without = dataclasses.replace(MEMBER, ca_certificate="")
    chosen = api_leader(without, *others)
    assert chosen.exists
    assert chosen.problem.startswith("a has no CA certificate in /etc/kubernetes/pki/ca.crt")


def test_a_trailing_newline_does_not_change_a_certificate() -> None:
    with_newline = dataclasses.replace(MEMBER, ca_certificate=f"{OURS}\n")
    assert api_leader(MEMBER, with_newline, ABSENT).problem == ""
    assert api_leader(with_newline, ABSENT, ABSENT, before=BEFORE).problem == ""
    assert fingerprint(OURS) == fingerprint(f"{OURS}\n")
    assert fingerprint(OURS) != fingerprint(OTHERS)
    assert fingerprint("") == "none"


@pytest.mark.parametrize(
    ("reachable", "lost"),
    [
        ((A, B, C), ""),
        ((A, C), ""),
        ((A,), "etcd has 3 members and needs 2 of them, but b, c cannot be reached"),
        ((W,), "etcd has 3 members and needs 2 of them, but a, b, c cannot be reached"),
    ],
)
def test_unreachable_members_lose_the_quorum(reachable: tuple[Node, ...], lost: str) -> None:
    members = (voter(A), voter(B), voter(C), learner(W))
    reached = {node.ip for node in reachable}
    assert quorum_lost(members=members, reached=reached, with_data=reached) == lost


@pytest.mark.parametrize(
    ("reachable", "empty", "lost"),
    [
        ((A, B, C), (B,), ""),
        ((A, B, C), (B, C), "etcd has 3 members and needs 2 of them, but b, c have no etcd data"),
        (
            (A, B),
            (B,),
            "etcd has 3 members and needs 2 of them, but c cannot be reached and b has no etcd data",
        ),
    ],
)
def test_members_without_data_lose_the_quorum(
    reachable: tuple[Node, ...], empty: tuple[Node, ...], lost: str
) -> None:
    # An interrupted reset, or a disk that is not mounted, leaves control planes like this.
    members = (voter(A), voter(B), voter(C))
    reached = {node.ip for node in reachable}
    with_data = reached - {node.ip for node in empty}
    assert quorum_lost(members=members, reached=reached, with_data=with_data) == lost


def test_without_known_members_no_quorum_is_lost() -> None:
    assert quorum_lost(members=(), reached=(), with_data=()) == ""


def test_a_restored_control_plane_whose_api_restarts_is_told_from_the_old_ones() -> None:
    old = dataclasses.replace(MEMBER, etcd_cluster="1")
    restored = dataclasses.replace(DOWN, etcd_cluster="2")
    assert "serve 2 different etcd clusters" in api_leader(old, old, restored).problem
    assert api_leader(old, old, dataclasses.replace(restored, etcd_cluster="")).problem == ""
