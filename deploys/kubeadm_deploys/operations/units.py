"""systemd's units: run now and after a reboot, or not at all; one that does not run says why."""

from collections.abc import Generator

from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

# $1 is the unit, $2 restart or reload-or-restart, $3 a shell command that the running unit must pass.
_RUN = """
systemctl daemon-reload
systemctl --quiet enable "$1"
since=$(date +%s)
systemctl "$2" "$1" && sh -c "$3" && exit 0
journalctl --unit "$1" --since "@$since" --lines 20 --no-pager >&2
echo "$1 does not run as it should; above is what it said: systemctl status $1" >&2
exit 1
"""


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
    yield StringCommand("sh", "-c", QuoteString(_RUN), "run-unit", QuoteString(unit), how, QuoteString(check))


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
