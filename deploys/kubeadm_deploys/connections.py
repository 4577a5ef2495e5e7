"""The one door through which commands go to machines: each has a time limit, and a connection that ended is noticed.

pyinfra itself waits for ever for a command's end, and for a machine that died without closing its connection. When a
limit is over the command may still run there, and go on to its end: what it has done is then not known.
"""

import logging
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

from kubeadm_deploys.facts.answers import answers_of

OPERATION_SECONDS = 900
"""How long a command may take while operations run, unless its caller says otherwise."""

READING_SECONDS = 120
"""How long a command may take before, when machines are only read."""

KEEPALIVE = 15
"""Seconds without traffic after which an SSH connection sends something, so that a machine that died is noticed."""

_ACKNOWLEDGED_WITHIN = 45_000
"""Milliseconds for which the kernel keeps a connection on which nothing that was sent is acknowledged; tcp(7)."""

# pyinfra's own limit is over first. It does not count the opening of a channel, what is written to the command and its
# exit status.
_GRACE = 5

_TURN = "kubeadm_deploys_connecting"

Answer = tuple[bool, CommandOutput]
"""Whether a command succeeded, and what it printed."""

Command = str | StringCommand

Fence = Callable[[Host, Command, Callable[[Command], Answer]], Answer]
"""Decides about a command for a host, and sends it by the function that it is given, or does not."""


class NoAnswer(OSError):
    """A machine could not be reached, or did not answer in time: ``sent`` says whether the command may have run.

    pyinfra prints such an error and fails the host.
    """

    def __init__(self, reason: str, *, sent: bool = True) -> None:
        super().__init__(reason)
        self.sent = sent


class Door(BaseStateCallback):
    """What stands between a run and its machines; ``fence`` is the run's lock, once there is one.

    ``notice`` is called with a machine before and after each command that may change it.
    """

    def __init__(self, notice: Callable[[Host], None]) -> None:
        self.fence: Fence | None = None
        self._notice = notice

    @staticmethod
    def host_connect(state: State, host: Host) -> None:
        """A connection was made."""
        keep_alive(host)

    def run(self, host: Host, command: Command, *args: Any, **arguments: Any) -> Answer:
        """Run a command in the place of the host's own ``run_shell_command``.

        Raises:
            NoAnswer: there is none.
        """
        default = OPERATION_SECONDS if host.state.is_executing else READING_SECONDS
        seconds = arguments.get("_timeout") or default

        def deliver(allowed: Command) -> Answer:
            try:
                return send(host, allowed, *args, seconds=seconds, **arguments)
            except NoAnswer as error:
                if not error.sent:
                    raise
                raise NoAnswer(f"{error}; result unknown, it is read again by the next run") from None

        self._notice(host)
        try:
            return self.fence(host, command, deliver) if self.fence else deliver(command)
        finally:
            self._notice(host)


def guard_connections(state: State, *, fence: Fence | None = None) -> None:
    """Have every command of this run go through the door; ``fence`` is asked before each.

    For entry scripts, which pyinfra executes once for each host, before they read anything.
    """
    door = _door_of(state)
    if door is None:
        answers = answers_of(state)
        answers.keep()
        door = Door(answers.changed)
        state.add_callback_handler(door)
        # What it says about a machine that does not answer is in the error already. Without a handler Python prints it.
        logging.getLogger("paramiko").addHandler(logging.NullHandler())
        for host in state.inventory:
            host.run_shell_command = partial(door.run, host)  # type: ignore[method-assign]
            keep_alive(host)
    if fence:
        door.fence = fence


def ask(host: Host, command: Command, *, seconds: float, **arguments: Any) -> Answer:
    """Run a command that changes nothing, within a number of seconds, through the door where there is one.

    Raises:
        NoAnswer: there is none.
    """

    def deliver(allowed: Command) -> Answer:
        return send(host, allowed, seconds=seconds, **arguments)

    door = _door_of(host.state)
    return door.fence(host, command, deliver) if door and door.fence else deliver(command)


def _door_of(state: State) -> Door | None:
    return next((handler for handler in state.callback_handlers if isinstance(handler, Door)), None)


def send(host: Host, command: Command, *args: Any, seconds: float, **arguments: Any) -> Answer:
    """Run a command past the door, within a number of seconds.

    Raises:
        NoAnswer: there is none.
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
        # paramiko gives no exit status then, which looks like a failure.
        raise NoAnswer("the connection was lost")
    return done, output


def connect(host: Host) -> None:
    """Connect to a machine whose connection was never made, or over SSH has ended, as by a reboot.

    pyinfra does not do the latter. Its other connectors have nothing that could end.

    Raises:
        ConnectError: it cannot be reached.
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
        # What ended it may have changed the machine.
        answers_of(host.state).forget(host)
        # These files of pyinfra's are gone after a reboot.
        clear_askpass_cache(host)
        host.connect(reason=again, show_errors=False, raise_exceptions=True)


def is_connected(host: Host) -> bool:
    """Whether a machine was connected to, and its connection does not know to have ended."""
    if not host.connected or not isinstance(host.connector, SSHConnector):
        return host.connected
    transport = _transport(host)
    return transport is not None and transport.is_active()


def keep_alive(host: Host) -> None:
    """Have an SSH connection end when the machine at its other end is gone."""
    transport = _transport(host)
    while transport is not None:
        transport.set_keepalive(KEEPALIVE)
        if isinstance(transport.sock, Channel):
            # Through a jump host: the connection to that one is the one with a socket.
            transport = transport.sock.get_transport()
            continue
        if isinstance(transport.sock, socket.socket):
            transport.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            # Only Linux has it.
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _ACKNOWLEDGED_WITHIN)
        return


def _transport(host: Host) -> Transport | None:
    client = host.connector.client if isinstance(host.connector, SSHConnector) else None
    return client.get_transport() if client else None
