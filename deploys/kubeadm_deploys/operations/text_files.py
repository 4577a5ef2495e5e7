"""Small files, several in one remote command.

pyinfra's files.put takes up to seven commands a file, and on a fresh node a dozen files are written: on a
connection with 50 ms that alone would be seconds. It also writes in place, where a run that is killed
leaves half a file; here each file is renamed into its place, and is on the disk before and after.
"""

import base64
from collections.abc import Generator, Mapping

from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

# Arguments are paths; stdin has a line for each with the file's content in base64, since any local user can read
# arguments. "read" is one of the shell, and so is what feeds base64.
_WRITE = """
set -eu
umask 022
partial=
trap 'rm -f "$partial"' EXIT
for path in "$@"; do
  read -r content || { echo "the content of $path did not arrive" >&2; exit 1; }
  mkdir -p "$(dirname "$path")"
  # A link stays, and the file that it leads to is written.
  file=$(readlink -f "$path") || { echo "$path is a link to a place that does not exist" >&2; exit 1; }
  # As a unit that is masked leads to /dev/null.
  if [ -e "$file" ] && [ ! -f "$file" ]; then echo "$path leads to $file, which is not a regular file" >&2; exit 1; fi
  folder=$(dirname "$file")
  # Of a run that was killed.
  rm -f "$folder/.${file##*/}.kubeadm-deploys"*
  partial=$(mktemp "$folder/.${file##*/}.kubeadm-deploys.XXXXXX")
  if [ -e "$file" ]; then
    cp --attributes-only --preserve=all "$file" "$partial"
  else
    chmod 0644 "$partial"
  fi
  base64 --decode > "$partial" <<CONTENT
$content
CONTENT
  sync "$partial"
  mv --force --no-target-directory "$partial" "$file"
  sync "$folder"
done
"""


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
    return StringCommand(
        "sh",
        "-c",
        QuoteString(_WRITE),
        "write-files",
        *map(QuoteString, contents),
        _stdin="\n".join(lines) + "\n",
    )
