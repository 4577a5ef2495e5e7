"""Releases and cgroups: an upgrade of a part of the cluster, and kubelets that would not run."""

import dataclasses
from typing import Any

import pytest

from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.findings import Severity, errors_of
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from tests.support.cluster_settings import answer, settings_of
from tests.support.preflight_machines import (
    CLUSTER,
    CONTROL_PLANE,
    CP,
    MEMBER,
    VOTE,
    W1,
    W2,
    findings,
)

SETTINGS = settings_of(answer())


V1 = frozenset({"cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"})


TOLERATED: dict[str, Any] = {
    "kubelet_configuration": {"failCgroupV1": False},
    "ignore_preflight_errors": ["SystemVerification"],
}


ERROR, WARNING, FINE = Severity.ERROR, Severity.WARNING, None


@pytest.mark.parametrize(
    ("wanted", "api", "kubelet", "expected"),
    [
        ("1.36.3", "1.36.1", "1.36.3-1.1", []),
        ("1.36.3", "1.36.1", "1.33.1-1.1", []),
        ("1.36.3", "1.36.1", "1.32.9-1.1", ["w-1's kubelet"]),
        ("1.36.3", "1.35.4", "1.35.4-1.1", ["cluster"]),
        ("1.35.4", "1.36.3", "1.36.3-1.1", ["cluster"]),
        ("1.36.3", "1.36.3", "1.37.0-1.1", ["w-1's kubelet"]),
        ("1.36.3", "", "1.30.0-1.1", []),
        ("1.36.3", "1.36.3", "", []),
    ],
)
def test_releases_have_to_be_compatible(wanted: str, api: str, kubelet: str, expected: list[str]) -> None:
    found = findings(
        {CP: {"api_server": api}, W1: {"kubelet": kubelet}}, kubeadm=CLUSTER, kubernetes_version=wanted
    )
    assert {finding.check for finding in found} <= {"kubernetes-version"}
    assert [{"": "cluster", W1.host: "w-1's kubelet"}[finding.host] for finding in found] == expected
    assert errors_of(found) == list(found)
    if "cluster" in expected:
        assert f"have Kubernetes {api}, and its configuration says {wanted}" in found[0].found
        assert "finish the upgrade" in found[0].fix


def test_checks_of_releases_cannot_be_skipped() -> None:
    with pytest.raises(InputError, match="'kubernetes-version', which cannot be skipped"):
        ClusterOptions(skip_preflight_checks=("kubernetes-version",))


def test_an_upgrade_of_only_one_control_plane_is_an_error() -> None:
    other = Node(host="@x/cp-2", name="cp-2", ip="10.0.0.5", address="10.0.0.5")
    (finding,) = findings(
        {CP: {"api_server": "1.36.3"}, other: {"api_server": "1.35.4"}},
        kubeadm={CP: CONTROL_PLANE, other: CONTROL_PLANE},
        topology=Topology(control_planes=(CP, other), workers=()),
        members=ClusterMembersState(
            etcd=(VOTE, EtcdMember(id="2", name=other.name, peer_ip=other.ip)),
            nodes={node.name: RegisteredNode(machine_id="") for node in (CP, other)},
        ),
    )
    assert (finding.check, finding.severity) == ("kubernetes-version", ERROR)
    assert "have Kubernetes 1.35.4, 1.36.3" in finding.found


@pytest.mark.parametrize(
    ("kubelet", "severity"),
    [({}, ERROR), ({"failCgroupV1": True}, ERROR), ({"failCgroupV1": False}, None)],
)
def test_a_node_is_not_upgraded_to_a_kubelet_that_refuses_its_cgroups(
    kubelet: dict[str, Any], severity: Severity | None
) -> None:
    settings = dataclasses.replace(SETTINGS, kubelet=kubelet)
    found = findings({W1: {"cgroup": 1, "controllers": V1}}, kubeadm=CLUSTER, settings=settings)
    assert [(finding.check, finding.severity, finding.host) for finding in found] == (
        [("cgroups", severity, W1.host)] if severity else []
    )


def test_for_a_new_node_the_clusters_kubelet_configuration_counts() -> None:
    kubeadm = {CP: CONTROL_PLANE, W2: MEMBER}
    found = findings({W1: {"cgroup": 1, "controllers": V1}}, kubeadm=kubeadm, settings=SETTINGS, **TOLERATED)
    assert [(finding.check, finding.severity) for finding in found] == [("cgroups", ERROR)]


def test_a_member_without_a_cgroup_controller_is_a_warning() -> None:
    found = findings({W1: {"controllers": frozenset({"cpu", "cpuset", "pids"})}}, kubeadm=CLUSTER)
    assert [(finding.check, finding.severity) for finding in found] == [("cgroups", WARNING)]


def test_packages_of_a_machine_that_is_not_a_node_do_not_matter() -> None:
    kubeadm = {CP: CONTROL_PLANE, W2: MEMBER}
    assert findings({CP: {"api_server": "1.37.2"}, W1: {"kubelet": "1.38.0-1.1"}}, kubeadm=kubeadm) == ()
