"""What a run's process and the world's say to each other."""

import os
import pickle
import struct
from dataclasses import dataclass
from typing import Any

CONNECT = "<connect>"
"""The command by which a run connects to a machine."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A command for a machine: what goes to its stdin, and how many seconds it has."""

    number: int
    machine: str
    command: str
    stdin: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a machine answered, or how the connection failed: ``lost``, ``unreachable`` or ``late``, and why."""

    done: bool = True
    stdout: tuple[str, ...] = ()
    stderr: tuple[str, ...] = ()
    failure: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Idle:
    """A run can do nothing more: its new ``requests``, and when it wants to go on in any case."""

    requests: tuple[Request, ...]
    wakes: float


def send(socket: int, message: object) -> None:
    """Send a message through a socket; raises OSError when nobody is there any more."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    data = struct.pack("!I", len(data)) + data
    while data:
        data = data[os.write(socket, data) :]


def receive(socket: int) -> Any:
    """The next message from a socket.

    Raises:
        EOFError: the other side is gone.
    """
    size = struct.unpack("!I", _read(socket, 4))[0]
    return pickle.loads(_read(socket, size))


def _read(socket: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            found = os.read(socket, size - len(data))
        except ConnectionResetError:
            found = b""
        if not found:
            raise EOFError
        data += found
    return data
