"""The machine's limit of inotify instances, which end-to-end tests raise for as long as they run.

A node has thirty open, and root may open 128 on most machines: three control planes and a worker, and no second cluster
beside them. `make cluster` raises nothing. ``python -m tests.lab.inotify`` puts back what a killed run has left.
"""

from pathlib import Path

from tests.lab import layout

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
"""Source: inotify(7)."""

WANTED = 1024


def raised(limit: Path = LIMIT) -> None:
    """Raise the limit, say so, and keep what it was; nothing where it is high enough or cannot be written."""
    before = int(limit.read_text())
    if before >= WANTED:
        return
    kept = _kept()
    kept.parent.mkdir(parents=True, exist_ok=True)
    # A run that was killed has not put it back, and what it had kept is the machine's own.
    if not kept.exists():
        kept.write_text(f"{before}\n")
    try:
        limit.write_text(f"{WANTED}\n")
    except OSError:
        # As in a container that does not own the machine: there is room for fewer clusters then.
        kept.unlink()
        return
    print(f"{limit} is {WANTED} while the tests run; it was {before}.", flush=True)


def put_back(limit: Path = LIMIT) -> None:
    """Put back the limit that was there before, if tests have raised it."""
    kept = _kept()
    if kept.exists():
        before = kept.read_text().strip()
        limit.write_text(f"{before}\n")
        kept.unlink()
        print(f"{limit} is {before} again.", flush=True)


def _kept() -> Path:
    return layout.cache_folder() / "inotify-instances"


if __name__ == "__main__":
    put_back()
