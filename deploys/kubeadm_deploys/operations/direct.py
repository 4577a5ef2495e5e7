"""Commands that are run at once, on any host of the inventory, outside an operation's own commands.

pyinfra prints neither their input nor their output at any verbosity, so they may carry secrets.
"""

from typing import Any

from pyinfra.api import Host
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.command import StringCommand
from pyinfra.connectors.util import CommandOutput, OutputLine

from kubeadm_deploys import connections


def run(
    host: Host, command: str | StringCommand, *, stdin: str = "", seconds: int | None = None
) -> tuple[bool, CommandOutput]:
    """Run a shell command with the host's own sudo and shell settings; returns success and output.

    Arguments that a StringCommand has for its connector, like its stdin, count as in an operation.
    ``seconds`` is its time limit, where it may take longer than others (``connections.OPERATION_SECONDS``). A machine that
    does not answer is a failure with that reason in the output.
    """
    arguments = _connector_arguments(host)
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
    """Run a command for which the run's lock is not asked, like the lock's own; returns success and output.

    Raises:
        NoAnswer: nothing came back within ``seconds``, whatever is wrong with the machine or the connection.
    """
    try:
        return connections.send(host, command, seconds=seconds, **_connector_arguments(host))
    except connections.NoAnswer:
        raise
    # Connectors fail in many ways with a machine that is gone.
    except Exception as error:
        raise connections.NoAnswer(str(error) or type(error).__name__) from None


def _connector_arguments(host: Host) -> dict[str, Any]:
    arguments: dict[str, Any] = dict(pop_global_arguments(host.state, host, {})[0])
    return {key: arguments[key] for key in CONNECTOR_ARGUMENT_KEYS if key in arguments}
