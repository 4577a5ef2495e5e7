"""The Debian userland that some images need under their programs, as one image layer."""

from collections.abc import Sequence
from pathlib import Path

from tests.lab.docker import LabError
from tests.lab.machine import debian_sources
from tests.lab.mirror.commands import run

NETWORK_TOOLS = ("iptables", "nftables", "ipset", "conntrack", "iproute2", "kmod", "procps", "runit")
"""What kube-proxy and calico/node run."""
TEST_TOOLS = ("bind9-dnsutils", "curl", "iproute2", "netcat-openbsd")
"""What upstream's agnhost image brings along for tests."""

LAYER = "layer.tar"
"""Name of the layer in the component's folder."""

_RELEASE = "bookworm"
# Every node unpacks this layer twice a cluster: what no container reads is left out.
_LEFT_OUT = (
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/var/lib/apt/lists/*",
    "/var/cache/apt/*",
)


def make(folder: Path, *, packages: Sequence[str]) -> None:
    """Write the layer: Debian's essential packages and `packages`."""
    sources = debian_sources(codename=_RELEASE)
    if not sources:
        raise LabError(
            "the mirror's images need Debian packages and this machine's apt knows no Debian source: "
            "build the mirror on a Debian machine (after `apt-get update`)"
        )
    run(
        *("mmdebstrap", "--variant=minbase", "--quiet", f"--include={','.join(packages)}"),
        *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT if path.startswith("/usr")),
        # sv starts and stops what lies in the folder that SVDIR names; runit's own services are not wanted.
        *('--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*.bin "$1"/etc/service/*',),
        *(_RELEASE, str(folder / LAYER)),
        *(source.line() for source in sources),
    )
