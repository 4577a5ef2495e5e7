"""Send all commands to machines through one ``Door``, with a time limit, and detect lost connections.

pyinfra itself waits forever for a command to end, and for a machine that died without closing its connection.
After the time limit, the command may still run on the machine, so its result is unknown.
"""

import socket
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore
from paramiko import Channel, SSHException, Transport
from pyinfra.api import Host
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.state import BaseStateCallback, State
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import CommandOutput, clear_askpass_cache

from kubeadm_deploys.remote import workarounds
from kubeadm_deploys.remote.answers import answers_of
from kubeadm_deploys.remote.progress import reported

OPERATION_SECONDS = 900
"""Seconds that a command may take while operations run, unless its caller sets another limit."""

READING_SECONDS = 120
"""Seconds that a command may take before that, while machines are only read."""

KEEPALIVE = 15
"""Seconds without traffic after which an SSH connection sends a keepalive, to detect a dead machine."""

_ACKNOWLEDGED_WITHIN = 45_000
"""Milliseconds after which the kernel closes a connection whose data is not acknowledged; tcp(7)."""

# Lets pyinfra's own limit end first, which does not cover opening a channel, writing to stdin and the exit
# status.
_GRACE = 5

_TURN = "kubeadm_deploys_connecting"

Answer = tuple[bool, CommandOutput]
"""Whether a command succeeded, and its output."""

Command = str | StringCommand

Fence = Callable[[Host, Command, Callable[[Command], Answer]], Answer]
"""Decides whether a command may be sent to a host, and sends it with the given function."""


class NoAnswer(OSError):
    """A machine could not be reached, or did not answer in time.

    ``sent`` is whether the command may have run. pyinfra prints an OSError and fails the host.
    """

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.sent = sent


class Door(BaseStateCallback):
    """Passes all commands of a run to its machines, through the ``fence`` of the run lock once that exists.

    ``notice`` is called with a machine before and after each command that may change it.
    """

    def __init__(self, notice: Callable[[Host], None]) -> None:
        self.fence: Fence | None = None
        self._notice = notice

    @staticmethod
    def host_connect(state: State, host: Host) -> None:
        """Set up keepalives on a new connection."""
        keep_alive(host)

    def run(self, host: Host, command: Command, *args: Any, **arguments: Any) -> Answer:
        """Run a command, as the replacement of the host's ``run_shell_command``.

        Raises:
            NoAnswer: the machine could not be reached, or did not answer in time.
        """
        default = OPERATION_SECONDS if host.state.is_executing else READING_SECONDS
        seconds = arguments.get("_timeout") or default

        def deliver(allowed: Command) -> Answer:
            try:
                return send(host, allowed, *args, seconds=seconds, **arguments)
            except NoAnswer as error:
                if not error.sent:
                    raise
                raise NoAnswer(f"{error}; result unknown, the next run reads it") from None

        return self.pass_on(host, command, deliver)

    def pass_on(self, host: Host, command: Command, deliver: Callable[[Command], Answer]) -> Answer:
        """Deliver a command that may change a machine."""
        self._notice(host)
        try:
            with reported(host):
                return self.fence(host, command, deliver) if self.fence else deliver(command)
        finally:
            self._notice(host)


def guard_connections(state: State, *, fence: Fence | None = None) -> None:
    """Send every command of this run through the ``Door``, and through ``fence`` if it is given.

    Call it from entry scripts, which pyinfra executes once for each host, before they read anything.
    """
    door = _door_of(state)
    if door is None:
        answers = answers_of(state)
        answers.keep()
        door = Door(answers.changed)
        state.add_callback_handler(door)
        workarounds.quiet_paramiko()
        for host in state.inventory:
            workarounds.send_by(host, partial(door.run, host))
            keep_alive(host)
    if fence:
        door.fence = fence


def ask(host: Host, command: Command, *, seconds: float, **arguments: Any) -> Answer:
    """Run a command that changes nothing, with a time limit in seconds, through the ``Door`` if any.

    Raises:
        NoAnswer: the machine could not be reached, or did not answer in time.
    """

    def deliver(allowed: Command) -> Answer:
        return send(host, allowed, seconds=seconds, **arguments)

    return through_fence(host, command, deliver)


def through_fence(host: Host, command: Command, deliver: Callable[[Command], Answer]) -> Answer:
    """Deliver a command that changes nothing through the fence of the ``Door``, if there is one."""
    door = _door_of(host.state)
    return door.fence(host, command, deliver) if door and door.fence else deliver(command)


def through_door(host: Host, command: Command, deliver: Callable[[Command], Answer]) -> Answer:
    """Deliver a command that may change a machine through the ``Door``, if there is one."""
    door = _door_of(host.state)
    return door.pass_on(host, command, deliver) if door else deliver(command)


def _door_of(state: State) -> Door | None:
    return next((handler for handler in state.callback_handlers if isinstance(handler, Door)), None)


def send(host: Host, command: Command, *args: Any, seconds: float, **arguments: Any) -> Answer:
    """Run a command without the ``Door``, with a time limit in seconds.

    Raises:
        NoAnswer: the machine could not be reached, or did not answer in time.
    """
    try:
        with gevent.Timeout(seconds + _GRACE, TimeoutError()):
            connect(host)
            done, output = Host.run_shell_command(host, command, *args, **{**arguments, "_timeout": seconds})
    except ConnectError as error:
        raise NoAnswer(f"cannot be reached: {error}", sent=False) from None
    except TimeoutError as error:
        lost = f"the connection was lost ({error.strerror})"
        raise NoAnswer(lost if error.errno else f"no answer in {seconds} s") from None
    except (EOFError, SSHException) as error:
        raise NoAnswer(f"the connection was lost ({str(error) or type(error).__name__})") from None
    if not done and isinstance(host.connector, SSHConnector) and not is_connected(host):
        # paramiko then returns no exit status, which looks like a failed command.
        raise NoAnswer("the connection was lost")
    return done, output


def connect(host: Host) -> None:
    """Connect to a machine if there is no connection yet, or if an SSH connection was lost.

    pyinfra does not reconnect. Its other connectors have no connection that could be lost.

    Raises:
        ConnectError: the machine cannot be reached.
    """
    if not isinstance(host.connector, SSHConnector):
        if not host.connected:
            host.connect(show_errors=False, raise_exceptions=True)
        return
    with host.connector_data.setdefault(_TURN, BoundedSemaphore()):
        if is_connected(host):
            return
        again = "again, the connection was lost" if host.connected else None
        host.connected = False
        # Whatever ended the connection may have changed the machine.
        answers_of(host.state).forget(host)
        # A reboot removes these files of pyinfra.
        clear_askpass_cache(host)
        host.connect(reason=again, show_errors=False, raise_exceptions=True)


def is_connected(host: Host) -> bool:
    """Return whether a machine is connected, as far as its connection knows."""
    if not host.connected or not isinstance(host.connector, SSHConnector):
        return host.connected
    transport = _transport(host)
    return transport is not None and transport.is_active()


def keep_alive(host: Host) -> None:
    """Make an SSH connection end when the machine at its other end is dead."""
    transport = _transport(host)
    while transport is not None:
        transport.set_keepalive(KEEPALIVE)
        if isinstance(transport.sock, Channel):
            # With a jump host, only the connection to the jump host has a socket.
            transport = transport.sock.get_transport()
            continue
        if isinstance(transport.sock, socket.socket):
            transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # Only Linux has this option.
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _ACKNOWLEDGED_WITHIN)
        return


def _transport(host: Host) -> Transport | None:
    client = host.connector.client if isinstance(host.connector, SSHConnector) else None
    return client.get_transport() if client else None
