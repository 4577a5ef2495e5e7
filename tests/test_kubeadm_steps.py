"""What kubeadm is to do on a machine, decided from what was read."""

import pytest

from kubeadm_deploys.election import Election, elect
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.findings import Severity
from kubeadm_deploys.kubeadm_steps import (
    InitStep,
    JoinStep,
    finish_refusal,
    init_step,
    join_step,
    remaining_phases,
)
from kubeadm_deploys.membership import join_findings
from kubeadm_deploys.nodes import Node
from tests.machines import (
    ABSENT,
    HALF,
    MEMBER,
    OURS,
    TOPOLOGY,
    WORKER,
    A,
    B,
    C,
    W,
    made_anew,
    not_read,
    voter,
)

NO_CLUSTER = Election(leader=A.host, exists=False)


VOTER_B = ClusterMembersState(etcd=(voter(B),))


def joining(
    found: KubeadmNodeState, *, node: Node, members: ClusterMembersState | None = VOTER_B
) -> JoinStep:
    return join_step(
        TOPOLOGY,
        node=node,
        found=found,
        election=Election(leader=A.host, exists=True, ca_certificate=OURS),
        members=members,
        endpoint="api.kubernetes.internal",
    )


def test_a_cluster_is_created_where_there_is_none_and_what_an_init_left_is_removed_before() -> None:
    assert init_step(ABSENT, election=NO_CLUSTER) == InitStep()
    assert init_step(HALF, election=NO_CLUSTER) == InitStep(clean=True)


def test_no_cluster_is_created_where_one_has_appeared() -> None:
    assert "has data of a cluster" in init_step(MEMBER, election=NO_CLUSTER).refusal
    stored_nothing = Election(leader=A.host, exists=False, stored_nothing=True)
    assert init_step(MEMBER, election=stored_nothing) == InitStep(clean=True)


def test_a_section_that_is_called_alone_creates_no_cluster_beside_what_was_not_read() -> None:
    found = {node.host: ABSENT for node in TOPOLOGY.control_planes}
    election = elect(TOPOLOGY, found={**found, B.host: not_read(B)}, able=frozenset(found))
    assert init_step(ABSENT, election=election).refusal == election.problem != ""


@pytest.mark.parametrize(
    "found", [WORKER, made_anew(WORKER), KubeadmNodeState(files=frozenset({"kubelet.conf"}))]
)
def test_no_cluster_is_created_on_a_worker_of_another_one(found: KubeadmNodeState) -> None:
    assert "has the files of a cluster, but none of" in init_step(found, election=NO_CLUSTER).refusal
    (finding,) = join_findings(
        TOPOLOGY,
        node=A,
        found=found,
        election=NO_CLUSTER,
        members=ClusterMembersState(),
        endpoint="api.kubernetes.internal",
    )
    assert (finding.check, finding.severity) == ("another-cluster", Severity.DANGER)


@pytest.mark.parametrize(
    ("found", "node", "step"),
    [
        (ABSENT, C, JoinStep()),
        (HALF, C, JoinStep(clean=True)),
        (MEMBER, B, JoinStep(member=True)),
        (WORKER, W, JoinStep(clean=True)),
    ],
)
def test_a_machine_is_joined_cleaned_before_or_left_alone(
    found: KubeadmNodeState, node: Node, step: JoinStep
) -> None:
    assert joining(found, node=node) == step


def test_what_must_not_be_joined_is_refused() -> None:
    assert joining(MEMBER, node=W).refusal.startswith(
        "its API server answers, and the cluster's etcd does not"
    )
    assert joining(WORKER, node=W, members=None).refusal.startswith("the cluster's API does not answer, so")
    assert joining(HALF, node=A).refusal.startswith("leads the cluster, yet the cluster does not count it")
    assert joining(ABSENT, node=A).refusal.startswith("leads the cluster, yet nothing of kubeadm is on it")


def test_what_an_init_does_last_is_done_alone() -> None:
    assert remaining_phases(["coredns"], has_joined=False) == (("addon", "coredns"),)
    both = (("addon", "kube-proxy"), ("addon", "coredns"))
    assert remaining_phases(["coredns", "kube-proxy"], has_joined=True) == both
    assert remaining_phases(["coredns", "kube-proxy"], has_joined=False) == (
        ("kubelet-finalize", "all"),
        *both,
    )
    assert remaining_phases(["kubeadm-config", "coredns"], has_joined=False) is None


def test_an_init_is_not_done_again_in_a_cluster_that_has_other_nodes() -> None:
    assert finish_refusal(["kubeadm-config"], others=[]) == ""
    said = finish_refusal(["kubeadm-config"], others=["w-2", "w-1"])
    assert "kubeadm-config missing" in said and "the nodes w-1, w-2;" in said
