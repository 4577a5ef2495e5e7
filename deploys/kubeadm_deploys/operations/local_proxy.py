"""The proxy's units."""

from collections.abc import Generator

from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand


@operation()
def running(*, unit: str) -> Generator[StringCommand, None, None]:
    """Run the proxy with its present configuration, now and after a reboot; what is connected stays connected.

    + unit: name of its systemd unit
    """
    name = QuoteString(unit)
    yield StringCommand("systemctl daemon-reload && systemctl --quiet enable", name)
    yield StringCommand("systemctl reload-or-restart", name)


@operation()
def disabled(*, unit: str) -> Generator[StringCommand, None, None]:
    """Stop a unit, now and after a reboot.

    + unit: name of the unit
    """
    yield StringCommand("systemctl --quiet disable --now", QuoteString(unit))


@operation()
def removed(*, unit: str, paths: list[str]) -> Generator[StringCommand, None, None]:
    """Stop the proxy and delete its files.

    + unit: name of its systemd unit
    + paths: its files; the unit's file last, so that a run that is killed here is done again
    """
    yield StringCommand("systemctl --quiet disable --now", QuoteString(unit))
    yield StringCommand("rm --recursive --force", *map(QuoteString, paths), "&& systemctl daemon-reload")
