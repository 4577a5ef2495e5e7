"""Machines that may not join, each with the reason."""

import dataclasses

import pytest

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.cluster.membership import join_findings, join_refusal, membership_state
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState
from kubeadm_deploys.model.findings import Severity
from kubeadm_deploys.model.nodes import Node, Topology
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
    of_another_cluster,
    registered,
    voter,
)
from tests.support.memberships import NODES, NOT_READY, VOTERS, cluster, without

ENDPOINT = "api.kubernetes.internal"


def refusal(
    found: KubeadmNodeState,
    *,
    node: Node = W,
    topology: Topology = TOPOLOGY,
    exists: bool = True,
    members: ClusterMembersState | None,
) -> str:
    api_leader = ApiLeader(leader=A.host, exists=exists, ca_certificate=OURS if exists else "")
    return join_refusal(
        topology, node=node, found=found, api_leader=api_leader, members=members, endpoint=ENDPOINT
    )


NO_MEMBERS = ClusterMembersState()


def test_bare_machines_and_members_are_not_refused() -> None:
    assert refusal(ABSENT, members=without(W)) == ""
    assert refusal(ABSENT, exists=False, members=NO_MEMBERS) == ""
    assert refusal(PARTIAL, node=C, members=without(C, etcd=(voter(A), voter(B)))) == ""
    assert refusal(WORKER, members=cluster(W)) == ""
    assert refusal(made_anew(WORKER), members=cluster(W)) == ""
    assert refusal(MEMBER, node=C, members=cluster(C)) == ""
    assert refusal(made_anew(MEMBER), node=C, members=cluster(C)) == ""
    assert refusal(PARTIAL, node=A, exists=False, members=NO_MEMBERS) == ""


@pytest.mark.parametrize(("found", "node"), [(WORKER, W), (MEMBER, C), (PARTIAL, W)])
def test_nodes_of_other_clusters_are_refused(found: KubeadmNodeState, node: Node) -> None:
    for members in (cluster(node), without(node), None):
        reason = refusal(of_another_cluster(found), node=node, members=members)
        assert reason.startswith("is a node of another cluster")
        assert "kubeadm reset" not in reason


def test_a_worker_with_a_clusters_files_is_refused_without_a_cluster() -> None:
    for found in (WORKER, PARTIAL, of_another_cluster(WORKER)):
        assert "none of the inventory's control planes has a cluster" in refusal(
            found, exists=False, members=NO_MEMBERS
        )


def test_data_of_another_etcd_is_refused() -> None:
    etcd = KubeadmNodeState(files=frozenset({"etcd"}), machine_id="m")
    assert "has etcd data in /var/lib/etcd" in refusal(etcd, node=C, members=cluster(C))
    assert "has etcd data in /var/lib/etcd" in refusal(etcd, exists=False, members=NO_MEMBERS)
    assert "has etcd data in /var/lib/etcd" in refusal(etcd, members=None)


def test_a_changed_role_is_refused() -> None:
    swapped = Topology(control_planes=(A, B, W), workers=(C,))
    assert "is a worker of the cluster" in refusal(
        WORKER, topology=swapped, members=cluster(W, etcd=(voter(A), voter(B)))
    )
    assert "is a control plane of the cluster" in refusal(
        MEMBER, node=C, topology=swapped, members=cluster(C)
    )


@pytest.mark.parametrize("found", [ABSENT, PARTIAL, WORKER])
def test_a_name_of_another_machine_is_refused(found: KubeadmNodeState) -> None:
    reason = refusal(found, members=cluster(W, found=registered(machine_id="other")))
    assert "node_name 'w' already belongs to another machine" in reason


def test_a_machine_without_a_machine_id_is_refused_for_that() -> None:
    nameless = dataclasses.replace(WORKER, machine_id="")
    assert refusal(nameless, members=cluster(W)).startswith("has no machine ID in /etc/machine-id")


@pytest.mark.parametrize("node", [W, C])
def test_a_ready_node_without_kubeadms_files_is_refused(node: Node) -> None:
    members = cluster(node, etcd=(voter(A), voter(B)))
    assert refusal(ABSENT, node=node, members=members).startswith(
        f"is node {node.name} of the cluster, which is Ready, but its kubeadm files are gone"
    )
    gone = cluster(node, etcd=(voter(A), voter(B)), found=NOT_READY)
    assert refusal(ABSENT, node=node, members=gone) == ""


def test_a_renamed_node_is_refused_and_not_cleaned() -> None:
    renamed = dataclasses.replace(W, name="worker-1")
    topology = Topology(control_planes=(A, B, C), workers=(renamed,))
    reason = refusal(WORKER, node=renamed, topology=topology, members=cluster(W))
    assert reason.startswith("is node w of the cluster (same machine ID)") and "worker-1" in reason
    assert "set node_name to w" in reason
    # Only certificates may be left of a node.
    certificate = KubeadmNodeState(ca_certificate=OURS, machine_id="m")
    assert "set node_name to w" in refusal(certificate, node=renamed, topology=topology, members=cluster(W))
    # An unknown machine ID matches no node.
    nameless, nodes = dataclasses.replace(WORKER, machine_id=""), {"w": registered(machine_id="")}
    unknown = ClusterMembersState(etcd=VOTERS, nodes=nodes)
    assert refusal(nameless, node=renamed, topology=topology, members=unknown) == ""
    # The check of machine IDs reports a bare machine that was created from the same image.
    assert refusal(ABSENT, node=renamed, topology=topology, members=cluster(W)) == ""


@pytest.mark.parametrize(
    ("vote", "problem"),
    [
        (
            voter(C, ip="192.168.0.3"),
            "etcd has the member c at 192.168.0.3, but the inventory has c at 10.0.0.3",
        ),
        (voter(C, name="old"), "etcd has the member old at 10.0.0.3, but the inventory has c at 10.0.0.3"),
    ],
)
@pytest.mark.parametrize("found", [ABSENT, PARTIAL, MEMBER])
def test_a_vote_with_another_name_or_address_is_refused(
    vote: EtcdMember, problem: str, found: KubeadmNodeState
) -> None:
    members = cluster(C, etcd=(voter(A), voter(B), vote))
    api_leader = ApiLeader(leader=A.host, exists=True, ca_certificate=OURS)
    first, *_ = join_findings(
        TOPOLOGY, node=C, found=found, api_leader=api_leader, members=members, endpoint=ENDPOINT
    )
    assert (first.check, first.severity) == ("node-name", Severity.ERROR)
    assert first.found.startswith(problem)


@pytest.mark.parametrize("found", [WORKER, made_anew(WORKER)])
def test_a_ready_worker_in_the_control_plane_group_is_refused_and_not_cleaned(
    found: KubeadmNodeState,
) -> None:
    members = cluster(C, etcd=(voter(A), voter(B)))
    state = membership_state(found, node=C, control_plane=True, cluster_ca=OURS, members=members)
    assert state is NodeState.MEMBER
    assert "is a worker of the cluster and cannot become a control plane" in refusal(
        found, node=C, members=members
    )


def test_a_control_plane_without_its_etcd_data_is_refused() -> None:
    lost = dataclasses.replace(MEMBER, files=MEMBER.files - {"etcd"})
    assert "has a vote in etcd, but no etcd data in /var/lib/etcd" in refusal(
        lost, node=C, members=cluster(C)
    )


@pytest.mark.parametrize("found", [PARTIAL, WORKER])
@pytest.mark.parametrize("members", [cluster(C), without(C)])
def test_a_voter_without_its_files_is_not_called_a_worker(
    found: KubeadmNodeState, members: ClusterMembersState
) -> None:
    reason = refusal(found, node=C, members=members)
    assert reason.startswith("has a vote in etcd, but no etcd data in /var/lib/etcd")
    assert "worker" not in reason


@pytest.mark.parametrize("found", [PARTIAL, WORKER, MEMBER])
def test_a_voter_is_not_a_worker_whatever_its_files(found: KubeadmNodeState) -> None:
    members = ClusterMembersState(etcd=(*VOTERS, voter(W)), nodes=NODES | {"w": registered()})
    api_leader = ApiLeader(leader=A.host, exists=True, ca_certificate=OURS)
    *_, last = join_findings(
        TOPOLOGY, node=W, found=found, api_leader=api_leader, members=members, endpoint=ENDPOINT
    )
    assert last.found.startswith("is a control plane of the cluster and cannot become a worker")


def test_an_api_server_with_its_own_etcd_is_refused_and_not_cleaned() -> None:
    members = cluster(C, etcd=(voter(A), voter(B)))
    assert (
        membership_state(MEMBER, node=C, control_plane=True, cluster_ca=OURS, members=members)
        is NodeState.MEMBER
    )
    assert "it has its own etcd" in refusal(MEMBER, node=C, members=members)
    # Its init stopped before kubeadm labelled the node.
    members = cluster(C, etcd=(voter(A), voter(B)), found=registered())
    api_leader = ApiLeader(leader=A.host, exists=True, ca_certificate=OURS)
    (finding,) = join_findings(
        TOPOLOGY, node=C, found=MEMBER, api_leader=api_leader, members=members, endpoint=ENDPOINT
    )
    assert finding.check == "control-planes"


@pytest.mark.parametrize(
    ("server", "refused"),
    [
        ("https://api.other.internal:6443", True),
        (f"https://{ENDPOINT}:6443", False),
        (f"https://{A.ip}:6443", False),
        ("", False),
    ],
)
def test_without_a_certificate_the_api_servers_name_identifies_the_cluster(
    server: str, refused: bool
) -> None:
    found = KubeadmNodeState(files=frozenset({"kubelet.conf"}), server=server, machine_id="m")
    assert ("its kubelet belongs to the cluster at" in refusal(found, members=without(W))) is refused


def test_a_worker_with_copied_control_plane_files_is_a_worker() -> None:
    copied = dataclasses.replace(WORKER, files=WORKER.files | {"admin.conf", "pki/etcd/ca.crt"})
    assert copied.is_control_plane
    assert refusal(copied, members=cluster(W)) == ""
