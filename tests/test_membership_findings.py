"""What preflight says of the cluster as a whole: whose it is, who is in it, and what its control planes lack."""

import dataclasses

import pytest

from kubeadm_deploys.election import Election, elect, fingerprint
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS, KubeadmNodeState
from kubeadm_deploys.facts.reading import NotRead
from kubeadm_deploys.findings import Finding, Severity, unwaived
from kubeadm_deploys.membership import membership_findings, ownership_findings
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.quorum import unlisted_members
from tests.machines import (
    ABSENT,
    DOWN,
    HALF,
    MEMBER,
    OTHERS,
    OURS,
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
    election = elect(topology, found=found, able=ALL)
    return list(membership_findings(topology, election=election, found=found, members=members))


def test_a_cluster_that_is_well_and_machines_without_one_have_no_findings() -> None:
    assert findings(MEMBER, MEMBER, MEMBER) == []
    assert findings(made_anew(MEMBER), MEMBER, MEMBER) == []
    assert findings(ABSENT, ABSENT, ABSENT, members=ClusterMembersState()) == []
    assert findings(HALF, ABSENT, ABSENT, members=ClusterMembersState()) == []
    assert findings(DOWN, DOWN, DOWN, members=None) == []


@pytest.mark.parametrize(
    ("listed", "refused"),
    [((A, B, C), ""), ((A, B), ""), ((A,), "b, c are 2 of the cluster's 3 control planes")],
)
def test_an_inventory_without_most_of_the_control_planes_is_refused(
    listed: tuple[Node, ...], refused: str
) -> None:
    topology = Topology(control_planes=listed, workers=())
    found = findings(*(MEMBER for _ in listed), topology=topology)
    unlisted = [node.name for node in (A, B, C) if node not in listed]
    assert unlisted_members(topology, found=VOTERS) == unlisted
    if refused:
        (finding,) = found
        assert finding.severity is Severity.DANGER and refused in finding.sentence
    else:
        assert [finding.severity for finding in found] == [Severity.DOUBT for _ in unlisted]
        assert all(f"--data node={name} " in f"{found[0].cure} " for name in unlisted)


def test_who_does_not_vote_is_no_control_plane_that_the_inventory_lacks() -> None:
    topology = Topology(control_planes=(A, B), workers=())
    members = ClusterMembersState(etcd=(voter(A), voter(B), learner(C)))
    assert findings(MEMBER, MEMBER, topology=topology, members=members) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (not_read(A), "a cannot be reached"),
        (not_read(A, reached=True), "a could not be read (sh: 1: Cannot fork)"),
    ],
)
def test_a_machine_that_may_have_the_cluster_is_a_danger_while_no_other_has_it(
    found: NotRead, said: str
) -> None:
    (finding,) = findings(found, ABSENT, HALF, members=ClusterMembersState())
    assert (finding.severity, finding.check) == (Severity.DANGER, "control-planes")
    assert f"but {said}, and may have one; no cluster was created" in finding.found
    assert finding.cure == "make it reachable, or take it out of the inventory"
    assert findings(found, MEMBER, MEMBER) == []


@pytest.mark.parametrize("members", [VOTERS, None])
def test_control_planes_of_two_clusters_are_a_danger(members: ClusterMembersState | None) -> None:
    found = findings(MEMBER, of_another_cluster(MEMBER), MEMBER, members=members)
    assert [(each.severity, each.check) for each in found] == [(Severity.DANGER, "control-planes")]
    assert f"a, c (CA {fingerprint(OURS)}); b (CA {fingerprint(OTHERS)})" in found[0].found
    assert found[0].cure == "take those of other clusters out of the inventory"
    assert unwaived(found, waived=("control-planes",)) == tuple(found)


def lacking(*names: str, backups: dict[str, str] | None = None) -> KubeadmNodeState:
    files = MEMBER.files - {f"manifests/{name}.yaml" for name in names}
    return dataclasses.replace(MEMBER, files=files, backups=backups or {}, api="not ready: etcd")


@pytest.mark.parametrize("members", [VOTERS, None])
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_without_a_backup_is_a_danger_before_any_api_is_asked(
    name: str, members: ClusterMembersState | None
) -> None:
    (finding,) = findings(MEMBER, lacking(name), MEMBER, members=members)
    assert (finding.severity, finding.check, finding.host) == (Severity.DANGER, "manifests", B.host)
    assert f"/etc/kubernetes/manifests/{name}.yaml is missing" in finding.found
    phase = "etcd local" if name == "etcd" else f"control-plane {name.removeprefix('kube-')}"
    assert f"'kubeadm init phase {phase}'" in finding.cure
    assert "kubeadm reset" not in finding.words


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_with_a_backup_is_only_told(name: str) -> None:
    backup = f"/etc/kubernetes/tmp/kubeadm-backup-manifests-1/{name}.yaml"
    (finding,) = findings(lacking(name, backups={name: backup}), MEMBER, MEMBER)
    assert (finding.severity, finding.check, finding.host) == (Severity.DOUBT, "manifests", A.host)
    assert backup in finding.found
    assert finding.cure == "deploys/cluster.py puts it back"


def test_a_machine_without_a_cluster_needs_no_manifests() -> None:
    began = dataclasses.replace(HALF, files=frozenset({"admin.conf", "pki/ca.key", "pki/etcd/ca.crt"}))
    assert findings(MEMBER, HALF, began) == []


OWN = Election(leader=A.host, exists=True, healthy=(A,), ca_certificate=OURS, cluster_name="shop")


def ownership(
    election: Election = OWN, *, cluster_name: str = "shop", kubeconfig_ca: str | None = None
) -> list[Finding]:
    return list(
        ownership_findings(
            election=election,
            cluster_name=cluster_name,
            kubeconfig="shop.kubeconfig",
            kubeconfig_ca=kubeconfig_ca,
        )
    )


def test_the_cluster_that_the_operator_means_has_no_findings() -> None:
    assert ownership() == []
    assert ownership(kubeconfig_ca=f"{OURS}\n") == []
    # Without admin.conf it has no name to compare.
    assert ownership(dataclasses.replace(OWN, cluster_name="")) == []
    # Before there is a cluster, nothing is another one's.
    assert ownership(Election(leader=A.host, exists=False), kubeconfig_ca=OTHERS) == []


def test_a_cluster_of_another_name_is_another_cluster() -> None:
    (finding,) = ownership(cluster_name="staging")
    assert (finding.severity, finding.check) == (Severity.DANGER, "another-cluster")
    assert "cluster_name is 'staging', but" in finding.found and "is called 'shop'" in finding.found
    assert unwaived([finding], waived=("another-cluster",)) == (finding,)


def test_a_cluster_with_another_ca_than_the_operators_kubeconfig_is_another_cluster() -> None:
    (finding,) = ownership(kubeconfig_ca=OTHERS)
    assert (finding.severity, finding.check) == (Severity.DANGER, "another-cluster")
    for words in ("shop.kubeconfig", fingerprint(OURS), fingerprint(OTHERS)):
        assert words in finding.found


def test_a_cluster_that_does_not_answer_is_compared_all_the_same() -> None:
    silent = dataclasses.replace(OWN, healthy=(), problem="no API server answers")
    assert len(ownership(silent, cluster_name="staging", kubeconfig_ca=OTHERS)) == 2
