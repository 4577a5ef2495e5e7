"""Run pyinfra's command line in its own process while the test goes on."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def pyinfra_processes(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Yield a function that starts pyinfra with arguments in a folder; kill the processes at the end."""
    running: list[subprocess.Popen[str]] = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [Path(sys.executable).with_name("pyinfra"), *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        running.append(process)
        return process

    try:
        yield begin
    finally:
        for process in running:
            # Commands outlive a run that was killed or interrupted twice.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
