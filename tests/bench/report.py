"""The results as text and as JSON."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Sequence

from tests.bench.goals import goals
from tests.bench.machine import Machine
from tests.bench.measurement import PRODUCT_CLUSTER, Figures, ProductFigures, ScriptFigures
from tests.bench.product import Join, ProductRun, Traffic
from tests.bench.upgrade import UpgradeRun

_SLOWEST = 12
"""Number of operations of the cold run to list."""


def report(*, machine: Machine, sizes: Sequence[Figures]) -> str:
    """Return all tables as text."""
    lines = [f"machine: {machine}"]
    if not machine.is_quiet:
        lines.append("the machine has other load: compare seconds only within this run")
    for figures in sizes:
        lines += ["", *_size(figures)]
    lines += ["", "goals"]
    lines += [
        f"  {'met   ' if goal.met else 'missed'}  {goal.text}: {goal.measured}" for goal in goals(sizes)
    ]
    return "\n".join(lines)


def as_json(*, machine: Machine, sizes: Sequence[Figures]) -> str:
    """Return all results as JSON."""
    document = {
        "machine": dataclasses.asdict(machine),
        "sizes": {
            str(figures.size): {**dataclasses.asdict(figures), "ratio": figures.ratio} for figures in sizes
        },
        "goals": [dataclasses.asdict(goal) for goal in goals(sizes)],
    }
    return json.dumps(document, indent=2)


def _size(figures: Figures) -> Iterator[str]:
    yield _row(str(figures.size), "seconds", "commands/host", "KiB/host")
    if figures.script:
        yield from _script(figures.script)
    if figures.product:
        yield from _product(figures.product)
    if figures.ratio:
        yield _row("product / script, cold", f"{figures.ratio:.2f}")
    if figures.upgrade:
        yield from _upgrade(figures.upgrade)


def _script(figures: ScriptFigures) -> Iterator[str]:
    yield _row("script", f"{figures.cold.seconds:.1f}")
    for name, seconds in figures.cold.milestones.items():
        yield _row(f"  {name}", f"at {seconds:.1f}")
    yield _row("  until all pods were Ready", f"+ {figures.settling:.1f}")


def _product(figures: ProductFigures) -> Iterator[str]:
    yield _run("product, cold", figures.cold)
    for name, seconds in figures.cold.phases.items():
        yield _row(f"  {name}", f"{seconds:.1f}")
    yield _row("  until all pods were Ready", f"+ {figures.settling:.1f}")
    yield _run("product, second run (changed nothing)", figures.second)
    if figures.growth:
        yield _run("product, one more worker", figures.growth)
    yield from _joins(figures.cold.joins)
    yield f"slowest of the cold run's {len(figures.cold.operations)} operations"
    for operation in figures.cold.operations[:_SLOWEST]:
        name = operation.name or "(outside operations: reading, lock)"
        yield _row(f"  {name[:38]}", f"{operation.seconds:.1f}", str(operation.commands))


def _upgrade(run: UpgradeRun) -> Iterator[str]:
    yield _row("product, upgrade by a minor", f"{run.seconds:.1f}")
    for name, seconds in run.programs.items():
        yield _row(f"  {name} itself", f"{seconds:.1f}")
    yield _row("  the sum of these", f"{sum(run.programs.values()):.1f}")


def _joins(joins: Iterable[Join]) -> Iterator[str]:
    yield _row("joins, from the start of their turn", "seconds", "of which kubeadm", "started")
    for join in joins:
        name = join.host.removeprefix(f"{PRODUCT_CLUSTER}-")
        yield _row(f"  {name}", f"{join.seconds:.1f}", f"{join.kubeadm:.1f}", f"at {join.started:.1f}")


def _run(name: str, run: ProductRun) -> str:
    return _row(
        name,
        f"{run.seconds:.1f}",
        _range(host.commands for host in run.hosts.values()),
        _range(_kib(host) for host in run.hosts.values()),
    )


def _row(name: str, seconds: str, commands: str = "", size: str = "") -> str:
    return f"{name:<42}{seconds:>9}   {commands:>16}   {size:>12}".rstrip()


def _range(values: Iterable[int]) -> str:
    """Return minimum and maximum, or one value if they are the same."""
    distinct = sorted(set(values))
    return " to ".join(map(str, dict.fromkeys((distinct[0], distinct[-1]))))


def _kib(host: Traffic) -> int:
    return round(host.bytes / 1024)
