"""Runs that are killed wherever they change something: the next one goes on, and in the end it is a whole cluster.

`make chaos` kills after every change twice, the controller alone and the machine that was changed as well. In CI the
machine goes down after every second change, which alternates by the day.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.e2e.conftest import PYINFRA, ROOT, Cluster, docker_hosts
from tests.lab import hosts
from tests.lab.docker import docker

CORE = "test_nodes or test_control_plane or test_workers or test_dns or test_services or test_pod_network"
"""The verification suites that a cluster which only looks whole does not pass."""

_MOST_RUNS = 120

_CUT = "/etc/kubernetes/tmp/cut"
"""Marks what a power cut has left, as long as nobody has cleaned it away."""


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
        pytest.param(0, id="controller killed", marks=pytest.mark.chaos),
        pytest.param(1, id="machine killed too", marks=pytest.mark.chaos),
        pytest.param(2, id="controller killed, and every second time the machine too"),
    ],
)
def test_a_run_killed_after_each_of_its_changes_is_finished_by_the_next_ones(
    cluster: Cluster, every: int, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = killed_after_each_change(cluster, machine_every=every)
    operations = [change.operation for change in changes]
    for operation in (
        "Kubernetes packages | Install kubelet, kubeadm and kubectl 1.36.3",
        "Control plane | Create the control plane",
        "CNI | Apply Calico",
        "Joining | Join the cluster",
    ):
        assert operation in operations
    with capsys.disabled():
        print(f"\nkilled after {len(changes)} changes, {len(set(operations))} different operations")
    verified = cluster.verify("-k", CORE)
    assert verified.exit_code == 0, verified.output
    assert cluster.converge().changed == []


CONTROL_PLANE_STAGES = {
    "certificates": "test -e /etc/kubernetes/pki/ca.crt",
    "etcd's manifest": "test -e /etc/kubernetes/manifests/etcd.yaml",
    "kubelet started": "test -e /var/lib/kubelet/config.yaml",
    "etcd has data": "test -e /var/lib/etcd/member/wal",
    "API answers": "curl --insecure --silent https://127.0.0.1:6443/readyz | grep -qx ok",
    "kubelet's own certificate": "grep -qs kubelet-client-current /etc/kubernetes/kubelet.conf",
}
WORKER_STAGES = {
    "bootstrap kubeconfig": "test -e /etc/kubernetes/bootstrap-kubelet.conf",
    "kubelet configured": "test -e /var/lib/kubelet/config.yaml",
    "kubelet joined": "test -e /var/lib/kubelet/pki/kubelet-client-current.pem",
}


def test_power_cuts_in_the_middle_of_kubeadm_are_got_over(cluster: Cluster) -> None:
    for host, stages in ((cluster.control_plane, CONTROL_PLANE_STAGES), (cluster.worker, WORKER_STAGES)):
        for stage, reached in stages.items():
            with start(cluster, PYINFRA) as run:
                await_stage(cluster, run, host=host, stage=stage, reached=reached)
                power_cut(cluster, host)
            cluster.shell(host, f"mkdir -p $(dirname {_CUT}) && touch {_CUT}")
    cluster.converge()
    verified = cluster.verify("-k", CORE)
    assert verified.exit_code == 0, verified.output
    assert cluster.converge().changed == []


def await_stage(
    cluster: Cluster, run: "subprocess.Popen[bytes]", *, host: str, stage: str, reached: str
) -> None:
    # What an earlier try left is cleaned before this one begins: only what is new counts.
    begins = f"test ! -e {_CUT} && {{ {reached}; }}"
    deadline = time.monotonic() + 180
    while subprocess.run(["docker", "exec", host, "sh", "-c", begins], capture_output=True).returncode != 0:
        assert run.poll() is None, f"ended before {stage}: {output(cluster)}"
        assert time.monotonic() < deadline, f"{stage} was not reached in 180 s: {output(cluster)}"


def killed_after_each_change(cluster: Cluster, *, machine_every: int) -> list[Change]:
    """Run cluster.py until a run has nothing left to change, and kill each run as soon as it has changed one host.

    With each ``machine_every``-th change the machine goes down as well and comes back; never with 0.
    """
    record = cluster.folder / "changes.jsonl"
    offset = datetime.now(UTC).toordinal()
    for number in range(_MOST_RUNS):
        with start(cluster, sys.executable, "-m", "tests.chaos.killer", str(record), "1") as run:
            exit_code = run.wait()
        if exit_code != -signal.SIGKILL:
            assert exit_code == 0, output(cluster)
            return read(record)
        if machine_every and (number + offset) % machine_every == 0:
            power_cut(cluster, read(record)[-1].host)
    raise AssertionError(f"still something to change after {_MOST_RUNS} runs: {read(record)[-5:]}")


@contextmanager
def start(cluster: Cluster, *program: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run cluster.py by a program; it is killed in the end if it has not ended itself.

    It writes into a file: what it leaves running on the hosts would keep a pipe open.
    """
    with (cluster.folder / "output").open("w") as file:
        run = subprocess.Popen(
            [*program, *cluster.command("-y")],
            cwd=ROOT,
            env={**os.environ, "CLUSTER": cluster.name},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            yield run
        finally:
            run.kill()
            run.wait()


def output(cluster: Cluster) -> str:
    """What the last run printed."""
    return (cluster.folder / "output").read_text()


def read(record: Path) -> list[Change]:
    return [Change(**json.loads(line)) for line in record.read_text().splitlines()]


def power_cut(cluster: Cluster, host: str) -> None:
    """Kill a machine with all that runs on it, and start it again."""
    name = host.removeprefix("@docker/")
    docker("kill", name)
    hosts.up(cluster=cluster.name, debian=(12,))
