"""From which disk a cluster is restored, and why not: what the simulation cannot show."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import RESTORE_FOLDER, SET_ASIDE, KubeadmNodeState
from kubeadm_deploys.facts.own_etcd import OwnEtcdState
from kubeadm_deploys.lifecycle.disk_restore_plan import disk_problems, has_old_etcd, survivors
from kubeadm_deploys.lifecycle.restore_plan import RestoreRecord
from kubeadm_deploys.remote.reading import NotRead
from tests.support.certificates import Authority
from tests.support.machines import MEMBER, TOPOLOGY, WORKER, A, B, C, W

NODES = (A, B, C)
CA = Authority().certificate
IMAGE = "registry.k8s.io/etcd:3.7.0-0"
WHOLE = replace(MEMBER, ca_certificate=CA, client_certificate="", api="", etcd_image=IMAGE)
NODE = replace(WORKER, ca_certificate=CA, client_certificate="")
BLANK = KubeadmNodeState(machine_id="blank")
MEMBERS = tuple(EtcdMember(id=node.name, name=node.name, peer_ip=node.ip) for node in NODES)
SILENT = OwnEtcdState(has_leader=False, learner=False, revision=100, applied=7, cluster_id=5, members=MEMBERS)
"""A member without a majority."""

LOST_ONES = tuple(EtcdMember(id=name, name=name, peer_ip=f"10.9.9.{name}") for name in "12345")
OF_MANY = replace(SILENT, members=MEMBERS + LOST_ONES)
"""One of a cluster whose majority is lost, also if all of the inventory are left."""

RECORD = RestoreRecord(backup="disk:100", began="20261130T000000Z", seed="gone")

BEGUN = replace(RECORD, seed=A.name)
BEGUN_HERE = replace(WHOLE, restoring=BEGUN.line)


def problems(found: Mapping[str, KubeadmNodeState], **changes: Any) -> list[str]:
    arguments: dict[str, Any] = {
        "found": found,
        "etcd": {host: SILENT for host, state in found.items() if "etcd" in state.files},
        "api_leader": ApiLeader(
            leader=A.host, exists=True, ca_certificate=CA, problem="no API server answers"
        ),
        "record": None,
        **changes,
    }
    return list(disk_problems(TOPOLOGY, **arguments))


LOST = {A.host: WHOLE, B.host: BLANK, C.host: BLANK}


def test_a_disk_that_is_left_is_enough() -> None:
    assert problems(LOST) == []


@pytest.mark.parametrize(
    ("found", "changes", "words"),
    [
        (
            {**LOST, B.host: replace(WHOLE, ca_certificate=Authority().certificate)},
            {},
            "2 different clusters",
        ),
        (
            {**LOST, B.host: replace(NODE, ca_certificate=Authority().certificate)},
            {},
            "node of another cluster",
        ),
        ({**LOST, B.host: NODE}, {}, "is a worker of the cluster"),
        ({**LOST, W.host: WHOLE}, {"etcd": {A.host: SILENT}}, "in the group workers"),
        (
            {**LOST, B.host: KubeadmNodeState(files=frozenset({"etcd"}))},
            {},
            "did not create",
        ),
        ({**LOST, B.host: WHOLE}, {}, "a majority of etcd's members still has its data"),
        (LOST, {"etcd": {A.host: replace(SILENT, has_leader=True)}}, "etcd has its majority"),
        (
            LOST,
            {"etcd": {A.host: replace(SILENT, learner=True)}},
            "has no vote, or kubeadm's files are not complete",
        ),
        (
            {**LOST, A.host: replace(WHOLE, rotating=False)},
            {},
            "has no vote, or kubeadm's files are not complete",
        ),
        (
            {**LOST, B.host: replace(WHOLE, rotating=False)},
            {"etcd": {A.host: OF_MANY, B.host: replace(OF_MANY, applied=8)}},
            "has the newest data, but",
        ),
        (
            {**LOST, B.host: WHOLE},
            {"etcd": {A.host: OF_MANY, B.host: replace(OF_MANY, cluster_id=6)}},
            "members of different etcd clusters are left: a (etcd cluster 5), b (etcd cluster 6)",
        ),
        (LOST, {"record": RECORD}, "gone: a restore from its disk began at"),
    ],
    ids=[
        *("other CA", "node of another", "worker", "control plane among workers", "other etcd"),
        "majority left",
        "majority runs",
        "learner",
        "not whole",
        "not whole is newest",
        "two clusters",
        "seed gone",
    ],
)
def test_what_is_refused(found: dict[str, KubeadmNodeState], changes: dict[str, Any], words: str) -> None:
    refused = problems(found, **changes)
    assert any(words in problem for problem in refused), refused


def test_a_restore_that_has_begun_needs_no_answers() -> None:
    assert problems({**LOST, A.host: BEGUN_HERE}, record=BEGUN, etcd={}) == []
    # The new data is not in place yet.
    between = replace(BEGUN_HERE, files=BEGUN_HERE.files - {"etcd"}, unpacked=True)
    assert problems({**LOST, A.host: between}, record=BEGUN, etcd={}) == []


@pytest.mark.parametrize(
    ("there", "answer", "words"),
    [
        (WHOLE, replace(SILENT, revision=101), "b: has newer data (revision 101) than a had when"),
        (WHOLE, replace(SILENT, revision=90, has_leader=True), "and etcd has its majority"),
        (
            WHOLE,
            NotRead(host="b", what="own etcd", reason="timeout", reached=True),
            "b: its etcd does not answer (timeout)",
        ),
        (replace(WHOLE, restoring=replace(BEGUN, seed="b").line), None, "b: a restore from b began at"),
        (WHOLE, SILENT, ""),
        (BEGUN_HERE, None, ""),
        (BEGUN_HERE, replace(SILENT, revision=101), "b: has newer data (revision 101) than a had when"),
    ],
    ids=["newer", "leads", "silent", "another", "not newer", "stopped", "newer with the record"],
)
def test_a_restore_that_has_begun_is_not_preferred_to_newer_data(
    there: KubeadmNodeState, answer: OwnEtcdState | NotRead | None, words: str
) -> None:
    found = {**LOST, A.host: BEGUN_HERE, B.host: there}
    refused = problems(found, record=BEGUN, etcd={B.host: answer} if answer else {})
    assert [words in problem for problem in refused] == ([True] if words else []), refused


def test_etcd_is_asked_where_a_restore_has_not_stopped_it() -> None:
    assert has_old_etcd(WHOLE) and has_old_etcd(BEGUN_HERE) and not has_old_etcd(BLANK)
    assert not has_old_etcd(replace(BEGUN_HERE, unpacked=True))
    assert not has_old_etcd(replace(BEGUN_HERE, files=BEGUN_HERE.files - {"manifests/etcd.yaml"}))


@pytest.mark.parametrize("record", [BEGUN, RECORD])
def test_a_restore_whose_disk_is_lost_can_be_ended_by_hand(record: RestoreRecord) -> None:
    found = {**LOST, A.host: BLANK, B.host: replace(WHOLE, restoring=record.line)}
    (refused,) = problems(found, record=record, etcd={})
    assert "first copy /var/lib/etcd of b elsewhere" in refused
    assert f"mv {SET_ASIDE}/* /etc/kubernetes/manifests/; rm -r {RESTORE_FOLDER}" in refused


def test_the_member_that_has_applied_most_comes_first() -> None:
    found = dict.fromkeys(LOST, WHOLE)
    etcd = {
        A.host: SILENT,
        B.host: replace(SILENT, applied=9),
        C.host: replace(SILENT, applied=9, learner=True),
    }
    assert [node for node, _ in survivors(TOPOLOGY, found=found, etcd=etcd)] == [B, A]
