"""Runs in the background that something happens to: they are killed, or the machines are."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.conftest import PYINFRA, ROOT, Cluster
from tests.lab import hosts
from tests.lab.docker import docker

CORE = "test_nodes or test_control_plane or test_workers or test_dns or test_services or test_pod_network"
"""The verification suites that a cluster which only looks whole does not pass."""

_SECONDS = 180


@contextmanager
def start(
    cluster: Cluster, *arguments: str, program: tuple[str, ...] = (PYINFRA,)
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run cluster.py by a program, pyinfra's unless another one is named; kill it in the end if it goes on.

    It writes into a file: what it leaves running on the hosts would keep a pipe open.
    """
    with (cluster.folder / "output").open("w") as file:
        run = subprocess.Popen(
            [*program, *cluster.command("-y", *arguments)],
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
    """What the last run of ``start`` printed."""
    return (cluster.folder / "output").read_text()


def await_on(cluster: Cluster, host: str, run: "subprocess.Popen[bytes]", *, what: str, reached: str) -> None:
    """Wait until a shell command succeeds on a host, while a run goes on."""
    deadline = time.monotonic() + _SECONDS
    while subprocess.run(["docker", "exec", host, "sh", "-c", reached], capture_output=True).returncode != 0:
        assert run.poll() is None, f"ended before {what}: {output(cluster)}"
        assert time.monotonic() < deadline, f"no {what} in {_SECONDS} s: {output(cluster)}"


def power_cut(cluster: Cluster, host: str) -> None:
    """Kill a machine with all that runs on it, and start it again."""
    docker("kill", host)
    hosts.up(cluster=cluster.name, control_planes=0, workers=0)
