"""The product's upgrade by a minor, and the time that kubeadm, apt and the drains themselves take of it."""

import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import run_timed
from tests.bench.product import Command, read_commands
from tests.lab.hosts import Host
from tests.lab.mirror.components import CONTAINERD_VERSIONS, RELEASES

_NEW, _OLD = RELEASES
_NEW_CONTAINERD, _OLD_CONTAINERD = CONTAINERD_VERSIONS

OLD = {
    "kubernetes_version": _OLD,
    "containerd_version": _OLD_CONTAINERD,
    # So that each node's pods have another place while it is drained.
    "node_taints": [],
}
"""The data of hosts before the upgrade."""

_PROGRAMS = {
    "kubeadm": r" run-kubeadm \S+ upgrade( |$)",
    "apt": r" install-packages( |$)",
    "drain": r"kubectl .* drain ",
}
"""By program, what its commands look like."""


@dataclass(frozen=True)
class UpgradeRun:
    """An upgrade of one control plane and one worker."""

    seconds: float
    programs: dict[str, float]
    """The seconds that commands of each program took; the rest is waiting, reading and everything else."""


def run_upgrade(*, hosts: Sequence[Host], kubeconfig: Path, folder: Path) -> UpgradeRun:
    """Upgrade a cluster on docker hosts; `folder` is for files that may be overwritten.

    Raises:
        BenchError: it failed.
    """
    record = folder / "record.jsonl"
    command = (
        *(sys.executable, "-m", "tests.bench.recorder", str(record), "-y"),
        *(f"--data=kubernetes_version={_NEW}", f"--data=containerd_version={_NEW_CONTAINERD}"),
        *("--data=backup=false", f"--data=kubeconfig={kubeconfig}"),
        *("inventories/docker.py", "deploys/upgrade.py"),
    )
    finished = run_timed(command, environment={"CLUSTER": hosts[0].cluster}, stdout=folder / "upgrade.out")
    return UpgradeRun(seconds=finished.seconds, programs=seconds_by_program(read_commands(record)))


def seconds_by_program(commands: Iterable[Command]) -> dict[str, float]:
    """Sum up the seconds of each program's commands: an upgrade runs them one after the other."""
    found = list(commands)
    return {
        name: sum(command.seconds for command in found if re.search(pattern, command.command))
        for name, pattern in _PROGRAMS.items()
    }
