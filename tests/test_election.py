"""Which control plane leads, whether there is a cluster, and why it cannot be used: decided from what was read."""

import dataclasses

import pytest

from kubeadm_deploys.election import Election, elect, fingerprint
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.reading import NotRead
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.quorum import quorum_lost
from tests.machines import (
    ABSENT,
    DOWN,
    HALF,
    MEMBER,
    OTHERS,
    OURS,
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


def election(
    *found: Found,
    able: frozenset[str] = ALL,
    topology: Topology = TOPOLOGY,
    before: Election | None = None,
) -> Election:
    hosts = [node.host for node in topology.control_planes]
    return elect(topology, found=dict(zip(hosts, found, strict=True)), able=able, before=before)


@pytest.mark.parametrize(
    ("found", "leader", "exists", "healthy"),
    [
        ((ABSENT, ABSENT, ABSENT), A, False, ()),
        ((HALF, ABSENT, ABSENT), A, False, ()),
        ((ABSENT, HALF, ABSENT), A, False, ()),
        ((MEMBER, ABSENT, ABSENT), A, True, (A,)),
        ((ABSENT, MEMBER, HALF), B, True, (B,)),
        ((not_read(A), MEMBER, MEMBER), B, True, (B, C)),
        ((not_read(A, reached=True), ABSENT, MEMBER), C, True, (C,)),
        ((DOWN, MEMBER, MEMBER), B, True, (B, C)),
        ((MEMBER, MEMBER, MEMBER), A, True, (A, B, C)),
        ((made_anew(MEMBER), ABSENT, ABSENT), A, True, (A,)),
    ],
)
def test_the_first_healthy_member_leads_and_on_an_empty_cluster_the_first_host(
    found: tuple[Found, ...], leader: Node, exists: bool, healthy: tuple[Node, ...]
) -> None:
    elected = election(*found)
    assert (elected.leader, elected.exists, elected.healthy) == (leader.host, exists, healthy)
    assert elected.problem == ""
    assert elected.ca_certificate == (OURS if exists else "")
    assert elected.cluster_name == ("kubernetes" if exists else "")


def test_the_inventorys_order_only_decides_between_healthy_members() -> None:
    reverse = Topology(control_planes=(C, B, A), workers=())
    assert election(ABSENT, MEMBER, MEMBER, topology=reverse).leader == B.host


def test_a_host_that_failed_in_this_run_does_not_lead_while_another_can() -> None:
    assert election(MEMBER, MEMBER, MEMBER, able=ALL - {A.host}).leader == B.host
    assert election(MEMBER, ABSENT, ABSENT, able=ALL - {A.host}).leader == A.host
    assert election(ABSENT, ABSENT, ABSENT, able=ALL - {A.host}).leader == B.host


def test_an_init_that_stored_nothing_is_begun_again_where_it_began() -> None:
    began = KubeadmNodeState(
        files=frozenset({"admin.conf", "pki/ca.key", "pki/etcd/ca.crt"}), ca_certificate=OURS
    )
    elected = election(ABSENT, began, ABSENT)
    assert (elected.leader, elected.exists, elected.problem) == (B.host, False, "")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (not_read(A), "a cannot be reached"),
        (not_read(A, reached=True), "a could not be read (sh: 1: Cannot fork)"),
    ],
)
@pytest.mark.parametrize("others", [(ABSENT, ABSENT), (ABSENT, HALF)])
def test_a_machine_that_was_not_read_is_never_an_empty_one(
    found: NotRead, said: str, others: tuple[Found, Found]
) -> None:
    elected = election(found, *others)
    assert not elected.exists
    assert f"but {said}, and may have one; no cluster was created" in elected.problem


def test_a_cluster_without_an_api_server_is_not_an_empty_one() -> None:
    elected = election(DOWN, not_read(B), ABSENT)
    assert elected.exists
    assert elected.problem == (
        "no API server answers: a not ready: etcd; b cannot be reached; c has none; "
        "find out why with 'journalctl --unit kubelet' and 'crictl ps --all' there, then run again"
    )


DATA = KubeadmNodeState(files=frozenset({"etcd", "pki/etcd/ca.crt", "pki/ca.key"}), ca_certificate=OURS)
"""A control plane whose manifests are gone, all of them."""


@pytest.mark.parametrize("missing", ["etcd", "kube-apiserver"])
@pytest.mark.parametrize("has_backup", [False, True])
def test_a_control_plane_that_lacks_a_manifest_still_has_the_cluster(missing: str, has_backup: bool) -> None:
    """As kubeadm upgrade leaves it that was killed between its two renames."""
    found = dataclasses.replace(
        MEMBER,
        files=MEMBER.files - {f"manifests/{missing}.yaml"},
        backups={missing: "/etc/kubernetes/tmp/x"} if has_backup else {},
        api="" if missing == "kube-apiserver" else "not ready: etcd",
    )
    elected = election(found, ABSENT, ABSENT)
    assert (elected.leader, elected.exists, elected.healthy) == (A.host, True, ())
    assert f"a lacks the manifest of {missing}" in elected.problem


def test_data_of_etcd_beside_kubeadms_certificates_are_a_cluster() -> None:
    assert not DATA.files & STATIC_PODS
    elected = election(DATA, ABSENT, ABSENT)
    assert (elected.leader, elected.exists, elected.healthy) == (A.host, True, ())
    assert elected.problem


BEFORE = election(MEMBER, ABSENT, ABSENT)


@pytest.mark.parametrize(
    "now",
    [
        (not_read(A), ABSENT, ABSENT),
        (not_read(A, reached=True), ABSENT, ABSENT),
        (ABSENT, ABSENT, ABSENT),
        (HALF, ABSENT, ABSENT),
        (not_read(A), not_read(B), not_read(C)),
    ],
)
def test_a_cluster_that_was_there_goes_on_to_exist_in_a_run(now: tuple[Found, ...]) -> None:
    elected = election(*now, before=BEFORE)
    assert elected.exists
    assert (elected.leader, elected.healthy, elected.ca_certificate) == (A.host, (), OURS)
    assert (
        "the cluster that was there at the beginning of this run cannot be found any more" in elected.problem
    )


def test_what_answers_now_counts_when_it_is_the_same_cluster() -> None:
    assert election(DOWN, ABSENT, ABSENT, before=BEFORE).problem.startswith("no API server answers")
    elected = election(not_read(A), MEMBER, ABSENT, before=BEFORE)
    assert (elected.leader, elected.healthy, elected.problem) == (B.host, (B,), "")


def test_another_cluster_in_the_place_of_the_one_before_is_not_used() -> None:
    elected = election(of_another_cluster(MEMBER), ABSENT, ABSENT, before=BEFORE)
    assert (elected.exists, elected.healthy, elected.ca_certificate) == (True, (), OURS)
    assert elected.problem == (
        "a has another CA certificate than at the beginning of this run "
        f"({fingerprint(OTHERS)} instead of {fingerprint(OURS)}); run again"
    )


def test_where_there_was_none_a_cluster_may_appear() -> None:
    nothing = election(ABSENT, ABSENT, ABSENT)
    assert election(MEMBER, ABSENT, ABSENT, before=nothing) == BEFORE


@pytest.mark.parametrize("second", [MEMBER, DOWN])
def test_control_planes_of_two_clusters_are_no_cluster_to_work_on(second: KubeadmNodeState) -> None:
    elected = election(MEMBER, of_another_cluster(second), ABSENT)
    assert elected.exists
    for words in (
        "belong to 2 different clusters",
        f"a (CA {fingerprint(OURS)})",
        f"b (CA {fingerprint(OTHERS)})",
        "no changes were made",
    ):
        assert words in elected.problem


@pytest.mark.parametrize("others", [(ABSENT, ABSENT), (MEMBER, ABSENT)])
def test_no_run_goes_on_without_a_ca_certificate_to_compare_machines_with(
    others: tuple[KubeadmNodeState, KubeadmNodeState],
) -> None:
    without = dataclasses.replace(MEMBER, ca_certificate="")
    elected = election(without, *others)
    assert elected.exists
    assert elected.problem.startswith(
        "a has no CA certificate in /etc/kubernetes/pki/ca.crt, so nothing shows"
    )


def test_a_certificates_last_newline_does_not_make_another_of_it() -> None:
    with_newline = dataclasses.replace(MEMBER, ca_certificate=f"{OURS}\n")
    assert election(MEMBER, with_newline, ABSENT).problem == ""
    assert election(with_newline, ABSENT, ABSENT, before=BEFORE).problem == ""
    assert fingerprint(OURS) == fingerprint(f"{OURS}\n")
    assert fingerprint(OURS) != fingerprint(OTHERS)
    assert fingerprint("") == "none"


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
    members = (voter(A), voter(B), voter(C), learner(W))
    said = quorum_lost(members=members, there={node.ip for node in there})
    assert said.startswith(lost)
    assert bool(said) is bool(lost)


@pytest.mark.parametrize(
    ("there", "emptied", "lost"),
    [
        ((A, B, C), (), ""),
        ((A, B, C), (B, W), ""),
        ((A, B, C), (B, C), "etcd has 3 members and needs 2 of them, but b, c have lost etcd's data"),
        (
            (A, B),
            (B,),
            "etcd has 3 members and needs 2 of them, but c cannot be reached and b has lost etcd's data",
        ),
    ],
)
def test_a_member_without_its_data_does_not_come_back(
    there: tuple[Node, ...], emptied: tuple[Node, ...], lost: str
) -> None:
    # A reset that was cut off has cleaned some control planes.
    members = (voter(A), voter(B), voter(C))
    assert quorum_lost(members=members, there=[n.ip for n in there], emptied=[n.ip for n in emptied]) == lost


def test_an_etcd_that_says_nothing_may_come_back() -> None:
    assert quorum_lost(members=(), there=()) == ""
