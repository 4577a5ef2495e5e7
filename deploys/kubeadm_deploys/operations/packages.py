"""apt beyond pyinfra's own operations: checks keys by fingerprint, waits for locks, respects holds."""

from collections.abc import Generator
from datetime import UTC, datetime

from pyinfra import host
from pyinfra.api import FactBase, Host, operation
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationValueError
from typing_extensions import override

from kubeadm_deploys.documents import apt_key
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.remote.reading import ask
from kubeadm_deploys.scripts import script

_INSTALL_SECONDS = 1800
"""How long the installation may take, including ten minutes of waiting for a lock."""


class AptRepositoryKey(FactBase[str]):
    """Read the armoured key that a repository publishes, fetched as the machine's apt fetches packages."""

    @override
    def command(self, url: str) -> StringCommand:
        return script("fetch-repository-key", url)

    @override
    def process(self, output: list[str]) -> str:
        return "\n".join(output)


@operation()
@fails_clearly
def repository_key(*, url: str, fingerprint: str, dest: str) -> Generator[StringCommand, None, None]:
    """Put the key of an apt repository into a keyring, if it is the expected key, the only one, and valid.

    + url: where the repository publishes its armoured key
    + fingerprint: the 40 hexadecimal digits that the key must have
    + dest: path of the keyring, written in binary form
    """
    yield key_command(host, url=url, fingerprint=fingerprint, dest=dest)


def key_command(machine: Host, *, url: str, fingerprint: str, dest: str) -> StringCommand:
    """Fetch the key of an apt repository on a machine, and return the command that puts it into a keyring.

    Raises:
        OperationValueError: the key is not the expected one, or expired.
    """
    published = ask(machine, AptRepositoryKey, url=url).encode(errors="replace")
    try:
        key = apt_key.pinned_key(published, fingerprint=fingerprint, now=datetime.now(UTC))
    except ValueError as error:
        raise OperationValueError(
            f"{machine.name}: the key at {url} {error}; it was not installed; check the URL or the mirror"
        ) from None
    return write_command({dest: key})


@operation()
def installed(*, packages: list[str]) -> Generator[StringCommand, None, None]:
    """Update apt's lists and install packages; the caller decides by a fact whether that is needed.

    + packages: names, with ``=version`` or ``=pattern*`` where the version matters
    """
    yield install_command(packages)


def install_command(packages: list[str]) -> StringCommand:
    """Return the command that installs packages; see ``installed``. It removes no packages."""
    return script("install-packages", *packages, seconds=_INSTALL_SECONDS)
