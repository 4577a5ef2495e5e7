"""The mirror of the internet for machines that cannot reach it: what upstream publishes, built from source.

Where the official hosts can be reached there is no mirror, and nothing here does anything.
"""

import functools
import urllib.error
import urllib.request

from tests.lab import layout
from tests.lab.mirror import apt, tree

_PROBE = "https://pkgs.k8s.io/core:/stable:/v1.37/deb/Release.key"


@functools.cache
def official_hosts_reachable(seconds: float = 5) -> bool:
    """Whether this machine gets Kubernetes' packages from their official host."""
    try:
        with urllib.request.urlopen(_PROBE, timeout=seconds) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def settings() -> dict[str, object]:
    """The host data of pyinfra with which the product uses the mirror; nothing when none is needed."""
    if official_hosts_reachable():
        return {}
    return {
        "mirror": layout.MIRROR_URL,
        "checksums": str(tree.checksums()),
        "kubernetes_apt_key_fingerprint": apt.key_fingerprint(),
    }
