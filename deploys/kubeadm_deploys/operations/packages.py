"""apt where pyinfra's own operations do not go: keys checked by fingerprint, locks waited for, holds."""

from collections.abc import Generator
from datetime import UTC, datetime

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import OperationValueError

from kubeadm_deploys import apt_key
from kubeadm_deploys.facts.kube_packages import AptRepositoryKey
from kubeadm_deploys.facts.reading import read
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.operations.text_files import write_command

# On a fresh machine unattended upgrades hold apt's locks for minutes. apt waits for dpkg's lock by itself when
# told so, but not for the one of its package lists, and dpkg never. A source that cannot be read is an error for once:
# with apt's default the install would fail later, with a message that names no URL.
#
# What a dpkg that was killed has left is finished first, in the one order that gets over all of it: dpkg takes in its
# journal, before which apt refuses to begin, and configures what is whole; apt gets the dependencies that had not come
# yet, for which it must not be given names of packages; then it unpacks again what dpkg says it must ("reinstreq").
# Each of the first two fails on what is for the next, and what is left after the third makes the installation fail.
#
# Nothing is ever removed: other packages are not ours. needrestart, which Ubuntu has, would restart services of others
# after an installation, or wait for an answer.
_INSTALL = """
set -eu
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
deadline=$(($(date +%s) + 600))
unlocked() {
  until problem=$("$@" 2>&1); do
    case $problem in *'Could not get lock'*|*'was locked by another process'*) ;; *) echo "$problem" >&2; return 1 ;; esac
    if [ "$(date +%s)" -gt "$deadline" ]; then echo "$problem" >&2; return 1; fi
    sleep 2
  done
}
options='--quiet=2 --yes --no-install-recommends --allow-downgrades --allow-change-held-packages
  -o DPkg::Lock::Timeout=600 -o Dpkg::Options::=--force-confold'
apt_get() { apt-get $options --no-remove "$@"; }
interrupted=$(dpkg --audit)$(ls /var/lib/dpkg/updates)
if [ -n "$interrupted" ]; then
  unlocked dpkg --force-confold --configure --pending || echo 'dpkg could not finish; apt goes on' >&2
fi
unlocked apt-get --quiet=2 -o APT::Update::Error-Mode=any update
if [ -n "$interrupted" ]; then
  apt_get --fix-broken install || echo 'apt could not finish; what is to be unpacked again follows' >&2
  states=$(dpkg-query --show --showformat '${db:Status-Want} ${db:Status-Eflag} ${binary:Package}\\n')
  again=$(echo "$states" | sed -n -E 's/^(install|hold) reinstreq //p')
  if [ -n "$again" ]; then apt_get --reinstall install $again; fi
fi
if ! apt_get install "$@"; then
  plan=$(apt-get $options --simulate install "$@" 2> /dev/null) || plan=
  removed=$(echo "$plan" | sed -n 's/^Remv \\([^ ]*\\).*/\\1/p' | paste -s -d ' ')
  if [ -n "$removed" ]; then
    echo "for $*, apt would have to remove $removed, so nothing was installed; if nothing needs it, remove it by hand" >&2
  fi
  exit 1
fi
"""

_INSTALL_SECONDS = 1800
"""How long all of it may take, ten minutes of waiting for a lock among it."""


@operation()
@fails_clearly
def repository_key(*, url: str, fingerprint: str, dest: str) -> Generator[StringCommand, None, None]:
    """Put the key of an apt repository into a keyring, when it is the expected one, alone and valid.

    + url: where the repository publishes its armoured key
    + fingerprint: the 40 hexadecimal digits that the key must have
    + dest: path of the keyring, written in binary form
    """
    published = read(host, AptRepositoryKey, url=url).encode(errors="replace")
    try:
        key = apt_key.pinned_key(published, fingerprint=fingerprint, now=datetime.now(UTC))
    except ValueError as error:
        raise OperationValueError(
            f"{host.name}: the key at {url} {error}; it was not installed; check the URL, or what the mirror serves there"
        ) from None
    yield write_command({dest: key})


@operation()
def installed(*, packages: list[str]) -> Generator[StringCommand, None, None]:
    """Refresh apt's lists and install packages; the caller decides by a fact whether that is needed.

    + packages: names, with ``=version`` or ``=pattern*`` where the version matters
    """
    yield install_command(packages)


def install_command(packages: list[str]) -> StringCommand:
    """The command that installs packages; see ``installed``. It removes none."""
    arguments = map(QuoteString, packages)
    return StringCommand(
        "sh", "-c", QuoteString(_INSTALL), "install-packages", *arguments, _timeout=_INSTALL_SECONDS
    )
