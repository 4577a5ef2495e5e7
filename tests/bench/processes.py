"""Running a rival: its lines with the seconds at which they came, and its end whatever happens."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Timer

ROOT = Path(__file__).parents[2]

_LIMIT = 900
"""Seconds after which a run counts as hung; the slowest wait of the product ends after 300."""


class BenchError(Exception):
    """What made a measurement worthless, for people."""


@dataclass(frozen=True)
class Line:
    """One line of output and when it came, in seconds from the start."""

    seconds: float
    text: str


@dataclass(frozen=True)
class Finished:
    """A process that succeeded: how long it took, and the lines of its standard error output."""

    seconds: float
    lines: tuple[Line, ...]


def run_timed(command: Sequence[str], *, environment: Mapping[str, str], stdout: Path) -> Finished:
    """Run a command in the checkout's folder and stamp the lines of its standard error output.

    Raises:
        BenchError: it failed or hung; its last lines are in the message.
    """
    started = time.monotonic()
    with stdout.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            # A group of its own, so that the docker clients that it started end with it.
            start_new_session=True,
        )
    watchdog = Timer(_LIMIT, _end, (process,))
    watchdog.start()
    try:
        assert process.stderr is not None
        lines = tuple(Line(time.monotonic() - started, line.rstrip()) for line in process.stderr)
        process.wait()
    finally:
        watchdog.cancel()
        _end(process)
    seconds = time.monotonic() - started
    if process.returncode != 0:
        last = "\n".join(line.text for line in lines[-30:])
        raise BenchError(
            f"{' '.join(command[:4])} ended with {process.returncode} after {seconds:.0f} s:\n{last}"
        )
    return Finished(seconds=seconds, lines=lines)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
