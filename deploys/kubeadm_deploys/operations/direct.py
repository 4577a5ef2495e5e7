"""Commands that are run at once, on any host of the inventory, outside an operation's own commands.

pyinfra prints neither their input nor their output at any verbosity, so they may carry secrets.
"""

from typing import Any

from pyinfra.api import Host
from pyinfra.api.arguments import CONNECTOR_ARGUMENT_KEYS, pop_global_arguments
from pyinfra.api.command import StringCommand
from pyinfra.connectors.util import CommandOutput


def run(host: Host, command: str | StringCommand, *, stdin: str = "") -> tuple[bool, CommandOutput]:
    """Run a shell command with the host's own sudo and shell settings; returns success and output.

    Arguments that a StringCommand has for its connector, like its stdin, count as in an operation.
    """
    arguments: dict[str, Any] = dict(pop_global_arguments(host.state, host, {})[0])
    connector_arguments = {key: arguments[key] for key in CONNECTOR_ARGUMENT_KEYS if key in arguments}
    if isinstance(command, StringCommand):
        connector_arguments.update(command.connector_arguments)
    if stdin:
        connector_arguments["_stdin"] = stdin
    return host.run_shell_command(command, **connector_arguments)
