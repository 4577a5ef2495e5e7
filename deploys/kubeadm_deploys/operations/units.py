"""Run or stop systemd units, now and after a reboot; a unit that does not run reports why."""

from collections.abc import Generator

from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.scripts import script


@operation()
def running(
    *, unit: str, keep_connections: bool = False, before: str = "true", check: str = "true"
) -> Generator[StringCommand, None, None]:
    """Run a unit with its current program and files, now and at boot; the caller decides if it is needed.

    + unit: its name
    + keep_connections: reload it instead of restarting it, if it can be reloaded
    + before: shell command that fails, and says why, when the unit would not start again: then it is left alone
    + check: shell command that fails when the unit runs but does not work
    """
    how = "reload-or-restart" if keep_connections else "restart"
    yield running_command(unit, how=how, check=check, before=before)


def running_command(
    unit: str, *, how: str = "restart", check: str = "true", before: str = "true"
) -> StringCommand:
    """Return the command that runs a unit; see ``running``."""
    return script("run-unit", unit, how, check, before)


def does_not_run(errors: str) -> bool:
    """Return whether the command of ``running_command`` has found that the unit does not run, by what it printed."""
    return "does not run as it should" in errors


@operation()
def disabled(*, unit: str) -> Generator[StringCommand, None, None]:
    """Stop a unit, now and after a reboot.

    + unit: name of the unit
    """
    yield StringCommand("systemctl --quiet disable --now", QuoteString(unit))


@operation()
def removed(*, unit: str, paths: list[str]) -> Generator[StringCommand, None, None]:
    """Stop one of our units and delete its files.

    + unit: its name
    + paths: its files; the unit's file last, so that the next run repeats a killed one
    """
    yield StringCommand("systemctl --quiet disable --now", QuoteString(unit))
    yield StringCommand("rm --recursive --force", *map(QuoteString, paths), "&& systemctl daemon-reload")
