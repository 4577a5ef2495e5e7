"""Deciding what kubeadm does on a machine."""

import pytest

from kubeadm_deploys.cluster.api_leader import ApiLeader, choose_leader
from kubeadm_deploys.cluster.kubeadm_steps import (
    InitStep,
    JoinStep,
    finish_refusal,
    init_step,
    join_step,
    remaining_phases,
)
from kubeadm_deploys.cluster.membership import join_findings
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.model.findings import Severity
from kubeadm_deploys.model.nodes import Node
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
    made_anew,
    not_read,
    voter,
)

NO_CLUSTER = ApiLeader(leader=A.host, exists=False)


VOTER_B = ClusterMembersState(etcd=(voter(B),))


def joining(
    found: KubeadmNodeState, *, node: Node, members: ClusterMembersState | None = VOTER_B
) -> JoinStep:
    return join_step(
        TOPOLOGY,
        node=node,
        found=found,
        api_leader=ApiLeader(leader=A.host, exists=True, ca_certificate=OURS),
        members=members,
        endpoint="api.kubernetes.internal",
    )


def test_a_cluster_is_created_and_a_partial_init_is_cleaned_first() -> None:
    assert init_step(ABSENT, api_leader=NO_CLUSTER) == InitStep()
    assert init_step(PARTIAL, api_leader=NO_CLUSTER) == InitStep(clean=True)


def test_no_cluster_is_created_if_one_has_appeared() -> None:
    assert "has cluster data" in init_step(MEMBER, api_leader=NO_CLUSTER).refusal
    stored_nothing = ApiLeader(leader=A.host, exists=False, stored_nothing=True)
    assert init_step(MEMBER, api_leader=stored_nothing) == InitStep(clean=True)


def test_no_cluster_is_created_beside_an_unread_control_plane() -> None:
    found = {node.host: ABSENT for node in TOPOLOGY.control_planes}
    api_leader = choose_leader(TOPOLOGY, found={**found, B.host: not_read(B)}, able=frozenset(found))
    assert init_step(ABSENT, api_leader=api_leader).refusal == api_leader.problem != ""


@pytest.mark.parametrize(
    "found", [WORKER, made_anew(WORKER), KubeadmNodeState(files=frozenset({"kubelet.conf"}))]
)
def test_no_cluster_is_created_on_a_worker_of_another_cluster(found: KubeadmNodeState) -> None:
    assert "has the files of a cluster, but none of" in init_step(found, api_leader=NO_CLUSTER).refusal
    (finding,) = join_findings(
        TOPOLOGY,
        node=A,
        found=found,
        api_leader=NO_CLUSTER,
        members=ClusterMembersState(),
        endpoint="api.kubernetes.internal",
    )
    assert (finding.check, finding.severity) == ("another-cluster", Severity.ERROR)


@pytest.mark.parametrize(
    ("found", "node", "step"),
    [
        (ABSENT, C, JoinStep()),
        (PARTIAL, C, JoinStep(clean=True)),
        (MEMBER, B, JoinStep(member=True)),
        (WORKER, W, JoinStep(clean=True)),
    ],
)
def test_a_machine_is_joined_or_cleaned_first_or_left_alone(
    found: KubeadmNodeState, node: Node, step: JoinStep
) -> None:
    assert joining(found, node=node) == step


def test_machines_that_must_not_join_are_refused() -> None:
    assert joining(MEMBER, node=W).refusal.startswith("its API server answers, but it is not a member")
    assert joining(WORKER, node=W, members=None).refusal.startswith("the cluster's API does not answer, so")
    assert joining(PARTIAL, node=A).refusal.startswith(
        "is the cluster's leader, but the cluster does not count"
    )
    assert joining(ABSENT, node=A).refusal.startswith(
        "is the cluster's leader, but its kubeadm files are gone"
    )


def test_the_last_phases_of_init_run_alone() -> None:
    assert remaining_phases(["coredns"], has_joined=False) == (("addon", "coredns"),)
    both = (("addon", "kube-proxy"), ("addon", "coredns"))
    assert remaining_phases(["coredns", "kube-proxy"], has_joined=True) == both
    assert remaining_phases(["coredns", "kube-proxy"], has_joined=False) == (
        ("kubelet-finalize", "all"),
        *both,
    )
    assert remaining_phases(["kubeadm-config", "coredns"], has_joined=False) is None


def test_init_is_not_repeated_in_a_cluster_with_other_nodes() -> None:
    assert finish_refusal(["kubeadm-config"], others=[]) == ""
    refusal = finish_refusal(["kubeadm-config"], others=["w-2", "w-1"])
    assert "kubeadm-config missing" in refusal and "the nodes w-1, w-2;" in refusal
