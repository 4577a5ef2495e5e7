"""Polling a condition with a deadline."""

import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

READY_TIMEOUT = 60.0
"""Seconds in which what has just been made, or restarted by itself, must be ready."""

SETTLING_TIME = 30.0
"""Seconds in which rules and routes of something just made must have reached every node."""


def watch(observe: Callable[[], Seen], *, until: Callable[[Seen], bool], timeout: float) -> Seen:
    """Observe until it is as it should be or the time is up, and give what was seen last."""
    deadline = time.monotonic() + timeout
    while True:
        seen = observe()
        if until(seen) or time.monotonic() > deadline:
            return seen
        # The pause between two looks; the deadline decides how long it takes.
        time.sleep(0.5)


def eventually(
    observe: Callable[[], Seen], *, problem: Callable[[Seen], str], timeout: float = SETTLING_TIME
) -> Seen:
    """Observe until there is no problem, and fail with the last one when the time is up."""
    seen = watch(observe, until=lambda seen: not problem(seen), timeout=timeout)
    last = problem(seen)
    assert not last, f"not within {timeout:.0f} seconds: {last}"
    return seen
