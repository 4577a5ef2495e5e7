"""The status of a cluster: what a person reads, what a program reads, and what needs attention."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kubeadm_deploys.documents.node_kubelet import wanted_files
from kubeadm_deploys.documents.templates import sha256
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.node_status import Certificate, EtcdStatusState, HostStatusState, NodeStatusState
from kubeadm_deploys.lifecycle.status_report import ClusterStatus, Readings, cluster_status, document, text
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote.reading import NotRead

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def node(name: str, number: int) -> Node:
    return Node(host=f"@ssh/{name}", name=name, ip=f"10.0.0.{number}", address=f"10.0.0.{number}")


CP, WORKER = node("cp-1", 1), node("worker-1", 2)
TOPOLOGY = Topology(control_planes=(CP,), workers=(WORKER,))


def certificate(
    *, days: float, lived: float = 335, path: str = "pki/apiserver.crt", ca: bool = False
) -> Certificate:
    return Certificate(path=path, begins=NOW - timedelta(days=lived), ends=NOW + timedelta(days=days), ca=ca)


def object_of(name: str, *, control_plane: bool = False, ready: bool = True) -> NodeStatusState:
    return NodeStatusState(
        name=name,
        control_plane=control_plane,
        ready=ready,
        cordoned=False,
        kubelet="1.37.2",
        container_runtime="containerd 2.3.4",
    )


MACHINE = HostStatusState(os="Debian GNU/Linux 13 (trixie)", kernel="6.12.41+deb13-amd64")
ETCD = EtcdStatusState(
    version="3.7.0", leader=True, has_leader=True, database=20_000_000, quota=2_000_000_000
)
MEMBER = KubeadmNodeState(files=frozenset({"manifests/kube-apiserver.yaml"}), api="ok")
HEALTHY = Readings(
    hosts={CP.host: replace(MACHINE, certificates=(certificate(days=300),)), WORKER.host: MACHINE},
    kubeadm={CP.host: MEMBER},
    etcd={CP.host: ETCD},
    nodes=(object_of("cp-1", control_plane=True), object_of("worker-1")),
)


def lost(host: str, reason: str) -> NotRead:
    return NotRead(host=host, what="its status", reason=reason, reached=False)


def status_of(readings: Readings, *, problems: tuple[str, ...] = ()) -> ClusterStatus:
    return cluster_status(TOPOLOGY, readings, cluster="demo", now=NOW, problems=problems)


def with_machine(machine: HostStatusState) -> Readings:
    return replace(HEALTHY, hosts={**HEALTHY.hosts, CP.host: machine})


def test_kubelets_with_other_fields_than_the_inventorys_are_a_difference() -> None:
    own = replace(CP, kubelet_configuration={"maxPods": 50})
    topology = replace(TOPOLOGY, control_planes=(own,))
    sums = {path: sha256(content) for path, content in wanted_files(own.kubelet_configuration).items()}
    has = with_machine(replace(MACHINE, kubelet_files=sums))
    for readings, names in ((has, []), (HEALTHY, ["cp-1"])):
        status = cluster_status(topology, readings, cluster="demo", now=NOW)
        assert [name for name in ("cp-1", "worker-1") if name in " ".join(status.differences)] == names
    (difference,) = status_of(has).differences
    assert difference.startswith("node_kubelet_configuration of cp-1")


def test_a_healthy_cluster_needs_no_attention() -> None:
    status = status_of(HEALTHY)
    assert status.attention == ()
    lines = list(text(status, now=NOW))
    assert lines[0] == "Cluster demo: the API answers"
    assert [" ".join(line.split()) for line in lines if line.startswith("cp-1")] == [
        "cp-1 control plane Ready 1.37.2 containerd 2.3.4 Debian GNU/Linux 13 (trixie) 6.12.41+deb13-amd64",
        "cp-1 ok leader 3.7.0 20 MB of 2000 MB",
        "cp-1 pki/apiserver.crt 2027-09-25 300 days",
    ]
    assert not any(line.startswith(("Needs", "Differences", "Newer")) for line in lines)


@pytest.mark.parametrize(
    ("readings", "sentence"),
    [
        (
            replace(HEALTHY, hosts={**HEALTHY.hosts, WORKER.host: lost(WORKER.host, "cannot be reached")}),
            "worker-1: the machine could not be read (cannot be reached)",
        ),
        (
            replace(HEALTHY, hosts={}, kubeadm={CP.host: lost(CP.host, "no route")}, etcd={}),
            "cp-1: the machine could not be read (no route)",
        ),
        (replace(HEALTHY, nodes=HEALTHY.nodes and HEALTHY.nodes[:1]), "worker-1: not in the cluster; run"),
        (
            replace(HEALTHY, nodes=(*(HEALTHY.nodes or ()), object_of("old"))),
            "old: not in the inventory; add it, or run deploys/remove_node.py",
        ),
        (
            replace(
                HEALTHY, nodes=(object_of("cp-1", control_plane=True), object_of("worker-1", ready=False))
            ),
            "worker-1: NotReady",
        ),
        (
            replace(HEALTHY, kubeadm={CP.host: replace(MEMBER, api="not ready: etcd")}),
            "cp-1: the API server is not ready: etcd",
        ),
        (
            replace(HEALTHY, etcd={CP.host: lost(CP.host, "no such container")}),
            "cp-1: etcd does not answer (no such container)",
        ),
        (
            replace(HEALTHY, etcd={CP.host: replace(ETCD, leader=False, has_leader=False)}),
            "cp-1: etcd has no leader",
        ),
        (
            replace(HEALTHY, etcd={CP.host: replace(ETCD, leader=False, learner=True)}),
            "is a learner without a vote",
        ),
        (
            replace(HEALTHY, etcd={CP.host: replace(ETCD, errors=("memberID:1 alarm:NOSPACE ",))}),
            "cp-1: etcd reports memberID:1 alarm:NOSPACE",
        ),
        (replace(HEALTHY, etcd={CP.host: replace(ETCD, database=1_700_000_000)}), "fills 85% of its quota"),
        (
            with_machine(replace(MACHINE, certificates=(certificate(days=29),))),
            "cp-1: the certificate in pki/apiserver.crt expires on 2026-12-28",
        ),
        (
            with_machine(replace(MACHINE, certificates=(certificate(days=-1),))),
            "cp-1: the certificate in pki/apiserver.crt expired on 2026-11-28; renew it",
        ),
        (
            with_machine(
                replace(
                    MACHINE, certificates=(certificate(days=364, lived=3286, path="pki/ca.crt", ca=True),)
                )
            ),
            "cp-1: the certificate in pki/ca.crt expires on 2027-11-28",
        ),
    ],
)
def test_what_needs_attention_is_one_sentence(readings: Readings, sentence: str) -> None:
    (problem,) = status_of(readings).attention
    assert sentence in problem


@pytest.mark.parametrize(
    "found",
    [
        certificate(days=31),
        # Most of the life of a certificate for a day is before it.
        certificate(days=0.9, lived=0.1),
        certificate(days=366, lived=3284, path="pki/ca.crt", ca=True),
    ],
)
def test_a_certificate_with_enough_time_left_needs_no_attention(found: Certificate) -> None:
    assert status_of(with_machine(replace(MACHINE, certificates=(found,)))).attention == ()


def test_without_an_api_the_machines_are_reported() -> None:
    down: Mapping[str, KubeadmNodeState] = {CP.host: replace(MEMBER, api="not ready: etcd")}
    readings = replace(HEALTHY, nodes=None, kubeadm=down, etcd={CP.host: lost(CP.host, "no such container")})
    status = status_of(readings, problems=("the API does not answer: etcd",))
    lines = list(text(status, now=NOW))
    assert lines[0] == "Cluster demo: the API does not answer"
    worker = next(line for line in lines if line.startswith("worker-1"))
    assert worker.split()[1:5] == ["worker", "unknown", "-", "-"]
    assert "  - the API does not answer: etcd" in lines
    # Nodes are unknown, not missing.
    assert not any("not in the cluster" in line for line in lines)


def test_a_cordoned_node_and_a_reboot_are_shown_and_are_no_problem() -> None:
    cordoned = replace(object_of("worker-1"), cordoned=True)
    readings = replace(
        HEALTHY,
        hosts={**HEALTHY.hosts, WORKER.host: replace(MACHINE, reboot="packages ask for it")},
        nodes=(object_of("cp-1", control_plane=True), cordoned),
    )
    status = status_of(readings)
    assert status.attention == ()
    assert any("Ready, cordoned, reboot needed" in line for line in text(status, now=NOW))


def test_the_document_has_everything() -> None:
    status = replace(status_of(HEALTHY), differences=("swap differs",), newer="Kubernetes 1.38.0 exists")
    found = json.loads(document(status))
    assert found["nodes"][1] == {
        "name": "worker-1",
        "host": "@ssh/worker-1",
        "role": "worker",
        "ready": True,
        "cordoned": False,
        "kubernetes": "1.37.2",
        "container_runtime": "containerd 2.3.4",
        "os": "Debian GNU/Linux 13 (trixie)",
        "kernel": "6.12.41+deb13-amd64",
        "reboot": "",
    }
    assert found["certificates"] == [
        {"node": "cp-1", "path": "pki/apiserver.crt", "ends": "2027-09-25T00:00:00+00:00"}
    ]
    assert found["control_planes"][0]["etcd"] == "leader"
    assert (found["differences"], found["newer"]) == (["swap differs"], "Kubernetes 1.38.0 exists")
