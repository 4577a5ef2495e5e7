"""Faults of the product that the search has found and that are not mended yet: their histories are counted, not shown.

Each is played by a test that fails as soon as it is mended: then take it out here, and put its history into FOUND of
tests/test_simulation_histories.py.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulation.history import Command, Fault, History, Host
from tests.simulation.play import Played


@dataclass(frozen=True, kw_only=True)
class Known:
    """A fault: what is wrong, the shortest history that shows it, and whether another one is broken by it as well."""

    what: str
    history: History
    explains: Callable[[Played], bool]


def _slept(played: Played) -> bool:
    suspended = any(fault.kind == "suspend" for fault in played.history.faults)
    return suspended and played.kinds == {"one_run_at_a_time"}


KNOWN = (
    Known(
        what=(
            "a run whose operator's machine has slept takes its expired lock again, although another run has had it and "
            "given it up meanwhile, and goes on with what it read before"
        ),
        history=History(
            hosts=(Host(name="cp-1", begins="member"), Host(name="worker-1", begins="member")),
            steps=(
                (Command(deploy="cluster.py"), Command(deploy="cluster.py", operator="bob", after=194.7)),
            ),
            faults=(Fault(run=0, machine="worker-1", what="write-files", kind="suspend"),),
        ),
        explains=_slept,
    ),
)
