"""What two processors have no time for in one run of `make test` comes by turns, every day something else.

`make chaos` has what is not the day's. More than two processors have no turns, and time for everything.

    python -m tests.e2e.turns    prints the versions of Kubernetes that today's `make test` needs
"""

import os
from datetime import UTC, datetime

import pytest

from tests.lab.mirror.components import RELEASES

VERSION, OTHER_VERSION = RELEASES
"""What everything is tested with, and `make cluster` alone by turns: two slow processors build it in 13 minutes."""

THREE_CONTROL_PLANES, GROWTH, OTHER_MINOR = range(3)
"""The days' turns, each of what takes a quarter of the time that there is."""


def by_turns(*numbers: int, of: int = 3, days: int = 1) -> list[pytest.MarkDecorator]:
    """Marks of what has its turn when one of these numbers has; every ``days`` days it is the next one's of ``of``."""
    return [] if is_turn(*numbers, of=of, days=days) else [pytest.mark.chaos]


def is_turn(
    *numbers: int, of: int = 3, days: int = 1, day: int | None = None, processors: int | None = None
) -> bool:
    """Whether it is for `make test`, today (in UTC) on this machine unless others are given."""
    if (processors or os.cpu_count() or 1) > 2:
        return True
    ordinal = datetime.now(UTC).toordinal() if day is None else day
    return ordinal // days % of in numbers


if __name__ == "__main__":
    print(VERSION, *[OTHER_VERSION] * is_turn(OTHER_MINOR))
