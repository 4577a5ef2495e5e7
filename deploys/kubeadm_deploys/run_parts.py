"""What belongs to one run: values that its hosts share, kept with pyinfra's State and gone with it.

pyinfra executes deploy files once for each host, so that what they share has to outlive that, and two runs in one
process must not see each other's.
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
    """The run's own instance of a class that can be made without arguments; made when it is first wanted."""
    parts = _PARTS.setdefault(state, {})
    if kind not in parts:
        parts[kind] = kind()
    return cast(P, parts[kind])


class Decisions:
    """What a run decides once while it is prepared, however many hosts ask."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._made: dict[str, object] = {}

    def once(self, what: str, decide: Callable[[], T]) -> T:
        """What ``decide`` gave the first host that asked for ``what``."""
        with self._lock:
            if what not in self._made:
                self._made[what] = decide()
            return cast(T, self._made[what])
