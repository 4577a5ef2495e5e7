"""From which disk a cluster is restored, and why not: what the simulation cannot show."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.node_status import EtcdStatusState
from kubeadm_deploys.lifecycle.disk_restore_plan import disk_problems, survivors
from kubeadm_deploys.lifecycle.restore_plan import RestoreRecord
from tests.support.certificates import Authority
from tests.support.machines import MEMBER, TOPOLOGY, WORKER, A, B, C, W

NODES = (A, B, C)
CA = Authority().certificate
IMAGE = "registry.k8s.io/etcd:3.7.0-0"
WHOLE = replace(MEMBER, ca_certificate=CA, client_certificate="", api="", etcd_image=IMAGE)
NODE = replace(WORKER, ca_certificate=CA, client_certificate="")
BLANK = KubeadmNodeState(machine_id="blank")
SILENT = EtcdStatusState(
    version="3.7.0", leader=False, has_leader=False, revision=100, applied=7, cluster_id=5
)
"""A member without a majority."""

MEMBERS = tuple(EtcdMember(id=node.name, name=node.name, peer_ip=node.ip) for node in NODES)
RECORD = RestoreRecord(backup="disk:100", began="20261130T000000Z", seed="gone")


def problems(found: Mapping[str, KubeadmNodeState], **changes: Any) -> list[str]:
    arguments: dict[str, Any] = {
        "found": found,
        "etcd": {host: SILENT for host, state in found.items() if "etcd" in state.files},
        "members": MEMBERS,
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
            {"etcd": {A.host: SILENT}, "members": ()},
            "did not create",
        ),
        ({**LOST, B.host: WHOLE}, {}, "a majority of etcd's members still has its data"),
        (LOST, {"etcd": {A.host: replace(SILENT, has_leader=True)}}, "etcd has its majority"),
        (
            LOST,
            {"etcd": {A.host: replace(SILENT, learner=True)}, "members": ()},
            "has no vote, or kubeadm's files are not complete",
        ),
        (
            {**LOST, A.host: replace(WHOLE, rotating=False)},
            {},
            "has no vote, or kubeadm's files are not complete",
        ),
        (
            {**LOST, B.host: replace(WHOLE, rotating=False)},
            {"etcd": {A.host: SILENT, B.host: replace(SILENT, applied=8)}, "members": ()},
            "has the newest data, but",
        ),
        (
            {**LOST, B.host: WHOLE},
            {"etcd": {A.host: SILENT, B.host: replace(SILENT, cluster_id=6)}, "members": ()},
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
    begun = replace(RECORD, seed=A.name)
    assert problems(dict.fromkeys(LOST, BLANK), record=begun, etcd={}, members=()) == []


def test_the_member_that_has_applied_most_comes_first() -> None:
    found = dict.fromkeys(LOST, WHOLE)
    etcd = {
        A.host: SILENT,
        B.host: replace(SILENT, applied=9),
        C.host: replace(SILENT, applied=9, learner=True),
    }
    assert [node for node, _ in survivors(TOPOLOGY, found=found, etcd=etcd)] == [B, A]
