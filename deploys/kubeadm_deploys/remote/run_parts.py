"""Values that the hosts of one run share, kept as long as pyinfra's State.

pyinfra executes deploy files once for each host, so shared values have to outlive a file, and two runs in one
process must not see each other's values.
"""

from collections.abc import Callable
from typing import TypeVar, cast
from weakref import WeakKeyDictionary

from gevent.lock import RLock
from pyinfra.api.state import State

P = TypeVar("P")
T = TypeVar("T")

_PARTS: WeakKeyDictionary[State, dict[type, object]] = WeakKeyDictionary()


def part(state: State, kind: type[P]) -> P:
    """Return the run's instance of a class without constructor arguments; create it on first use."""
    parts = _PARTS.setdefault(state, {})
    if kind not in parts:
        parts[kind] = kind()
    return cast(P, parts[kind])


class Decisions:
    """Decisions that a run makes once in the prepare phase, for all its hosts."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._made: dict[str, object] = {}

    def once(self, what: str, decide: Callable[[], T]) -> T:
        """Return the decision on ``what``; only the first call for it calls ``decide``."""
        with self._lock:
            if what not in self._made:
                self._made[what] = decide()
            return cast(T, self._made[what])
