"""Runs in the background that are killed, or whose machines are."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.conftest import LONGEST_RUN, PYINFRA, ROOT, Cluster
from tests.lab import containers, hosts

CORE = "test_nodes or test_control_plane or test_workers or test_dns or test_services or test_pod_network"
"""The verification suites that a broken cluster fails even if its nodes look fine."""

_SECONDS = 180
_MOST_RUNS = 60

# pyinfra prints what kubeadm says only when kubeadm has ended. Then this file is gone, and sed says so.
_KUBEADM_LOG = r"sed -E 's/[a-z0-9]{6}\.[a-z0-9]{16}/<token>/g' /run/kubeadm-deploys-kubeadm.log 2>&1; true"


@dataclass(frozen=True)
class Kill:
    """Where a run was killed: at a command on a host, after it had ``ended`` or while it ran."""

    host: str
    command: str
    ended: bool


@contextmanager
def start(
    cluster: Cluster,
    *arguments: str,
    program: tuple[str, ...] = (PYINFRA,),
    deploy: Path = ROOT / "deploys/cluster.py",
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a deploy in the background, with pyinfra unless another program is given; kill it at the end."""
    with in_background(cluster, *program, *cluster.command("-y", *arguments, deploy=deploy)) as run:
        yield run


@contextmanager
def in_background(cluster: Cluster, *command: str, **environment: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command line until the context ends, and kill it then; ``output`` returns what it prints.

    Its output goes to a file: processes that it leaves running on the hosts would keep a pipe open.
    """
    with (cluster.folder / "output").open("w") as file:
        run = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "CLUSTER": cluster.name, **environment},
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
    """Return the output of the last run in the background."""
    return (cluster.folder / "output").read_text()


def ended(run: "subprocess.Popen[bytes]") -> int:
    """Wait at most ``LONGEST_RUN`` seconds for a run to end, and return its exit code."""
    return run.wait(timeout=LONGEST_RUN)


def killed_at_each_change(
    cluster: Cluster, *arguments: str, deploy: Path = ROOT / "deploys/cluster.py"
) -> list[Kill]:
    """Run a deploy until a run comes to its end; kill each at its first moment that tests.chaos.command_killer does not know."""
    record = cluster.folder / "kills.jsonl"
    record.unlink(missing_ok=True)
    killer = (sys.executable, "-m", "tests.chaos.command_killer", str(record), "1")
    for _ in range(_MOST_RUNS):
        with start(cluster, *arguments, program=killer, deploy=deploy) as run:
            exit_code = ended(run)
        # A command of the killed run may end while the next one is prepared; that one says so.
        if exit_code == -signal.SIGKILL or (
            exit_code == 1 and "no changes were made; run it again" in output(cluster)
        ):
            continue
        assert exit_code == 0, output(cluster)
        moments = [json.loads(line) for line in record.read_text().splitlines()]
        return [Kill(moment["host"], moment["command"], moment["ended"]) for moment in moments]
    raise AssertionError(f"no run of {_MOST_RUNS} came to its end: {record.read_text()}")


def await_on(cluster: Cluster, host: str, run: "subprocess.Popen[bytes]", *, what: str, reached: str) -> None:
    """Wait until the shell command ``reached`` succeeds on a host, while a run goes on."""
    # The loop runs on the host: a command per look from here would miss short states.
    look = f"timeout {_SECONDS} sh -c {shlex.quote(f'until {{ {reached}; }} > /dev/null 2>&1; do sleep 0.05; done')}"
    with subprocess.Popen(["docker", "exec", host, "sh", "-c", look]) as looking:
        try:
            while looking.poll() is None:
                assert run.poll() is None, f"ended before {what}: {output(cluster)}"
                time.sleep(0.02)
        finally:
            looking.kill()
    assert looking.returncode == 0, (
        f"no {what} in {_SECONDS} s: {output(cluster)}\nkubeadm: {cluster.shell(host, _KUBEADM_LOG)}"
    )


def power_cut(cluster: Cluster, host: str) -> None:
    """Kill a machine with everything that runs on it, and start it again."""
    containers.kill(host)
    hosts.up(cluster=cluster.name, control_planes=0, workers=0)


def reboot(cluster: Cluster, host: hosts.Host) -> None:
    """Restart one machine, and wait until its kubelet reports to the API again."""
    before = renewals(cluster)
    containers.restart(host.name)
    containers.await_boot(host)
    await_kubelets(cluster, [host.name], after=before)


def reboot_all(cluster: Cluster) -> None:
    """Restart all machines at once, and wait until every kubelet reports to the API again."""
    before = renewals(cluster)
    hosts.restart(cluster=cluster.name)
    await_kubelets(cluster, list(before), after=before)


def renewals(cluster: Cluster) -> dict[str, str]:
    """Return when each kubelet last renewed its lease: a node without a kubelet stays Ready for a while."""
    leases = json.loads(
        cluster.kubectl(
            "get", "leases", "--namespace=kube-node-lease", "--output=json", "--request-timeout=5s"
        )
    )
    return {lease["metadata"]["name"]: lease["spec"]["renewTime"] for lease in leases["items"]}


def await_kubelets(cluster: Cluster, names: list[str], *, after: dict[str, str]) -> None:
    """Wait until each of these kubelets has renewed its lease again, on any API server that answers."""
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            now = renewals(cluster)
            silent = [name for name in names if now[name] <= after[name]]
        except AssertionError as error:
            silent = [str(error)]
        if not silent:
            return
        assert time.monotonic() < deadline, f"no renewed lease after {_SECONDS} s: {silent}"
        time.sleep(1)
