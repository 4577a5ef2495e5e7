"""Write small files, several in one remote command.

pyinfra's files.put takes up to seven commands for a file, and a fresh node gets a dozen files: on a
connection with 50 ms that alone takes seconds. It also writes in place, so that a killed run leaves half a
file. Here each file is synced to disk and renamed into place.
"""

import base64
from collections.abc import Collection, Generator, Mapping
from pathlib import PurePosixPath

from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.scripts import script


@operation()
def written(
    *, contents: Mapping[str, bytes], private: Collection[str] = (), modes: Mapping[str, str] = {}
) -> Generator[StringCommand, None, None]:
    """Write files, and create their folders; the caller decides by a fact which ones differ.

    An existing file keeps its mode, owner and group; a new one belongs to root and has mode 0644. A symbolic
    link stays one, and its target is written.

    + contents: the bytes of each file by its absolute path
    + private: the paths of those, none of them empty, that only root may read: they get mode 0600
    + modes: the modes of others, none of them empty, by path
    """
    yield write_command(contents, private=private, modes=modes)


@operation()
def removed(*, paths: Collection[str]) -> Generator[StringCommand, None, None]:
    """Delete files, and their folders if nothing else is in them; the caller decides by a fact which exist.

    + paths: their absolute paths
    """
    folders = dict.fromkeys(str(PurePosixPath(path).parent) for path in paths)
    yield StringCommand(
        "rm --force --",
        *map(QuoteString, paths),
        "&& rmdir --ignore-fail-on-non-empty --",
        *map(QuoteString, folders),
    )


def write_command(
    contents: Mapping[str, bytes], *, private: Collection[str] = (), modes: Mapping[str, str] = {}
) -> StringCommand:
    """Return the command that writes files; see ``written``. Their contents are only on its stdin.

    A command that contains this one needs its ``connector_arguments``.
    """
    all_modes = {**modes, **dict.fromkeys(private, "0600")}
    lines = [
        f"{base64.b64encode(content).decode()} {all_modes.get(path, '')}".rstrip()
        for path, content in contents.items()
    ]
    return script("write-files", *contents, stdin="\n".join(lines) + "\n")
