"""Runs in the background that something happens to: they are killed, or the machines are."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.e2e.conftest import PYINFRA, ROOT, Cluster
from tests.lab import containers, hosts

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
    containers.kill(host)
    hosts.up(cluster=cluster.name, control_planes=0, workers=0)


def reboot(cluster: Cluster, host: hosts.Host) -> None:
    """Restart one machine, and wait until its kubelet speaks to the API again."""
    before = renewals(cluster)
    containers.restart(host.name)
    containers.await_boot(host)
    await_kubelets(cluster, [host.name], after=before)


def reboot_all(cluster: Cluster) -> None:
    """Restart all machines at once, and wait until every kubelet speaks to the API again."""
    before = renewals(cluster)
    hosts.restart(cluster=cluster.name)
    await_kubelets(cluster, list(before), after=before)


def renewals(cluster: Cluster) -> dict[str, str]:
    """When each kubelet was last heard of: a node stays Ready for a while without it."""
    leases = json.loads(
        cluster.kubectl(
            "get", "leases", "--namespace=kube-node-lease", "--output=json", "--request-timeout=5s"
        )
    )
    return {lease["metadata"]["name"]: lease["spec"]["renewTime"] for lease in leases["items"]}


def await_kubelets(cluster: Cluster, names: list[str], *, after: dict[str, str]) -> None:
    """Wait until each of these kubelets was heard of again, through whichever API server answers."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            now = renewals(cluster)
            silent = [name for name in names if now[name] <= after[name]]
        except AssertionError as error:
            silent = [str(error)]
        if not silent:
            return
        assert time.monotonic() < deadline, f"not there again after {_SECONDS} s: {silent}"
        time.sleep(1)
