"""Where the time of the end-to-end tests goes: seconds of each module, of them waited for room and in runs of the product.

Every process counts for itself while a test runs (``counted``), pytest-xdist carries the counts to the process that
prints, and that one looks at how busy the machine was.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

PROPERTY = "stopwatch"
"""The name of a report's property that has the counts."""

ROOM, RUN = "room", "run"

_now: Counter[str] = Counter()
_LONGEST = 12


@contextmanager
def counted(what: str) -> Iterator[None]:
    """Count the seconds of something, and that it was done."""
    began = time.monotonic()
    try:
        yield
    finally:
        _now[f"{what} seconds"] += round(1000 * (time.monotonic() - began))
        _now[f"{what}s"] += 1


def taken() -> dict[str, int]:
    """What was counted since this was last asked: milliseconds, and how often."""
    found = dict(_now)
    _now.clear()
    return found


@dataclass(kw_only=True)
class Row:
    """What one test or one module took, in seconds, with its runs of the product."""

    seconds: float = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, seconds: float, counts: dict[str, int]) -> None:
        """Add a part of it."""
        self.seconds += seconds
        self.counts.update(counts)

    def cells(self) -> list[str]:
        """The seconds, those waited for room, the runs and their seconds."""
        waited, ran = (self.counts[f"{what} seconds"] / 1000 for what in (ROOM, RUN))
        return [f"{self.seconds:.0f}", f"{waited:.0f}", str(self.counts[f"{RUN}s"]), f"{ran:.0f}"]


def table(parts: Iterable[tuple[str, float, dict[str, int]]], *, elapsed: float, busy: float) -> list[str]:
    """Lines for the end of a run, of every part of a test: its ID, seconds and counts.

    ``busy`` is the share of the processors' time in ``elapsed`` seconds that was not idle.
    """
    modules: dict[str, Row] = {}
    tests: dict[str, Row] = {}
    for name, seconds, counts in parts:
        module = name.partition("::")[0].rpartition("/")[2]
        modules.setdefault(module, Row()).add(seconds, counts)
        tests.setdefault(name.rpartition("/")[2], Row()).add(seconds, counts)
    rows = [["module", "seconds", "of it for room", "runs", "of it in runs"]]
    rows += [[name, *row.cells()] for name, row in _longest_first(modules)]
    rows += [["test", *rows[0][1:]]]
    rows += [[name, *row.cells()] for name, row in _longest_first(tests)[:_LONGEST]]
    width = max(len(row[0]) for row in rows)
    lines = [f"{first:<{width}}" + "".join(f"  {cell:>14}" for cell in rest) for first, *rest in rows]
    return [*lines, f"{elapsed:.0f} s, in which the processors were busy for {busy:.0%}"]


def _longest_first(rows: dict[str, Row]) -> list[tuple[str, Row]]:
    return sorted(rows.items(), key=lambda item: -item[1].seconds)


class Processors:
    """How busy the machine's processors are from now on; from the kernel's /proc/stat, see proc(5)."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._idle, self._all = _ticks()

    def since(self) -> tuple[float, float]:
        """The seconds that have gone by, and the share of them in which the processors were busy."""
        idle, everything = _ticks()
        busy = 1 - (idle - self._idle) / max(everything - self._all, 1)
        return time.monotonic() - self._began, busy


def _ticks() -> tuple[int, int]:
    numbers = [int(word) for word in Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]]
    # idle and iowait
    return numbers[3] + numbers[4], sum(numbers)
