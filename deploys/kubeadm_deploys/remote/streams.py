"""Read what a command prints while it prints it, or write to it while it reads: bytes that are many, or not text.

pyinfra keeps the whole input and output of a command as text. Its own way to copy a file needs a copy that the
SSH user may read, which with sudo is one that everybody may read.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import gevent
from gevent import subprocess
from paramiko import SSHException
from pyinfra.api import Host
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError, DeployError
from pyinfra.connectors.docker import DockerConnector
from pyinfra.connectors.local import LocalConnector
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.util import (
    CommandOutput,
    OutputLine,
    extract_control_arguments,
    make_unix_command_for_host,
)

from kubeadm_deploys.remote import connections, direct
from kubeadm_deploys.remote.connections import OPERATION_SECONDS, Answer, Command, NoAnswer


class Source(Protocol):
    """What can be read: bytes up to a number, fewer only at the end, or up to the end of a line."""

    def read(self, size: int, /) -> bytes:
        """Return this many bytes, fewer at the end."""
        ...

    def readline(self, size: int, /) -> bytes:
        """Return the next line, or its first ``size`` bytes."""
        ...


def read_from(host: Host, command: StringCommand, consume: Callable[[Source], object]) -> Answer:
    """Run a command that changes nothing, with the host's sudo and shell settings, and consume what it prints.

    Returns whether the command succeeded, and its errors. ``consume`` may stop before the end: the command
    then ends at its next output, and counts as failed.

    Raises:
        NoAnswer: the machine could not be reached, the connection was lost, or nothing came for
            ``OPERATION_SECONDS``.
        DeployError: the machine's connector is neither SSH nor that of docker or the local machine.
    """
    return connections.through_fence(host, command, lambda allowed: _deliver(host, allowed, consume))


class Sink(Protocol):
    """What can be written."""

    def write(self, piece: bytes, /) -> object:
        """Write these bytes."""
        ...


def write_to(host: Host, command: StringCommand, produce: Callable[[Sink], object]) -> Answer:
    """Run a command that may change the machine, and produce what it reads on its stdin.

    Returns whether the command succeeded, and its errors. The command must check that it has read everything:
    its input ends early if ``produce`` raises an exception, or if the connection is lost.

    Raises:
        NoAnswer: the machine could not be reached, the connection was lost, or the command read nothing, or did
            not end, for ``OPERATION_SECONDS``.
        DeployError: the machine's connector is neither SSH nor that of docker or the local machine.
    """
    return connections.through_door(host, command, lambda allowed: _hand_over(host, allowed, produce))


def _hand_over(host: Host, command: Command, produce: Callable[[Sink], object]) -> Answer:
    with _lost_connection_is_no_answer(), _started_to_read(host, _unix_command(host, command)) as process:
        # Then it has ended before it read everything, and says why.
        with suppress(BrokenPipeError):
            produce(_PatientSink(process))
        with _patience():
            ended = process.end()
    return _answer(host, *ended)


def _unix_command(host: Host, command: Command) -> str:
    connections.connect(host)
    arguments: Any = direct.connector_arguments(host)
    extract_control_arguments(arguments)
    unix: StringCommand = make_unix_command_for_host(host.state, host, StringCommand(command), **arguments)
    return str(unix.get_raw_value())


def _deliver(host: Host, command: Command, consume: Callable[[Source], object]) -> Answer:
    with _lost_connection_is_no_answer(), _started(host, _unix_command(host, command)) as process:
        consume(_Patient(process))
        ended = process.end()
    return _answer(host, *ended)


@contextmanager
def _lost_connection_is_no_answer() -> Iterator[None]:
    try:
        yield
    except ConnectError as error:
        raise NoAnswer(f"cannot be reached: {error}", sent=False) from None
    except (EOFError, SSHException) as error:
        raise NoAnswer(f"the connection was lost ({str(error) or type(error).__name__})") from None


def _answer(host: Host, status: int, errors: str) -> Answer:
    if status != 0 and not connections.is_connected(host):
        raise NoAnswer("the connection was lost")
    return status == 0, CommandOutput([OutputLine("stderr", line) for line in errors.splitlines()])


def _patience() -> gevent.Timeout:
    return gevent.Timeout(OPERATION_SECONDS, NoAnswer(f"no answer in {OPERATION_SECONDS} s"))


class _PatientSink:
    """Limits the wait for each piece: a whole transfer may take long."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def write(self, piece: bytes, /) -> None:
        with _patience():
            self._sink.write(piece)


class _Patient:
    """Limits the wait for each piece: a whole transfer may take long."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, size: int, /) -> bytes:
        with _patience():
            return self._source.read(size)

    def readline(self, size: int, /) -> bytes:
        with _patience():
            return self._source.readline(size)


class _Process:
    """A command that runs: its output, its errors, and how it ends."""

    def __init__(self, *, output: Any, errors: Any, wait: Callable[[], int]) -> None:
        self._output = output
        self._errors = gevent.spawn(errors.read)
        self._wait = wait
        self._at_end = False

    def read(self, size: int, /) -> bytes:
        piece = bytes(self._output.read(size))
        self._at_end = self._at_end or len(piece) < size
        return piece

    def readline(self, size: int, /) -> bytes:
        line = bytes(self._output.readline(size))
        self._at_end = self._at_end or not line
        return line

    def end(self) -> tuple[int, str]:
        """Return the exit status and the errors; -1 if its output was not read to the end."""
        if not self._at_end:
            return -1, ""
        return self._wait(), self._errors.get().decode(errors="replace")


class _Reader:
    """A command that reads its stdin: what it gets, and how it ends."""

    def __init__(self, *, write: Callable[[bytes], object], close: Callable[[], object], errors: Any) -> None:
        self._write = write
        self._close = close
        self._errors = gevent.spawn(errors.read)
        self.wait: Callable[[], int] = lambda: -1

    def write(self, piece: bytes, /) -> None:
        self._write(piece)

    def end(self) -> tuple[int, str]:
        """End its input, and return the exit status and the errors."""
        # Without a reader, what was not read yet cannot be flushed.
        with suppress(BrokenPipeError):
            self._close()
        return self.wait(), self._errors.get().decode(errors="replace")


@contextmanager
def _started_to_read(host: Host, command: str) -> Iterator[_Reader]:
    connector = host.connector
    if isinstance(connector, SSHConnector):
        transport = connector.client.get_transport() if connector.client else None
        if transport is None:
            raise NoAnswer("the connection was lost")
        channel = transport.open_session()

        def send(piece: bytes) -> None:
            try:
                channel.sendall(piece)
            except OSError:
                # paramiko's error when the other end has closed the channel.
                raise BrokenPipeError from None

        try:
            channel.exec_command(command)
            reader = _Reader(write=send, close=channel.shutdown_write, errors=channel.makefile_stderr("rb"))
            reader.wait = channel.recv_exit_status
            yield reader
        finally:
            channel.close()
        return
    process: Any = subprocess.Popen(
        _arguments(host, command, interactive=True),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        reader = _Reader(write=process.stdin.write, close=process.stdin.close, errors=process.stderr)
        reader.wait = process.wait
        yield reader
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait()


def _arguments(host: Host, command: str, *, interactive: bool = False) -> list[str]:
    connector = host.connector
    if isinstance(connector, DockerConnector):
        options = ["--interactive"] if interactive else []
        return [connector.docker_cmd, "exec", *options, connector.container_id, "sh", "-c", command]
    if isinstance(connector, LocalConnector):
        return ["sh", "-c", command]
    raise DeployError(f"{host.name}: files cannot be copied over its connector; connect by SSH")


@contextmanager
def _started(host: Host, command: str) -> Iterator[_Process]:
    connector = host.connector
    if isinstance(connector, SSHConnector):
        transport = connector.client.get_transport() if connector.client else None
        if transport is None:
            raise NoAnswer("the connection was lost")
        channel = transport.open_session()
        try:
            channel.exec_command(command)
            channel.shutdown_write()
            yield _Process(
                output=channel.makefile("rb"),
                errors=channel.makefile_stderr("rb"),
                wait=channel.recv_exit_status,
            )
        finally:
            channel.close()
        return
    process = subprocess.Popen(
        _arguments(host, command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield _Process(output=process.stdout, errors=process.stderr, wait=process.wait)
    finally:
        if process.stdout:
            process.stdout.close()
        if process.poll() is None:
            process.terminate()
        process.wait()
