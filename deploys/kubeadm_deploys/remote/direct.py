"""Commands that run immediately, on any host of the inventory, outside the commands of an operation.

pyinfra prints neither their input nor their output at any verbosity, so they may contain secrets.
"""

from typing import Any

from pyinfra.api import Host
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.command import StringCommand
from pyinfra.connectors.util import CommandOutput, OutputLine

from kubeadm_deploys.remote import connections


def run(
    host: Host, command: str | StringCommand, *, stdin: str = "", seconds: int | None = None
) -> tuple[bool, CommandOutput]:
    """Run a shell command with the host's sudo and shell settings; return success and output.

    The connector arguments of a StringCommand, like its stdin, apply as in an operation. ``seconds`` is the
    time limit if it differs from the default (``connections.OPERATION_SECONDS``). If the machine does not
    answer, the command fails with the reason in its output.
    """
    arguments = connector_arguments(host)
    if isinstance(command, StringCommand):
        arguments.update(command.connector_arguments)
    if stdin:
        arguments["_stdin"] = stdin
    if seconds:
        arguments["_timeout"] = seconds
    try:
        return host.run_shell_command(command, **arguments)
    except OSError as error:
        return False, CommandOutput([OutputLine("stderr", str(error) or type(error).__name__)])


def attempt(host: Host, command: StringCommand, *, seconds: int) -> tuple[bool, CommandOutput]:
    """Run a command without checking the run lock; return success and output.

    The commands of the lock itself use this, for example.

    Raises:
        NoAnswer: no answer within ``seconds``, for any reason.
    """
    try:
        return connections.send(host, command, seconds=seconds, **connector_arguments(host))
    except connections.NoAnswer:
        raise
    # Connectors raise many kinds of errors for a machine that does not answer.
    except Exception as error:
        raise connections.NoAnswer(str(error) or type(error).__name__) from None


def connector_arguments(host: Host) -> dict[str, Any]:
    """Return the host's sudo and shell settings, as the connectors take them."""
    arguments: dict[str, Any] = dict(pop_global_arguments(host.state, host, {})[0])
    return {key: arguments[key] for key in CONNECTOR_ARGUMENT_KEYS if key in arguments}
