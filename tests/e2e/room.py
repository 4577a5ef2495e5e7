"""Room for clusters on one machine, shared by all pytest processes.

What runs out are inotify instances, where the tests could not raise their limit (tests/lab/inotify.py), and processors.
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
_PER_PROCESSOR = 6
"""Places for which a processor is fast enough: most of the time hosts wait, for reboots, pulls and each other."""


def places(*, control_planes: int, workers: int) -> int:
    """How much room a cluster takes: a worker one place, a control plane two. A host that stays bare takes none."""
    return 2 * control_planes + workers


@contextmanager
def room(wanted: int, *, available: int | None = None) -> Iterator[None]:
    """Wait until so many places are free, first come first served, and keep them for a while.

    Nobody may ask for more who has some: one who waits is not overtaken, and may be waiting for those. A place is the
    lock on a file, so that a process that was killed keeps none. Who wants none never waits.
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
            # More than there is means all of it: the lab warns, and the tests have to be tried to know.
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
