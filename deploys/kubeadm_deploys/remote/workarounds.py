"""Uses of pyinfra and paramiko internals, each with its reason."""

import logging
from collections.abc import Callable
from typing import Any

from pyinfra.api import Host
from pyinfra.connectors.sshuserclient import SSHClient
from pyinfra.connectors.util import CommandOutput


def send_by(host: Host, run: Callable[..., tuple[bool, CommandOutput]]) -> None:
    """Send all commands for a host through a function: pyinfra has no hook before a command is sent."""
    host.run_shell_command = run  # type: ignore[method-assign]


def quiet_paramiko() -> None:
    """Silence paramiko when a machine does not answer: pyinfra, or an error of this package, reports that.

    paramiko also logs a traceback at each attempt, which Python prints if the log has no handler.
    """
    logging.getLogger("paramiko").addHandler(logging.NullHandler())


def let_jump_hosts_be_refused() -> None:
    """Let pyinfra report that the key of a jump host has changed.

    When the key of a jump host is refused, pyinfra 3.10 looks up the port in a configuration that does not
    exist yet, and prints a traceback instead of a message.
    """
    client: Any = SSHClient
    if not hasattr(client, "_ssh_config"):
        client._ssh_config = {}
