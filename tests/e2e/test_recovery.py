"""Runs that are killed after every change: the next run continues, and the result is a working cluster.

The controller is killed after every change. In `make chaos` the changed machine also loses its power, after
every change or every second one, but once per change.
"""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubeadm_deploys.model.artifacts import KUBERNETES_VERSION
from tests.e2e.conftest import Cluster, docker_hosts
from tests.e2e.recovery import CORE, await_on, ended, output, power_cut, start
from tests.lab import containers, hosts

_MOST_RUNS = 120

_CUT = "/etc/kubernetes/tmp/cut"
"""Marks the remains of a power cut until a run cleans them away."""

CONTROL_PLANE_STAGES = {
    "certificates": "test -e /etc/kubernetes/pki/ca.crt",
    "etcd's manifest": "test -e /etc/kubernetes/manifests/etcd.yaml",
    "kubelet's configuration": "test -e /var/lib/kubelet/config.yaml",
    "data of etcd": "test -e /var/lib/etcd/member/wal",
    "an API that answers": (
        "systemctl is-active --quiet kubeadm-deploys-kubeadm && "
        "curl --insecure --silent https://127.0.0.1:6443/readyz | grep -qx ok"
    ),
    # kubeadm makes it readable for joins right afterwards.
    "cluster-info": (
        "kubectl --kubeconfig /etc/kubernetes/super-admin.conf --namespace kube-public get configmap cluster-info"
    ),
    "add-ons": "grep -qs kubelet-client-current /etc/kubernetes/kubelet.conf",
}
WORKER_STAGES = {
    "bootstrap kubeconfig": "test -e /etc/kubernetes/bootstrap-kubelet.conf",
    "kubelet's configuration": "test -e /var/lib/kubelet/config.yaml",
    "kubelet's certificate": "test -e /var/lib/kubelet/pki/kubelet-client-current.pem",
}


_FREEZE = """
sleep 600 > /dev/null 2>&1 &
if [ -d /sys/fs/cgroup/freezer ]
then group=/sys/fs/cgroup/freezer/frozen file=freezer.state state=FROZEN
else group=/sys/fs/cgroup/frozen file=cgroup.freeze state=1
fi
mkdir --parents $group && echo $! > $group/cgroup.procs && echo $state > $group/$file
"""


@dataclass(frozen=True)
class Change:
    """A host that an operation has changed."""

    operation: str
    host: str


@pytest.fixture
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start bare hosts for one control plane and one worker."""
    with docker_hosts("recovery", folder=tmp_path_factory.mktemp("recovery"), debian=(12,)) as made:
        yield made


@pytest.mark.parametrize(
    ("every", "first"),
    [
        pytest.param(0, 0, id="controller"),
        pytest.param(2, 0, id="controller, and every second time the machine", marks=pytest.mark.chaos),
        pytest.param(1, 0, id="controller and machine", marks=pytest.mark.chaos),
    ],
)
def test_a_run_killed_after_each_of_its_changes_is_finished_by_the_next_ones(
    cluster: Cluster, every: int, first: int, record_property: Callable[[str, object], None]
) -> None:
    changes = killed_after_each_change(cluster, machine_every=every, first=first)
    operations = [change.operation for change in changes]
    for operation in (
        f"Kubernetes packages | Install kubelet, kubeadm and kubectl {KUBERNETES_VERSION}",
        "Control plane | Create the control plane",
        "CNI | Apply Calico",
        "Joining | Join the cluster",
    ):
        assert operation in operations
    record_property(
        "measured", f"killed after {len(changes)} changes by {len(set(operations))} different operations"
    )
    assert_cluster_works(cluster)


def test_a_cluster_recovers_from_power_cuts_in_the_middle_of_kubeadm(
    lab: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("stages")
    with docker_hosts("stages", folder=folder, workers=len(WORKER_STAGES), debian=(12,)) as cluster:
        for stage, reached in CONTROL_PLANE_STAGES.items():
            # A run first cleans up what an earlier one left, so only new files count; but never data of etcd,
            # from which kubeadm continues.
            new = f"{{ test ! -e {_CUT} || test -e /var/lib/etcd/member/wal; }}"
            host = cluster.control_plane
            with start(cluster) as run:
                await_on(cluster, host, run, what=stage, reached=f"{new} && {reached}")
                power_cut(cluster, host)
            cluster.shell(host, f"mkdir -p $(dirname {_CUT}) && touch {_CUT}")
        cut_power_of_workers(cluster)
        converge_beside_kubelets(cluster)
        assert cluster.ready_nodes == sorted(host.name for host in cluster.hosts)
        assert_cluster_works(cluster)


def cut_power_of_workers(cluster: Cluster) -> None:
    """Have all workers join at once, cut the power of each at a different stage, and start them again."""
    workers = [host.name for host in cluster.hosts if host.group == "workers"]
    with start(cluster) as run, ThreadPoolExecutor() as pool:

        def cut(host: str, stage: str) -> None:
            await_on(cluster, host, run, what=stage, reached=WORKER_STAGES[stage])
            containers.kill(host)

        for _ in pool.map(cut, workers, WORKER_STAGES):
            pass
    hosts.up(cluster=cluster.name, control_planes=0, workers=0)


def converge_beside_kubelets(cluster: Cluster) -> None:
    """Run cluster.py, and once more if a kubelet has joined by itself while the first run was prepared.

    A kubelet that kubeadm had given its bootstrap kubeconfig before the power cut finishes the join after it.
    """
    first = cluster.pyinfra("-y")
    if first.exit_code != 0:
        assert "machines have changed since this run was prepared" in first.output, first.output
        assert "kubelet flags" in first.output, first.output
        cluster.converge()


@pytest.mark.chaos
def test_a_machine_with_a_frozen_process_can_be_killed_and_restarted(
    lab: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """runc freezes every container that it makes for a moment. Part of `make chaos`: it tests the lab, not the package."""
    folder = tmp_path_factory.mktemp("frozen")
    with docker_hosts("frozen", folder=folder, workers=0, takes=0, debian=(12,)) as cluster:
        cluster.shell(cluster.control_plane, _FREEZE)
        power_cut(cluster, cluster.control_plane)
        assert cluster.shell(cluster.control_plane, "pgrep --count --exact sleep; true") == "0"
        cluster.shell(cluster.control_plane, _FREEZE)
        hosts.restart(cluster=cluster.name)
        assert cluster.shell(cluster.control_plane, "pgrep --count --exact sleep; true") == "0"
        # The removal must work with a frozen process too.
        cluster.shell(cluster.control_plane, _FREEZE)
    assert cluster.hosts == []


def assert_cluster_works(cluster: Cluster) -> None:
    """Assert that a run changes nothing, and that the verification passes."""
    assert cluster.converge().changed == []
    verified = cluster.verify("-k", CORE)
    assert verified.exit_code == 0, verified.output


def killed_after_each_change(cluster: Cluster, *, machine_every: int, first: int) -> list[Change]:
    """Run cluster.py until a run changes nothing; kill each run as soon as it has changed one host.

    With every ``machine_every``-th change, from number ``first`` on, the machine also loses its power and
    restarts; 0 means never. This happens once per change: images are pulled in the background, and would
    never be complete if every new pull was cut off.
    """
    record = cluster.folder / "changes.jsonl"
    killer = (sys.executable, "-m", "tests.chaos.killer", str(record), "1")
    cut: set[Change] = set()
    for number in range(_MOST_RUNS):
        with start(cluster, program=killer) as run:
            exit_code = ended(run)
        if exit_code == 1 and "no changes were made; run it again" in output(cluster):
            # A command of the killed run was still running while this run was prepared, as the error says.
            continue
        if exit_code != -signal.SIGKILL:
            assert exit_code == 0, output(cluster)
            return read(record)
        change = read(record)[-1]
        if machine_every and number % machine_every == first and change not in cut:
            cut.add(change)
            power_cut(cluster, change.host.removeprefix("@docker/"))
    raise AssertionError(f"run {_MOST_RUNS} still changed a host: {read(record)[-5:]}")


def read(record: Path) -> list[Change]:
    return [Change(**json.loads(line)) for line in record.read_text().splitlines()]
