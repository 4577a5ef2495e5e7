"""Runs that are killed wherever they change something: the next one goes on, and in the end it is a whole cluster.

`make chaos` kills after every change twice, the controller alone and the machine that was changed as well. In CI the
machine goes down after every second change, which alternates by the day. It goes down once for the same change. Of the
moments in the middle of kubeadm two processors take every second one, the others the next day.
"""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubeadm_deploys.artifacts import KUBERNETES_VERSION
from tests.e2e.conftest import Cluster, docker_hosts
from tests.e2e.recovery import CORE, await_on, output, power_cut, start
from tests.e2e.turns import by_turns
from tests.lab import hosts

_MOST_RUNS = 120

_CUT = "/etc/kubernetes/tmp/cut"
"""Marks what a power cut has left, as long as nobody has cleaned it away."""

CONTROL_PLANE_STAGES = {
    "certificates": "test -e /etc/kubernetes/pki/ca.crt",
    "etcd's manifest": "test -e /etc/kubernetes/manifests/etcd.yaml",
    "kubelet's configuration": "test -e /var/lib/kubelet/config.yaml",
    "data of etcd": "test -e /var/lib/etcd/member/wal",
    "an API that answers": (
        "systemctl is-active --quiet kubeadm-deploys-kubeadm && "
        "curl --insecure --silent https://127.0.0.1:6443/readyz | grep -qx ok"
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
    """One control plane and one worker to be."""
    with docker_hosts("recovery", folder=tmp_path_factory.mktemp("recovery"), debian=(12,)) as made:
        yield made


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(0, id="controller", marks=pytest.mark.chaos),
        pytest.param(1, id="controller and machine", marks=pytest.mark.chaos),
        pytest.param(2, id="controller, and every second time the machine"),
    ],
)
def test_a_run_killed_after_each_of_its_changes_is_finished_by_the_next_ones(
    cluster: Cluster, every: int, record_property: Callable[[str, object], None]
) -> None:
    changes = killed_after_each_change(cluster, machine_every=every)
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
    require_whole(cluster)


@pytest.mark.parametrize(
    "offset",
    [
        pytest.param(0, id="first, third, ...", marks=by_turns(0, of=2)),
        pytest.param(1, id="second, fourth, ...", marks=by_turns(1, of=2)),
    ],
)
def test_power_cuts_in_the_middle_of_kubeadm_are_got_over(cluster: Cluster, offset: int) -> None:
    for stage, reached in list(CONTROL_PLANE_STAGES.items())[offset::2]:
        # What an earlier try left is cleaned before this one begins, so that only what is new counts; but never data
        # of etcd, from which kubeadm goes on.
        new = f"{{ test ! -e {_CUT} || test -e /var/lib/etcd/member/wal; }}"
        cut_power(cluster, cluster.control_plane, stage=stage, reached=f"{new} && {reached}")
    for stage, reached in list(WORKER_STAGES.items())[offset::2]:
        cut_power(cluster, cluster.worker, stage=stage, reached=reached)
        cluster.converge()
        # Its kubelet may have joined by itself when the machine came back.
        removed = cluster.remove_node(cluster.worker)
        assert removed.exit_code == 0, removed.output
    cluster.converge()
    require_whole(cluster)


def cut_power(cluster: Cluster, host: str, *, stage: str, reached: str) -> None:
    """Run cluster.py until a stage is reached on a host, and cut its power there."""
    with start(cluster) as run:
        await_on(cluster, host, run, what=stage, reached=reached)
        power_cut(cluster, host)
    cluster.shell(host, f"mkdir -p $(dirname {_CUT}) && touch {_CUT}")


def test_a_machine_on_which_something_is_frozen_loses_its_power_and_reboots(
    lab: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As runc is, for a moment, on whatever it makes."""
    folder = tmp_path_factory.mktemp("frozen")
    with docker_hosts("frozen", folder=folder, workers=0, takes=0, debian=(12,)) as cluster:
        cluster.shell(cluster.control_plane, _FREEZE)
        power_cut(cluster, cluster.control_plane)
        assert cluster.shell(cluster.control_plane, "pgrep --count --exact sleep; true") == "0"
        cluster.shell(cluster.control_plane, _FREEZE)
        hosts.restart(cluster=cluster.name)
        assert cluster.shell(cluster.control_plane, "pgrep --count --exact sleep; true") == "0"
        # Frozen again when it is removed.
        cluster.shell(cluster.control_plane, _FREEZE)
    assert cluster.hosts == []


def require_whole(cluster: Cluster) -> None:
    """Nothing is left to change, and everything works."""
    assert cluster.converge().changed == []
    verified = cluster.verify("-k", CORE)
    assert verified.exit_code == 0, verified.output


def killed_after_each_change(cluster: Cluster, *, machine_every: int) -> list[Change]:
    """Run cluster.py until a run has nothing left to change, and kill each run as soon as it has changed one host.

    With each ``machine_every``-th change the machine goes down as well and comes back; never with 0. It does so once
    for a change: images are pulled in the background, and would never be there if each new start was cut off.
    """
    record = cluster.folder / "changes.jsonl"
    killer = (sys.executable, "-m", "tests.chaos.killer", str(record), "1")
    offset = datetime.now(UTC).toordinal()
    cut: set[Change] = set()
    for number in range(_MOST_RUNS):
        with start(cluster, program=killer) as run:
            exit_code = run.wait()
        if exit_code != -signal.SIGKILL:
            assert exit_code == 0, output(cluster)
            return read(record)
        change = read(record)[-1]
        if machine_every and (number + offset) % machine_every == 0 and change not in cut:
            cut.add(change)
            power_cut(cluster, change.host.removeprefix("@docker/"))
    raise AssertionError(f"still something to change after {_MOST_RUNS} runs: {read(record)[-5:]}")


def read(record: Path) -> list[Change]:
    return [Change(**json.loads(line)) for line in record.read_text().splitlines()]
