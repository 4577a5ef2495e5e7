"""systemd's units: run now and after a reboot, or not at all; one that does not run says why."""

from collections.abc import Generator

from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.scripts import script


@operation()
def running(
    *, unit: str, keep_connections: bool = False, check: str = "true"
) -> Generator[StringCommand, None, None]:
    """Run a unit with its present program and files, now and after a reboot; the caller decides whether it has to.

    + unit: its name
    + keep_connections: reload it where it can be reloaded
    + check: shell command that fails when the unit runs but does not work
    """
    how = "reload-or-restart" if keep_connections else "restart"
    yield script("run-unit", unit, how, check)


@operation()
def disabled(*, unit: str) -> Generator[StringCommand, None, None]:
    """Stop a unit, now and after a reboot.

    + unit: name of the unit
    """
    yield StringCommand("systemctl --quiet disable --now", QuoteString(unit))


@operation()
def removed(*, unit: str, paths: list[str]) -> Generator[StringCommand, None, None]:
    """Stop a unit of ours and delete its files.

    + unit: its name
    + paths: its files; the unit's file last, so that a run that is killed here is done again
    """
    yield StringCommand("systemctl --quiet disable --now", QuoteString(unit))
    yield StringCommand("rm --recursive --force", *map(QuoteString, paths), "&& systemctl daemon-reload")
