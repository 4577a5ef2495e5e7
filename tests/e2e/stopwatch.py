"""Measure the end-to-end tests: seconds of each module, including waits for room and product runs.

Every process counts on its own while a test runs (``counted``). pytest-xdist sends the counts to the process
that prints, which also measures how busy the machine was.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROPERTY = "stopwatch"
"""Name of the report's property that holds the counts."""

ROOM, RUN = "room", "run"

_now: Counter[str] = Counter()
_LONGEST = 12


@contextmanager
def counted(what: str) -> Iterator[None]:
    """Count the seconds of the context, and the context itself."""
    began = time.monotonic()
    try:
        yield
    finally:
        _now[f"{what} seconds"] += round(1000 * (time.monotonic() - began))
        _now[f"{what}s"] += 1


def taken() -> dict[str, int]:
    """Return and reset the counts: milliseconds, and numbers of times."""
    counts = dict(_now)
    _now.clear()
    return counts


@dataclass(kw_only=True)
class Row:
    """Time of one test or one module in seconds, with its runs of the product."""

    seconds: float = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, seconds: float, counts: dict[str, int]) -> None:
        """Add one phase of a test."""
        self.seconds += seconds
        self.counts.update(counts)

    def cells(self) -> list[str]:
        """Return the seconds, those waited for room, the number of runs and their seconds."""
        waited, ran = (self.counts[f"{what} seconds"] / 1000 for what in (ROOM, RUN))
        return [f"{self.seconds:.0f}", f"{waited:.0f}", str(self.counts[f"{RUN}s"]), f"{ran:.0f}"]


def table(parts: Iterable[tuple[str, float, dict[str, int]]], *, elapsed: float, busy: float) -> list[str]:
    """Return lines for the end of a run; ``parts`` holds ID, seconds and counts of every phase of a test.

    ``busy`` is the share of the processors' time in ``elapsed`` seconds that was not idle.
    """
    modules: dict[str, Row] = {}
    tests: dict[str, Row] = {}
    for name, seconds, counts in parts:
        name = name.removeprefix("tests/e2e/")
        modules.setdefault(name.partition("::")[0], Row()).add(seconds, counts)
        tests.setdefault(name, Row()).add(seconds, counts)
    rows = [["module", "seconds", "waited", "runs", "in runs"]]
    rows += [[name, *row.cells()] for name, row in _longest_first(modules)]
    rows += [["test", *rows[0][1:]]]
    rows += [[name, *row.cells()] for name, row in _longest_first(tests)[:_LONGEST]]
    width = max(len(row[0]) for row in rows)
    lines = [f"{first:<{width}}" + "".join(f"  {cell:>14}" for cell in rest) for first, *rest in rows]
    return [*lines, f"{elapsed:.0f} s, in which the processors were busy for {busy:.0%}"]


def _longest_first(rows: dict[str, Row]) -> list[tuple[str, Row]]:
    return sorted(rows.items(), key=lambda item: -item[1].seconds)


class Processors:
    """Load of the machine's processors since this object was made, from /proc/stat; see proc(5)."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._idle, self._all = _ticks()

    def since(self) -> tuple[float, float]:
        """Return the seconds since then, and the share of them in which the processors were busy."""
        idle, everything = _ticks()
        busy = 1 - (idle - self._idle) / max(everything - self._all, 1)
        return time.monotonic() - self._began, busy


def _ticks() -> tuple[int, int]:
    numbers = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    # idle and iowait
    return numbers[3] + numbers[4], sum(numbers)
