"""Small files, several in one remote command.

pyinfra's files.put takes up to seven commands a file, and on a fresh node a dozen files are written: on a
connection with 50 ms that alone would be seconds. It also writes in place, where a run that is killed
leaves half a file; here each file is renamed into its place.
"""

import base64
from collections.abc import Generator, Mapping

from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

# Arguments are pairs of a path and the file's content in base64.
_WRITE = """
set -eu
umask 022
while [ $# -gt 0 ]; do
  mkdir -p "$(dirname "$1")"
  partial="$(dirname "$1")/.$(basename "$1").kubeadm-deploys"
  printf %s "$2" | base64 --decode > "$partial"
  chmod 0644 "$partial"
  mv -f "$partial" "$1"
  shift 2
done
"""


@operation()
def written(*, contents: Mapping[str, bytes]) -> Generator[StringCommand, None, None]:
    """Write files with mode 0644, and their folders; the caller decides by a fact which ones differ.

    + contents: the bytes of each file by its absolute path
    """
    yield write_command(contents)


def write_command(contents: Mapping[str, bytes]) -> StringCommand:
    """The command that writes files; see ``written``."""
    arguments = (
        QuoteString(argument)
        for path, content in contents.items()
        for argument in (path, base64.b64encode(content).decode())
    )
    return StringCommand("sh", "-c", QuoteString(_WRITE), "write-files", *arguments)
