"""Messages between a run's process and the world's."""

import os
import pickle
import struct
from dataclasses import dataclass
from typing import Any

BASE_TIME = 1_764_000_000
"""Time of all clocks when a history begins, in seconds since 1970."""

CONNECT = "<connect>"
"""The command by which a run connects to a machine."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """A command for a machine, with its stdin and its timeout in seconds."""

    number: int
    machine: str
    command: str
    stdin: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A machine's answer, or a connection's ``failure`` (lost, unreachable or late) with its reason."""

    done: bool = True
    stdout: tuple[str, ...] = ()
    stderr: tuple[str, ...] = ()
    failure: str = ""
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Idle:
    """A run can do nothing more: its new ``requests``, and the time when it ``wakes`` in any case."""

    requests: tuple[Request, ...]
    wakes: float


def send(socket: int, message: object) -> None:
    """Send a message through a socket.

    Raises:
        OSError: the other side is gone.
    """
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    data = struct.pack("!I", len(data)) + data
    while data:
        data = data[os.write(socket, data) :]


def receive(socket: int) -> Any:
    """Return the next message from a socket.

    Raises:
        EOFError: the other side is gone.
    """
    size = struct.unpack("!I", _read(socket, 4))[0]
    return pickle.loads(_read(socket, size))


def _read(socket: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            received = os.read(socket, size - len(data))
        except ConnectionResetError:
            received = b""
        if not received:
            raise EOFError
        data += received
    return data
