"""Sizes of clusters, and which of them a machine has room for."""

from collections.abc import Collection
from dataclasses import dataclass

from tests.bench.processes import BenchError
from tests.lab.host import INOTIFY_INSTANCES


@dataclass(frozen=True, order=True)
class Size:
    """How many nodes of each kind a cluster is made with."""

    control_planes: int
    workers: int

    def __str__(self) -> str:
        return f"{self.control_planes}+{self.workers}"

    @property
    def has_one_control_plane(self) -> bool:
        """The only kind that script.sh makes, and the one whose growth by a worker is measured."""
        return self.control_planes == 1

    @property
    def inotify_instances(self) -> int:
        """How many its nodes have open in the end, about."""
        workers = self.workers + 1 if self.has_one_control_plane else self.workers
        return (
            self.control_planes * INOTIFY_INSTANCES["control_plane"] + workers * INOTIFY_INSTANCES["workers"]
        )


BIG = Size(3, 3)
DEFAULT = frozenset({Size(1, 1), Size(1, 3), BIG})
SMALLER = Size(3, 1)
"""In the place of the big one, where the kernel's own limit of 128 inotify instances was never raised."""


def choose(*, asked: Collection[Size], script_only: bool, room: int) -> tuple[list[Size], str]:
    """The sizes to measure, the smallest first, and what to tell the user when one stands for another.

    Args:
        asked: those that the user names; the default ones if there are none
        script_only: leave the product out
        room: inotify instances that the machine has left

    Raises:
        BenchError: a size cannot be measured.
    """
    sizes = set(asked or DEFAULT)
    note = ""
    if script_only:
        if missing := [str(size) for size in sorted(set(asked)) if not size.has_one_control_plane]:
            raise BenchError(f"script.sh makes one control plane only: leave out {', '.join(missing)}")
        sizes = {size for size in sizes if size.has_one_control_plane}
    if not asked and BIG in sizes and BIG.inotify_instances > room:
        sizes = sizes - {BIG} | {SMALLER}
        note = f"{SMALLER} is measured in the place of {BIG}: {_lack(BIG, room=room)}"
    for size in sorted(sizes):
        if size.inotify_instances > room:
            raise BenchError(_lack(size, room=room))
    return sorted(sizes), note


def _lack(size: Size, *, room: int) -> str:
    return (
        f"{size} needs about {size.inotify_instances} inotify instances and this machine has {max(room, 0)} left; "
        "remove other hosts, or set `sysctl fs.inotify.max_user_instances=1024` on the machine"
    )
