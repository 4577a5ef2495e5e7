"""apt where pyinfra's own operations do not go: keys checked by fingerprint, locks waited for, holds."""

from collections.abc import Generator
from datetime import UTC, datetime

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import OperationValueError

from kubeadm_deploys import apt_key
from kubeadm_deploys.facts.kube_packages import AptRepositoryKey
from kubeadm_deploys.facts.reading import ask
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.scripts import script

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
    published = ask(host, AptRepositoryKey, url=url).encode(errors="replace")
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
    return script("install-packages", *packages, seconds=_INSTALL_SECONDS)
