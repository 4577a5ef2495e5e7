"""What a status report reads of machines, of etcd and of the API."""

import base64
import json
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.facts.node_status import (
    EtcdStatus,
    EtcdStatusState,
    HostStatus,
    NodeStatuses,
    NodeStatusState,
)
from kubeadm_deploys.scripts import text
from tests.support.certificates import Authority


def test_the_script_reads_a_machine_without_kubernetes() -> None:
    done = subprocess.run(["sh", "-c", text("read-status")], capture_output=True, text=True, check=True)
    found = HostStatus().process(done.stdout.splitlines())
    assert found.os and found.kernel == Path("/proc/sys/kernel/osrelease").read_text().strip()


def test_certificates_have_their_validity() -> None:
    authority = Authority()
    leaf = base64.b64encode(authority.issue("apiserver").encode()).decode()
    ca = base64.b64encode(authority.certificate.encode()).decode()
    found = HostStatus().process(
        [
            "os Debian",
            "reboot packages ask for it",
            f"certificate:pki/ca.crt {ca}",
            f"certificate:admin.conf {leaf}",
        ]
    )
    assert found.reboot == "packages ask for it"
    assert [(one.path, one.ca) for one in found.certificates] == [("pki/ca.crt", True), ("admin.conf", False)]
    assert all(one.begins < one.ends for one in found.certificates)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        # As etcd 3.7.0 prints it; empty and false values are omitted.
        (
            {"leader": 7, "dbSize": 2875392, "dbSizeQuota": 2147483648},
            EtcdStatusState(
                version="3.7.0", leader=True, has_leader=True, database=2875392, quota=2147483648
            ),
        ),
        (
            {"leader": 8, "isLearner": True, "errors": ["memberID:7 alarm:NOSPACE "]},
            EtcdStatusState(
                version="3.7.0",
                leader=False,
                has_leader=True,
                learner=True,
                errors=("memberID:7 alarm:NOSPACE ",),
            ),
        ),
        (
            {"errors": ["etcdserver: no leader"]},
            EtcdStatusState(
                version="3.7.0", leader=False, has_leader=False, errors=("etcdserver: no leader",)
            ),
        ),
    ],
)
def test_the_status_of_an_etcd_member(status: dict[str, object], state: EtcdStatusState) -> None:
    answer = [
        {
            "Endpoint": "https://127.0.0.1:2379",
            "Status": {"header": {"member_id": 7}, "version": "3.7.0", **status},
        }
    ]
    assert EtcdStatus().process([json.dumps(answer)]) == state


def test_the_nodes_of_the_api() -> None:
    item = {
        "metadata": {"name": "cp-1", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": "Unknown"},
            ],
            "nodeInfo": {"kubeletVersion": "v1.37.2", "containerRuntimeVersion": "containerd://2.3.4"},
        },
    }
    assert NodeStatuses().process(json.dumps({"items": [item]}, indent=1).splitlines()) == (
        NodeStatusState(
            name="cp-1",
            control_plane=True,
            ready=False,
            cordoned=True,
            kubelet="1.37.2",
            container_runtime="containerd 2.3.4",
        ),
    )
