"""Settings that docker hosts share with the machine that they run on, and so must not change."""

import re
import subprocess
from pathlib import Path

Snapshot = dict[str, str]

# Counters and per-interface values change with everything that runs on the machine.
_LIVELY = re.compile(
    r"kernel\.(random|ns_last_pid|pty\.(nr|max)|perf_event_max_sample_rate|sched_domain|spl)|"
    r"fs\.(file-nr|dentry-state|inode-nr|inode-state|quota|aio-nr|epoll)|"
    r"net\.netfilter\.nf_conntrack_count|net\.ipv[46]\.(conf|neigh)\.(?!all|default)|"
    r"net\.ipv[46]\.route\.flush|vm\.(stat|compact)"
)


def snapshot() -> Snapshot:
    """Return the machine's swap, modules and sysctls."""
    sysctls = subprocess.run(["sysctl", "--all"], capture_output=True, text=True, check=True).stdout
    pairs = (line.partition(" = ") for line in sysctls.splitlines())
    taken = {key: value for key, _, value in pairs if not _LIVELY.match(key)}
    # Sizes and use counts of swap and modules change by themselves; their names do not.
    taken["swap"] = _first_words("/proc/swaps")
    taken["modules"] = _first_words("/proc/modules")
    return taken


def _first_words(path: str) -> str:
    file = Path(path)
    return (
        " ".join(sorted(line.split()[0] for line in file.read_text().splitlines())) if file.exists() else ""
    )
