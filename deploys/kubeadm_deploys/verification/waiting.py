"""Poll a condition with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

READY_TIMEOUT = 60.0
"""Seconds in which objects that were just created, or that restarted, must be ready."""

SETTLING_TIME = 30.0
"""Seconds in which rules and routes of a new object must reach every node."""

_PAUSE = 0.5
"""Seconds between two observations."""


def watch(observe: Callable[[], Seen], *, until: Callable[[Seen], bool], timeout: float) -> Seen:
    """Observe until the condition holds or the time is up; return the last observation."""
    deadline = time.monotonic() + timeout
    while True:
        seen = observe()
        if until(seen) or time.monotonic() > deadline:
            return seen
        time.sleep(_PAUSE)


def eventually(
    observe: Callable[[], Seen], *, problem: Callable[[Seen], str], timeout: float = SETTLING_TIME
) -> Seen:
    """Observe until there is no problem; fail with the last problem when the time is up."""
    seen = watch(observe, until=lambda seen: not problem(seen), timeout=timeout)
    last = problem(seen)
    assert not last, f"not within {timeout:.0f} seconds: {last}"
    return seen
