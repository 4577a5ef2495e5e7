"""The product: the user's command, measured from outside."""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.phases import seconds_by_phase
from tests.bench.processes import BenchError, run_timed
from tests.lab.hosts import Host


@dataclass(frozen=True)
class Command:
    """One remote command, as the recorder logs it."""

    operation: str
    host: str
    asker: str
    """The host for whose part of the operation the command runs; usually the same."""
    command: str
    started: float
    """In seconds since pyinfra was loaded."""
    seconds: float
    sent: int
    received: int

    @property
    def ended(self) -> float:
        """In seconds since pyinfra was loaded."""
        return self.started + self.seconds

    @property
    def is_kubeadm_join(self) -> bool:
        """Whether it runs `kubeadm join`."""
        return re.search(r" run-kubeadm \S+ join( |$)", self.command) is not None


@dataclass(frozen=True)
class Traffic:
    """The remote commands of one host in a run."""

    commands: int
    bytes: int
    """Sent and received."""


@dataclass(frozen=True)
class Operation:
    """An operation, with its remote commands and their seconds on the host where these are highest."""

    name: str
    commands: int
    seconds: float


@dataclass(frozen=True)
class Join:
    """The join of a node."""

    host: str
    started: float
    """Start of its first command, in seconds since pyinfra was loaded; for a control plane that is its turn."""
    seconds: float
    """From there to the end of its last command on any host, including the wait for a healthy etcd before a
    control plane joins."""
    kubeadm: float
    """The seconds of these that `kubeadm join` took."""


@dataclass(frozen=True)
class ProductRun:
    """One run of the product."""

    seconds: float
    phases: dict[str, float]
    hosts: dict[str, Traffic]
    """By host name."""
    operations: list[Operation]
    """The slowest first; the one without a name is the reading before all operations, and the run lock."""
    joins: list[Join]
    """In the order of their start."""
    changes: list[str]
    """Operations that changed a host."""


def run_product(*, hosts: Sequence[Host], joining: int, kubeconfig: Path, folder: Path) -> ProductRun:
    """Run the product on a cluster's docker hosts; `folder` is for files that may be overwritten.

    Raises:
        BenchError: it failed, or the number of joined nodes is not `joining`.
    """
    record, results = folder / "record.jsonl", folder / "results.json"
    command = (
        *(sys.executable, "-m", "tests.bench.recorder", str(record), "-y", "--json"),
        *(f"--data=kubeconfig={kubeconfig}", "inventories/docker.py", "deploys/cluster.py"),
    )
    finished = run_timed(command, environment={"CLUSTER": hosts[0].cluster}, stdout=results)
    commands = read_commands(record)
    joined = joins(commands)
    if len(joined) != joining:
        names = ", ".join(join.host for join in joined) or "none"
        raise BenchError(f"{joining} nodes should have joined, but these did: {names}")
    return ProductRun(
        seconds=finished.seconds,
        phases=seconds_by_phase(finished),
        hosts=traffic_by_host(commands),
        operations=operations_by_cost(commands),
        joins=joined,
        changes=[
            operation["name"]
            for operation in json.loads(results.read_text())["results"]["operations"]
            if operation["success"]
        ],
    )


def read_commands(record: Path) -> list[Command]:
    """Return the commands that the recorder has logged."""
    return [Command(**json.loads(line)) for line in record.read_text().splitlines()]


def require_no_change(run: ProductRun) -> ProductRun:
    """Return the run; fail if it changed something."""
    if run.changes:
        raise BenchError(f"the second run changed something: {', '.join(run.changes)}")
    return run


def traffic_by_host(commands: Iterable[Command]) -> dict[str, Traffic]:
    """Sum up the commands of each host."""
    by_host = defaultdict(list)
    for command in commands:
        by_host[_name(command.host)].append(command)
    return {
        host: Traffic(commands=len(group), bytes=sum(command.sent + command.received for command in group))
        for host, group in sorted(by_host.items())
    }


def operations_by_cost(commands: Iterable[Command]) -> list[Operation]:
    """Sum up the commands of each operation, the slowest first."""
    seconds: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for command in commands:
        seconds[command.operation][command.host].append(command.seconds)
    operations = [
        Operation(
            name=name,
            commands=max(map(len, by_host.values())),
            seconds=max(map(sum, by_host.values())),
        )
        for name, by_host in seconds.items()
    ]
    return sorted(operations, key=lambda operation: -operation.seconds)


def joins(commands: Iterable[Command]) -> list[Join]:
    """Return the joins in the commands, each with all commands of its operation for its host."""
    parts = defaultdict(list)
    for command in commands:
        parts[command.operation, command.asker].append(command)
    found = []
    for (_, host), part in parts.items():
        if kubeadm := [command.seconds for command in part if command.is_kubeadm_join]:
            started = min(command.started for command in part)
            seconds = max(command.ended for command in part) - started
            found.append(Join(host=_name(host), started=started, seconds=seconds, kubeadm=sum(kubeadm)))
    return sorted(found, key=lambda join: join.started)


def _name(host: str) -> str:
    """Return a docker host's name from pyinfra's name."""
    return host.removeprefix("@docker/")
