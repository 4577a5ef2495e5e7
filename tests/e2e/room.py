"""Limit how many clusters run on one machine at a time, over all pytest processes.

The limits are inotify instances, if the tests could not raise that limit (tests/lab/inotify.py), and
processors.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.e2e import stopwatch
from tests.lab import layout
from tests.lab.host import INOTIFY_INSTANCES

_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
_PER_PROCESSOR = 5
"""Places per processor: three control planes and a worker (seven) leave room for a small cluster.

With six, 80 to 98 processes waited for two processors, and a test failed.
"""


def places(*, control_planes: int, workers: int) -> int:
    """Return the room of a cluster: a worker takes one place, a control plane two, a bare host none."""
    return 2 * control_planes + workers


@contextmanager
def room(wanted: int, *, available: int | None = None) -> Iterator[None]:
    """Wait until this many places are free, first come first served, and hold them until the context ends.

    A caller that holds places must not ask for more: a waiter is never overtaken, and may wait for exactly
    these. A place is the lock on a file, so that a killed process holds none. A caller that wants no place
    never waits.
    """
    if not wanted:
        yield
        return
    available = available or _available()
    folder = layout.cache_folder() / "room"
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as taken:
        with stopwatch.counted(stopwatch.ROOM), (folder / "queue").open("w") as queue:
            fcntl.flock(queue, fcntl.LOCK_EX)
            free = [folder / str(number) for number in range(available)]
            # Wanting more than exists means everything: the lab warns, and the tests may still pass.
            for _ in range(min(wanted, available)):
                free.remove(_take_one(free, taken))
        yield


def _available() -> int:
    instances = int(_LIMIT.read_text()) // INOTIFY_INSTANCES["workers"]
    return min(instances, int(_PER_PROCESSOR * (os.cpu_count() or 1)))


def _take_one(files: list[Path], taken: ExitStack) -> Path:
    while True:
        for path in files:
            file = path.open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                taken.enter_context(file)
                return path
        time.sleep(0.2)
