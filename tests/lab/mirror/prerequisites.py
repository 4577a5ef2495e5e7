"""The tools that building the mirror needs on this machine."""

import os
import platform
import shutil
from pathlib import Path

from tests.lab.docker import LabError
from tests.lab.machine import install

_COMMANDS = {
    "gcc": "gcc",
    "pkg-config": "pkg-config",
    "mmdebstrap": "mmdebstrap",
    "gpg": "gpg",
    "gpg-agent": "gpg-agent",
    "dpkg-deb": "dpkg",
    "apt-ftparchive": "apt-utils",
}
_HEADERS = {"stdio.h": "libc6-dev", "seccomp.h": "libseccomp-dev"}


def require_build_tools() -> None:
    """Install the Debian packages that are missing, or say in one sentence what to install."""
    if platform.machine() != "x86_64":
        raise LabError(
            f"this machine is {platform.machine()}: the mirror builds for x86_64, build it on such a machine"
        )
    if not shutil.which("go"):
        raise LabError(
            "go is not installed: building the mirror needs Go 1.26 or newer, see https://go.dev/dl"
        )
    missing = [package for command, package in _COMMANDS.items() if not shutil.which(command)]
    missing += [
        package for header, package in _HEADERS.items() if not (Path("/usr/include") / header).exists()
    ]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        packages = " ".join(missing)
        raise LabError(f"building the mirror needs more: install {packages} (`apt-get install {packages}`)")
    install(*missing)
