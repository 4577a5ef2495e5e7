"""When control planes and workloads are whole, from what was read."""

from dataclasses import replace

import pytest

from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.node_status import EtcdStatusState
from kubeadm_deploys.facts.upgrade_state import WholeWorkloads
from kubeadm_deploys.lifecycle.upgrade_gates import PlaneReadings, unhealthy
from tests.lifecycle.test_upgrade_plan import CP2, LARGE, readings

SERVES = KubeadmNodeState(
    api="ok",
    files=frozenset(
        f"manifests/{name}.yaml"
        for name in ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
    ),
)
OK = PlaneReadings(
    kubeadm=SERVES,
    etcd=EtcdStatusState(version="3.6.8", leader=False, has_leader=True),
)
MEMBERS = readings(LARGE).members.etcd
ALL = frozenset(member.peer_ip for member in MEMBERS)


@pytest.mark.parametrize(
    ("plane", "healthy", "reason"),
    [
        (OK, ALL - {CP2.ip}, "etcd: cp-2 does not answer"),
        (
            replace(OK, kubeadm=replace(SERVES, api="not ready: etcd")),
            ALL,
            "cp-2: its API server is not ready",
        ),
        (
            replace(OK, kubeadm=replace(SERVES, files=frozenset())),
            ALL,
            "cp-2: lacks the manifest of etcd",
        ),
        (
            replace(OK, etcd=EtcdStatusState(version="", leader=False, has_leader=True, errors=("NOSPACE",))),
            ALL,
            "cp-2: etcd reports NOSPACE",
        ),
        (
            replace(OK, etcd=EtcdStatusState(version="", leader=False, has_leader=False)),
            ALL,
            "cp-2: its etcd member has no leader",
        ),
    ],
)
def test_every_member_and_every_api_server_must_be_well(
    plane: PlaneReadings, healthy: frozenset[str], reason: str
) -> None:
    whole = {each.host: OK for each in LARGE.control_planes}
    assert unhealthy(LARGE, planes=whole, members=MEMBERS, healthy=ALL) == []
    reasons = unhealthy(LARGE, planes={**whole, CP2.host: plane}, members=MEMBERS, healthy=healthy)
    assert any(each.startswith(reason) for each in reasons), reasons


def test_workloads_are_whole_when_all_wanted_pods_are_available() -> None:
    lines = ["Deployment|a/b|2|2", "Deployment|a/none|0|", "DaemonSet|a/c|3|2", "StatefulSet|a/d|1|"]
    assert WholeWorkloads().process(lines) == {
        "deployment a/b": True,
        "deployment a/none": True,
        "daemonset a/c": False,
        "statefulset a/d": False,
    }
