"""Run a rival: timestamp its output, and make sure that it ends."""

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
"""Seconds after which a run counts as hung; the product's longest wait is 300."""


class BenchError(Exception):
    """The measurement failed; the message is for the user."""


@dataclass(frozen=True)
class Line:
    """One line of output, with its time in seconds from the start."""

    seconds: float
    text: str


@dataclass(frozen=True)
class Finished:
    """A process that succeeded, with its duration and the lines of its stderr."""

    seconds: float
    lines: tuple[Line, ...]


def run_timed(command: Sequence[str], *, environment: Mapping[str, str], stdout: Path) -> Finished:
    """Run a command in the checkout's folder and timestamp the lines of its stderr.

    Raises:
        BenchError: it failed or hung; the message contains its last lines.
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
            # In its own process group, so that its docker clients end with it.
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
            f"{' '.join(command[:4])} exited with code {process.returncode} after {seconds:.0f} s:\n{last}"
        )
    return Finished(seconds=seconds, lines=lines)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()
