"""Cluster sizes, and which of them fit on a machine."""

from collections.abc import Collection
from dataclasses import dataclass

from tests.bench.processes import BenchError
from tests.lab.host import INOTIFY_INSTANCES


@dataclass(frozen=True, order=True)
class Size:
    """The number of control planes and workers of a cluster."""

    control_planes: int
    workers: int

    def __str__(self) -> str:
        return f"{self.control_planes}+{self.workers}"

    @property
    def has_one_control_plane(self) -> bool:
        """Whether script.sh supports the size, and adding a worker is measured."""
        return self.control_planes == 1

    @property
    def inotify_instances(self) -> int:
        """About how many its nodes have open at the end."""
        workers = self.workers + 1 if self.has_one_control_plane else self.workers
        return (
            self.control_planes * INOTIFY_INSTANCES["control_plane"] + workers * INOTIFY_INSTANCES["workers"]
        )


BIG = Size(3, 3)
DEFAULT = frozenset({Size(1, 1), Size(1, 3), BIG})
SMALLER = Size(3, 1)
"""Replaces the big one if the kernel's default limit of 128 inotify instances was not raised."""


def choose(*, asked: Collection[Size], script_only: bool, room: int) -> tuple[list[Size], str]:
    """Return the sizes to measure, the smallest first, and a note if one was replaced.

    Args:
        asked: sizes that the user chose; empty for the default ones
        script_only: do not measure the product
        room: free inotify instances of the machine

    Raises:
        BenchError: a size cannot be measured.
    """
    sizes = set(asked or DEFAULT)
    note = ""
    if script_only:
        if missing := [str(size) for size in sorted(set(asked)) if not size.has_one_control_plane]:
            raise BenchError(f"script.sh supports only one control plane: leave out {', '.join(missing)}")
        sizes = {size for size in sizes if size.has_one_control_plane}
    if not asked and BIG in sizes and BIG.inotify_instances > room:
        sizes = sizes - {BIG} | {SMALLER}
        note = f"{SMALLER} is measured instead of {BIG}: {_lack(BIG, room=room)}"
    for size in sorted(sizes):
        if size.inotify_instances > room:
            raise BenchError(_lack(size, room=room))
    return sorted(sizes), note


def _lack(size: Size, *, room: int) -> str:
    return (
        f"{size} needs about {size.inotify_instances} inotify instances, but this machine has {max(room, 0)} "
        "left; remove other hosts, or set `sysctl fs.inotify.max_user_instances=1024` on the machine"
    )
