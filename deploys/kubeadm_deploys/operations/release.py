"""Files of upstream releases: fetch them, check their sha256, then move them into place."""

from collections.abc import Generator
from pathlib import PurePosixPath

from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys.scripts import script


@operation()
def tarball(*, url: str, sha256: str, folder: str, strip: str = ".") -> Generator[StringCommand, None, None]:
    """Unpack a release tarball into a folder; the caller decides by a fact whether it is needed.

    + url: where to fetch it from
    + sha256: expected checksum; with another one the host fails and keeps what it has
    + folder: absolute path of the folder for its files
    + strip: the tarball's own folder to leave out

    **Example:**

    .. code:: python

        release.tarball(name="Install containerd", url=url, sha256=sha256, folder="/usr/local/bin", strip="bin")
    """
    yield tarball_command(url=url, sha256=sha256, folder=folder, strip=strip)


@operation()
def file(*, url: str, sha256: str, dest: str, mode: str) -> Generator[StringCommand, None, None]:
    """Install a single file of a release; the caller decides by a fact whether it is needed.

    + url: where to fetch it from
    + sha256: expected checksum; with another one the host fails and keeps what it has
    + dest: absolute path of the file
    + mode: octal, like 0755 for a program
    """
    yield file_command(url=url, sha256=sha256, dest=dest, mode=mode)


def tarball_command(*, url: str, sha256: str, folder: str, strip: str = ".") -> StringCommand:
    """Return the command that unpacks a release tarball; see ``tarball``."""
    return script("install-tarball", url, sha256, folder, strip)


def file_command(*, url: str, sha256: str, dest: str, mode: str) -> StringCommand:
    """Return the command that installs a file of a release; see ``file``."""
    path = PurePosixPath(dest)
    return script("install-file", url, sha256, str(path.parent), path.name, mode)
