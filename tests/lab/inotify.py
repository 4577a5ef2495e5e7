"""The machine's limit of inotify instances, which end-to-end tests raise while they run.

A control plane has thirty open, and root may open 128 on most machines: enough for three control planes and a
worker, but not for a second cluster. `make cluster` does not raise the limit. ``python -m tests.lab.inotify``
restores it after a killed run.
"""

from pathlib import Path

from tests.lab import layout

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
"""Source: inotify(7)."""

WANTED = 1024


def raised(limit: Path = LIMIT) -> None:
    """Raise the limit and save the old value; do nothing if it is high enough or read-only."""
    before = int(limit.read_text())
    if before >= WANTED:
        return
    kept = _kept()
    kept.parent.mkdir(parents=True, exist_ok=True)
    # A killed run has not restored the limit: then the value that it saved is the original.
    if not kept.exists():
        kept.write_text(f"{before}\n")
    try:
        limit.write_text(f"{WANTED}\n")
    except OSError:
        # For example in a container. Then fewer clusters can run.
        kept.unlink()
        return
    print(f"{limit} is {WANTED} while the tests run; it was {before}.", flush=True)


def put_back(limit: Path = LIMIT) -> None:
    """Restore the limit if tests have raised it."""
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
