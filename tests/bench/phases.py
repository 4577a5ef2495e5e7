"""pyinfra's output, divided into phases."""

import itertools
import re
from collections.abc import Iterable, Iterator

from tests.bench.processes import Finished, Line

READ = "start, connect, read"
"""The phase before the first operation: Python, the inventory, connections, one fact per section."""

END = "end of pyinfra"

# Operations of a deploy are named "<deploy> | <operation>"; barriers are outside all deploys.
_OPERATION = re.compile(r"-->\s+Starting operation: (?P<name>.+)")
_RESULTS = "--> Results:"


def operation_starts(lines: Iterable[Line]) -> Iterator[tuple[float, str]]:
    """Yield the start time and name of each operation."""
    for line in lines:
        if match := _OPERATION.match(line.text):
            yield line.seconds, match["name"].strip()


def seconds_by_phase(run: Finished) -> dict[str, float]:
    """Return the seconds of each phase in order: one per deploy, and those before and after all deploys.

    The time of a barrier counts for the deploy before it.
    """
    cuts = [(0.0, READ)]
    for seconds, name in operation_starts(run.lines):
        deploy, separator, _ = name.partition(" | ")
        if separator and deploy != cuts[-1][1]:
            cuts.append((seconds, deploy))
    cuts += [(line.seconds, END) for line in run.lines if line.text.startswith(_RESULTS)]
    phases: dict[str, float] = {}
    for (begin, name), (end, _) in itertools.pairwise([*cuts, (run.seconds, "")]):
        phases[name] = phases.get(name, 0.0) + end - begin
    return phases
