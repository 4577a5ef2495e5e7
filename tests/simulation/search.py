"""Play many histories one after the other in this process."""

import gc
import resource
import sys
import time
from collections.abc import Callable, Iterable

from tests.simulation import child
from tests.simulation.generate import generate
from tests.simulation.history import History
from tests.simulation.play import Played, play
from tests.simulation.shrink import shortened

_clock = time.perf_counter


def search(
    seeds: Iterable[int | History],
    *,
    log: bool = False,
    output: bool = False,
    shorten: bool = True,
    first: bool = False,
    change: Callable[[], None] = lambda: None,
) -> list[Played]:
    """Play the histories of these seeds, or written ones, and return those that violate an invariant."""
    child.prepare()
    gc.collect()
    gc.freeze()
    began, runs, count = _cpu(), 0, 0
    broken: list[Played] = []
    for seed in seeds:
        history, dice = (seed, None) if isinstance(seed, History) else generate(seed)
        try:
            played = play(history, dice=dice, change=change)
        except Exception:
            print(f"{_named(seed)}\n{history.as_text()}", flush=True)
            raise
        if isinstance(seed, History) and (idle := set(history.faults) - set(played.history.faults)):
            raise AssertionError(f"faults of the history did not happen: {idle}")
        runs += played.runs
        count += 1
        if log:
            print("\n".join(played.log))
        if output:
            for run, text in played.outputs.items():
                print(f"==== run {run} ended with {played.exit_codes[run]}\n{text}")
        if played.broken:
            if shorten:
                played = shortest(played, change=change)
            broken.append(played)
            problems = "\n".join(f"    {problem}" for problem in played.broken)
            print(f"{_named(seed)}\n{problems}\n{played.history.as_text()}", flush=True)
            if first:
                break
    print(
        f"{count} histories, {runs} runs, {_cpu() - began:.1f} s of CPU, {len(broken)} broken",
        file=sys.stderr,
    )
    return broken


def _named(seed: int | History) -> str:
    return "the history" if isinstance(seed, History) else f"seed {seed}:"


def shortest(played: Played, *, change: Callable[[], None] = lambda: None) -> Played:
    """Return the shortest history that violates the same invariant as a played one, played again."""
    kinds = frozenset([played.broken[0].partition(":")[0]])

    def breaks(history: History) -> bool:
        return kinds <= play(history, change=change).kinds

    if not breaks(played.history):
        # The written history does not reproduce the violation.
        return played
    return play(shortened(played.history, breaks), change=change)


def _cpu() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
