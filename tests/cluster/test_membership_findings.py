"""Preflight findings about the whole cluster: its identity, its members and missing manifests."""

import dataclasses

import pytest

from kubeadm_deploys.cluster.api_leader import ApiLeader, choose_leader, fingerprint
from kubeadm_deploys.cluster.membership import membership_findings, ownership_findings
from kubeadm_deploys.cluster.quorum import unlisted_members
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS, KubeadmNodeState
from kubeadm_deploys.model.findings import Finding, Severity, unskipped
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote.reading import NotRead
from tests.support.machines import (
    ABSENT,
    DOWN,
    MEMBER,
    OTHERS,
    OURS,
    PARTIAL,
    TOPOLOGY,
    A,
    B,
    C,
    learner,
    made_anew,
    not_read,
    of_another_cluster,
    voter,
)

ALL = frozenset(node.host for node in TOPOLOGY.control_planes)
VOTERS = ClusterMembersState(etcd=(voter(A), voter(B), voter(C)))


def findings(
    *read: KubeadmNodeState | NotRead,
    topology: Topology = TOPOLOGY,
    members: ClusterMembersState | None = VOTERS,
) -> list[Finding]:
    found = dict(zip([node.host for node in topology.control_planes], read, strict=True))
    api_leader = choose_leader(topology, found=found, able=ALL)
    return list(membership_findings(topology, api_leader=api_leader, found=found, members=members))


def test_a_healthy_cluster_and_machines_without_one_have_no_findings() -> None:
    assert findings(MEMBER, MEMBER, MEMBER) == []
    assert findings(made_anew(MEMBER), MEMBER, MEMBER) == []
    assert findings(ABSENT, ABSENT, ABSENT, members=ClusterMembersState()) == []
    assert findings(PARTIAL, ABSENT, ABSENT, members=ClusterMembersState()) == []
    assert findings(DOWN, DOWN, DOWN, members=None) == []


@pytest.mark.parametrize(
    ("listed", "refused"),
    [
        ((A, B, C), ""),
        ((A, B), ""),
        ((A,), "2 of the cluster's 3 control planes are not in the inventory: b, c"),
    ],
)
def test_an_inventory_without_most_control_planes_is_refused(listed: tuple[Node, ...], refused: str) -> None:
    topology = Topology(control_planes=listed, workers=())
    found = findings(*(MEMBER for _ in listed), topology=topology)
    unlisted = [node.name for node in (A, B, C) if node not in listed]
    assert unlisted_members(topology, found=VOTERS) == unlisted
    if refused:
        (finding,) = found
        assert finding.severity is Severity.ERROR and refused in finding.sentence
    else:
        assert [finding.severity for finding in found] == [Severity.WARNING for _ in unlisted]
        assert all(f"--data node={name} " in f"{found[0].fix} " for name in unlisted)


def test_a_learner_is_not_missed_in_the_inventory() -> None:
    topology = Topology(control_planes=(A, B), workers=())
    members = ClusterMembersState(etcd=(voter(A), voter(B), learner(C)))
    assert findings(MEMBER, MEMBER, topology=topology, members=members) == []


@pytest.mark.parametrize(
    ("found", "problem"),
    [
        (not_read(A), "a cannot be reached"),
        (not_read(A, reached=True), "a could not be read (sh: 1: Cannot fork)"),
    ],
)
def test_an_unread_machine_is_an_error_if_no_other_has_the_cluster(found: NotRead, problem: str) -> None:
    (finding,) = findings(found, ABSENT, PARTIAL, members=ClusterMembersState())
    assert (finding.severity, finding.check) == (Severity.ERROR, "control-planes")
    assert f"but {problem}, and may have one; no cluster was created" in finding.found
    assert finding.fix == "make it reachable, or take it out of the inventory"
    assert findings(found, MEMBER, MEMBER) == []


@pytest.mark.parametrize("members", [VOTERS, None])
def test_control_planes_of_two_clusters_are_an_error(members: ClusterMembersState | None) -> None:
    found = findings(MEMBER, of_another_cluster(MEMBER), MEMBER, members=members)
    assert [(finding.severity, finding.check) for finding in found] == [(Severity.ERROR, "control-planes")]
    assert f"a, c (CA {fingerprint(OURS)}); b (CA {fingerprint(OTHERS)})" in found[0].found
    assert found[0].fix == "take those of other clusters out of the inventory"
    assert unskipped(found, skipped=("control-planes",)) == tuple(found)


def lacking(*names: str, backups: dict[str, str] | None = None) -> KubeadmNodeState:
    files = MEMBER.files - {f"manifests/{name}.yaml" for name in names}
    return dataclasses.replace(MEMBER, files=files, backups=backups or {}, api="not ready: etcd")


@pytest.mark.parametrize("members", [VOTERS, None])
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_missing_manifest_without_a_backup_is_an_error_without_any_api(
    name: str, members: ClusterMembersState | None
) -> None:
    (finding,) = findings(MEMBER, lacking(name), MEMBER, members=members)
    assert (finding.severity, finding.check, finding.host) == (Severity.ERROR, "manifests", B.host)
    assert f"/etc/kubernetes/manifests/{name}.yaml is missing" in finding.found
    phase = "etcd local" if name == "etcd" else f"control-plane {name.removeprefix('kube-')}"
    assert f"'kubeadm init phase {phase}'" in finding.fix
    assert "kubeadm reset" not in finding.words


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_missing_manifest_with_a_backup_is_a_warning(name: str) -> None:
    backup = f"/etc/kubernetes/tmp/kubeadm-backup-manifests-1/{name}.yaml"
    (finding,) = findings(lacking(name, backups={name: backup}), MEMBER, MEMBER)
    assert (finding.severity, finding.check, finding.host) == (Severity.WARNING, "manifests", A.host)
    assert backup in finding.found
    assert "deploys/cluster.py" in finding.fix


def test_a_machine_without_a_cluster_needs_no_manifests() -> None:
    began = dataclasses.replace(PARTIAL, files=frozenset({"admin.conf", "pki/ca.key", "pki/etcd/ca.crt"}))
    assert findings(MEMBER, PARTIAL, began) == []


OWN = ApiLeader(leader=A.host, exists=True, healthy=(A,), ca_certificate=OURS, cluster_name="shop")


def ownership(
    api_leader: ApiLeader = OWN, *, cluster_name: str = "shop", kubeconfig_ca: str | None = None
) -> list[Finding]:
    return list(
        ownership_findings(
            api_leader=api_leader,
            cluster_name=cluster_name,
            kubeconfig="shop.kubeconfig",
            kubeconfig_ca=kubeconfig_ca,
        )
    )


def test_the_operators_cluster_has_no_findings() -> None:
    assert ownership() == []
    assert ownership(kubeconfig_ca=f"{OURS}\n") == []
    # Without admin.conf it has no name to compare.
    assert ownership(dataclasses.replace(OWN, cluster_name="")) == []
    # Without a cluster there is nothing to compare.
    assert ownership(ApiLeader(leader=A.host, exists=False), kubeconfig_ca=OTHERS) == []


def test_a_cluster_of_another_name_is_another_cluster() -> None:
    (finding,) = ownership(cluster_name="staging")
    assert (finding.severity, finding.check) == (Severity.ERROR, "another-cluster")
    assert "cluster_name is 'staging', but" in finding.found and "is called 'shop'" in finding.found
    assert unskipped([finding], skipped=("another-cluster",)) == (finding,)


def test_a_cluster_with_another_ca_than_the_kubeconfig_is_another_cluster() -> None:
    (finding,) = ownership(kubeconfig_ca=OTHERS)
    assert (finding.severity, finding.check) == (Severity.ERROR, "another-cluster")
    for words in ("shop.kubeconfig", fingerprint(OURS), fingerprint(OTHERS)):
        assert words in finding.found


def test_a_cluster_that_does_not_answer_is_compared_too() -> None:
    silent = dataclasses.replace(OWN, healthy=(), problem="no API server answers")
    assert len(ownership(silent, cluster_name="staging", kubeconfig_ca=OTHERS)) == 2
