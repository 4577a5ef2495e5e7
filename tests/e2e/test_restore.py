"""A cluster is restored from a backup: first on its own machine, then on one with another name and address.

The tests run in the order of the cluster's life and share it. Meanwhile a client requests a workload on the worker
all the time, which needs no API.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import etcd
from tests.e2e.conftest import ROOT, Cluster, docker_hosts
from tests.e2e.recovery import CORE, await_on, ended, output, power_cut
from tests.e2e.requester import APPLICATION, Requester, deploy, requester
from tests.e2e.restoring import PASSPHRASE, back_up_between_writes, etcd_cluster, restore, started, written
from tests.lab import hosts
from tests.lab.docker import docker
from tests.support.disaster_page import ALL_CONTROL_PLANES, MAJORITY

RESTORE = ROOT / "deploys/restore.py"
CONTAINERS = "crictl --runtime-endpoint unix:///run/containerd/containerd.sock ps --quiet | sort"

# An etcd with empty data would make a new cluster, and the worker's kubelet would end its pods.
DESTROY = """
for file in /var/lib/etcd/member/wal/*.wal /var/lib/etcd/member/snap/db; do
  head -c 200000 /dev/urandom > "$file"
done
kill -9 $(pidof etcd)
"""


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with docker_hosts("restore", folder=tmp_path_factory.mktemp("restore"), debian=(13,)) as made:
        made.converge()
        deploy(made)
        yield made


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Requester]:
    with requester(cluster, through=cluster.worker) as running:
        running.works_on()
        yield running


@pytest.fixture(scope="module")
def backup(cluster: Cluster) -> Path:
    return back_up_between_writes(cluster)


@pytest.mark.chaos
def test_what_must_not_be_restored_is_refused_before_any_change(
    cluster: Cluster, backup: Path, tmp_path: Path
) -> None:
    damaged = tmp_path / "damaged.backup"
    content = bytearray(backup.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    before = cluster.shell(cluster.control_plane, CONTAINERS)
    for run, words in (
        (cluster.pyinfra("-y", f"--data=backup={backup}", deploy=RESTORE), "confirm: is missing"),
        (restore(cluster, MAJORITY, backup, passphrase="wrong"), "BACKUP_PASSPHRASE is another one"),
        (restore(cluster, MAJORITY, damaged), "is damaged"),
        (restore(cluster, MAJORITY, backup), "the cluster works"),
    ):
        assert run.exit_code == 1
        assert words in run.output and "Traceback" not in run.output, run.output
        assert "Beginning operation run" not in run.output
    assert cluster.shell(cluster.control_plane, CONTAINERS) == before
    assert written(cluster) == set(range(1, 10))


def test_destroyed_data_becomes_exactly_that_of_the_backup(
    cluster: Cluster, client: Requester, backup: Path
) -> None:
    before = etcd_cluster(cluster)
    cluster.shell(cluster.control_plane, DESTROY)
    run = restore(cluster, MAJORITY, backup)
    assert run.exit_code == 0, run.output
    assert PASSPHRASE not in run.output and "PRIVATE KEY" not in run.output
    assert written(cluster) == set(range(1, 6))
    kept = re.findall(r"kept in (/var/lib/etcd/kubeadm-deploys-saved/\w+)", run.output)
    assert cluster.shell(cluster.control_plane, f"ls {kept[-1]}/member") == "snap\nwal"
    # By this, machines of before a restore are recognised.
    assert before and etcd_cluster(cluster) not in ("", before)
    assert "kubeadm-deploys-restore" not in cluster.shell(cluster.control_plane, "ls /etc/kubernetes")
    whole(cluster, client)


def test_a_lost_control_plane_is_restored_on_a_machine_with_another_name_and_address(
    cluster: Cluster, client: Requester, backup: Path
) -> None:
    lost = cluster.control_plane
    hosts.up(cluster=cluster.name, control_planes=2, workers=1, debian=(13,))
    docker("rm", "--force", "--volumes", lost)
    new = cluster.control_plane
    assert new != lost
    run = restore(cluster, ALL_CONTROL_PLANES, backup)
    assert run.exit_code == 0, run.output
    assert f"only in the backup: {lost}; only in the inventory: {new}" in run.output
    assert written(cluster) == set(range(1, 6))
    assert cluster.ready_nodes == sorted([new, cluster.worker])
    whole(cluster, client)
    verified = cluster.verify("-k", CORE)
    assert verified.exit_code == 0, verified.output


@pytest.mark.chaos
def test_a_machine_that_loses_its_power_during_the_restore_is_restored_by_the_next_run(
    cluster: Cluster, client: Requester, backup: Path
) -> None:
    """The machine is new, and kubeadm runs on it when the power is cut."""
    docker("rm", "--force", "--volumes", cluster.control_plane)
    hosts.up(cluster=cluster.name, control_planes=1, workers=1, debian=(13,))
    new = cluster.control_plane
    with started(cluster, ALL_CONTROL_PLANES, backup) as interrupted:
        kubeadm_has_begun = "test -e /etc/kubernetes/manifests/kube-apiserver.yaml"
        await_on(cluster, new, interrupted, what="control plane", reached=kubeadm_has_begun)
        power_cut(cluster, new)
        assert ended(interrupted) == 1, output(cluster)
    refused = cluster.pyinfra("-y")
    assert refused.exit_code == 1
    assert "a restore from a backup has begun and has not ended" in refused.output, refused.output
    run = restore(cluster, ALL_CONTROL_PLANES, backup)
    assert run.exit_code == 0, run.output
    assert written(cluster) == set(range(1, 6))
    whole(cluster, client)


def whole(cluster: Cluster, client: Requester) -> None:
    """Assert that controllers see changes, that cluster.py finds nothing to do, and that no request failed."""
    cluster.kubectl("scale", f"deployment/{APPLICATION}", "--replicas=3")
    cluster.kubectl("rollout", "status", f"deployment/{APPLICATION}", "--timeout=60s")
    assert etcd.voters(cluster) == [cluster.control_plane]
    assert cluster.converge().changed == []
    client.works_on()
    assert client.failures() == []
