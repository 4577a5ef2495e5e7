"""Small files, several in one remote command.

pyinfra's files.put takes up to seven commands a file, and on a fresh node a dozen files are written: on a
connection with 50 ms that alone would be seconds. It also writes in place, where a run that is killed
leaves half a file; here each file is renamed into its place, and is on the disk before and after.
"""

import base64
from collections.abc import Generator, Mapping

from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys.scripts import script


@operation()
def written(*, contents: Mapping[str, bytes]) -> Generator[StringCommand, None, None]:
    """Write files, and make their folders; the caller decides by a fact which ones differ.

    A file that is there keeps its mode, owner and group; a new one belongs to root and has mode 0644. Where a path is
    a symbolic link it stays one, and the file that it leads to is written.

    + contents: the bytes of each file by its absolute path
    """
    yield write_command(contents)


def write_command(contents: Mapping[str, bytes]) -> StringCommand:
    """The command that writes files; see ``written``. What they hold is only on its stdin.

    Whoever puts it into another command has to give that one its ``connector_arguments``.
    """
    lines = [base64.b64encode(content).decode() for content in contents.values()]
    return script("write-files", *contents, stdin="\n".join(lines) + "\n")
