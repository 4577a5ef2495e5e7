"""What the scenarios of changes to a live cluster share: its machines, its options and what its runs have changed."""

import json
from typing import Any

from tests.simulation.history import Command
from tests.simulation.scenarios import Ended, machines

NEW = machines("prepared", workers=["prepared"])
WELL = machines("member", workers=["member"])
WELL_OF_THREE = machines("member", "member", "member", workers=["member"])


def cluster(*arguments: str) -> tuple[Command, ...]:
    return (Command(deploy="cluster.py", arguments=arguments),)


def pods(number: int, **fields: Any) -> tuple[str, ...]:
    return (f"--data=kubelet_configuration={json.dumps({'maxPods': number, **fields})}",)


def restarts(done: Ended) -> list[str]:
    return [change.partition(":")[0] for change in done.changes if "swap-kubelet-configuration" in change]


def unchanged(done: Ended) -> None:
    assert (done.exit_code, done.changes) == (0, []), done.output
