"""Files of upstream releases: fetched, checked against their sha256, then put in their place."""

from collections.abc import Generator
from pathlib import PurePosixPath

from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

# $1 is the URL, $2 the sha256. The download goes to a temporary folder on the filesystem of its
# destination ($3), which is removed however the script ends; nothing is moved before the sum is right.
_FETCH = """
set -eu
mkdir -p "$3"
# A run that was killed could not clean up.
rm -rf "$3"/.kubeadm-deploys.*
work=$(mktemp -d "$3/.kubeadm-deploys.XXXXXX")
trap 'rm -rf "$work"' EXIT
curl --fail --silent --show-error --location --retry 3 --connect-timeout 15 --speed-limit 1024 --speed-time 60 \\
  --output "$work/download" "$1" || {
  if [ $? -eq 23 ]; then echo "cannot write the download below $3: $(df -h "$3" | tail -n 1)" >&2; fi
  echo "cannot fetch $1" >&2
  exit 1
}
found=$(sha256sum < "$work/download" | cut -c1-64)
if [ "$found" != "$2" ]; then
  echo "$1 has sha256 $found, expected $2; it was not installed" >&2
  exit 1
fi
"""

# The members are unpacked beside their destination and renamed one by one: a program that runs keeps its
# old file, and a run that is killed leaves no half-written one. Their names go through a file: a pipe would hide that
# there is no such folder in the archive.
_UNPACK = (
    _FETCH
    + """
mkdir "$work/unpacked"
tar --extract --gzip --no-same-owner --file "$work/download" --directory "$work/unpacked"
(cd "$work/unpacked/$4" && find . -type f) > "$work/members"
if [ ! -s "$work/members" ]; then echo "$1 has no files in $4; nothing was installed" >&2; exit 1; fi
while read -r member; do
  mkdir -p "$3/$(dirname "$member")"
  mv -f "$work/unpacked/$4/$member" "$3/$member"
done < "$work/members"
"""
)

_INSTALL = (
    _FETCH
    + """
chmod "$5" "$work/download"
mv -f "$work/download" "$3/$4"
"""
)


@operation()
def tarball(*, url: str, sha256: str, folder: str, strip: str = ".") -> Generator[StringCommand, None, None]:
    """Unpack a release tarball into a folder; the caller decides by a fact whether it is needed.

    + url: where to fetch it
    + sha256: what it must be; anything else stops the host and leaves what was there
    + folder: absolute path under which the members are placed
    + strip: the tarball's own folder to leave out

    **Example:**

    .. code:: python

        release.tarball(name="Install containerd", url=url, sha256=sha256, folder="/usr/local/bin", strip="bin")
    """
    yield _script(_UNPACK, url, sha256, folder, strip)


@operation()
def file(*, url: str, sha256: str, dest: str, mode: str) -> Generator[StringCommand, None, None]:
    """Install a single file of a release; the caller decides by a fact whether it is needed.

    + url: where to fetch it
    + sha256: what it must be; anything else stops the host and leaves what was there
    + dest: absolute path of the file
    + mode: octal, like 0755 for a program
    """
    path = PurePosixPath(dest)
    yield _script(_INSTALL, url, sha256, str(path.parent), path.name, mode)


def _script(script: str, *arguments: str) -> StringCommand:
    return StringCommand(
        "sh", "-c", QuoteString(script), "install-release", *(QuoteString(argument) for argument in arguments)
    )
