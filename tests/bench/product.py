"""The product: the user's own command, measured from outside."""

import json
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.bench.phases import seconds_by_phase
from tests.bench.processes import BenchError, run_timed


@dataclass(frozen=True)
class Command:
    """One remote command, as the recorder writes it down."""

    operation: str
    host: str
    seconds: float
    sent: int
    received: int


@dataclass(frozen=True)
class Traffic:
    """What a run asked of one host."""

    commands: int
    bytes: int
    """Sent and received."""


@dataclass(frozen=True)
class Operation:
    """What an operation cost the host that it cost most: its remote commands and their seconds."""

    name: str
    commands: int
    seconds: float


@dataclass(frozen=True)
class ProductRun:
    """One run of the product."""

    seconds: float
    phases: dict[str, float]
    hosts: dict[str, Traffic]
    """By host name."""
    operations: list[Operation]
    """The slowest first; the one without a name is the reading before all others."""
    changes: list[str]
    """Operations that changed a host."""


def run_product(*, cluster: str, kubeconfig: Path, folder: Path) -> ProductRun:
    """Run the product on the docker hosts of a cluster; `folder` is for files that may be overwritten."""
    record, results = folder / "record.jsonl", folder / "results.json"
    command = (
        *(sys.executable, "-m", "tests.bench.recorder", str(record), "-y", "--json"),
        *(f"--data=kubeconfig={kubeconfig}", "inventories/docker.py", "deploys/cluster.py"),
    )
    finished = run_timed(command, environment={"CLUSTER": cluster}, stdout=results)
    commands = [Command(**json.loads(line)) for line in record.read_text().splitlines()]
    return ProductRun(
        seconds=finished.seconds,
        phases=seconds_by_phase(finished),
        hosts=traffic_by_host(commands),
        operations=operations_by_cost(commands),
        changes=[
            operation["name"]
            for operation in json.loads(results.read_text())["results"]["operations"]
            if operation["success"]
        ],
    )


def require_no_change(run: ProductRun) -> ProductRun:
    """The same run, when it changed nothing."""
    if run.changes:
        raise BenchError(f"the second run changed something: {', '.join(run.changes)}")
    return run


def traffic_by_host(commands: Iterable[Command]) -> dict[str, Traffic]:
    """Sum up commands for each host."""
    by_host = defaultdict(list)
    for command in commands:
        by_host[command.host.removeprefix("@docker/")].append(command)
    return {
        host: Traffic(commands=len(group), bytes=sum(command.sent + command.received for command in group))
        for host, group in sorted(by_host.items())
    }


def operations_by_cost(commands: Iterable[Command]) -> list[Operation]:
    """Sum up commands for each operation, the slowest first."""
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
