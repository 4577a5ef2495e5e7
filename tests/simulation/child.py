"""Run pyinfra's real command line in its own process; its machines and its time are in another process.

The process is forked from one that has imported everything, which is cheap, and shares nothing with other
runs. When it can do nothing more, it asks the world for the machines' answers or for time to pass: nothing
really sleeps.
"""

import atexit
import datetime as real_datetime
import heapq
import io
import logging
import os
import platform
import signal
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import gevent
import pyinfra_cli  # type: ignore[import-untyped]  # noqa: F401  # patches gevent into the standard library, before everything else
from gevent.hub import Waiter
from paramiko import SSHException
from pyinfra.api import operations
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra_cli import cli
from pyinfra_cli import main as command_line

from tests.simulation.cheaper import make_cheaper
from tests.simulation.messages import BASE_TIME, CONNECT, Answer, Idle, Request, receive, send


class Link:
    """A run's connection to the world, and its clock in seconds since the history began."""

    def __init__(self) -> None:
        self.now = 0.0
        self._socket = -1
        self._requests: list[Request] = []
        self._waiting: dict[int, Any] = {}
        self._sleeping: list[tuple[float, int, Any]] = []
        self._count = 0
        self._pumping = False

    def open(self, socket: int, *, now: float) -> None:
        """Connect a run to the world."""
        self._socket, self.now = socket, now

    def ask(self, machine: str, command: str, *, stdin: str = "", seconds: float = 0) -> Answer:
        """Run a command on a machine, and return its answer."""
        waiter: Any = Waiter()
        self._count += 1
        self._requests.append(
            Request(number=self._count, machine=machine, command=command, stdin=stdin, seconds=seconds)
        )
        self._waiting[self._count] = waiter
        self._pump_later()
        answer: Answer = waiter.get()
        return answer

    def sleep(self, seconds: float = 0, ref: bool = True) -> Any:
        """Replace ``gevent.sleep`` and ``time.sleep``: wait until the history's time has passed."""
        if self._socket < 0:
            return _sleep_really(seconds, ref)
        waiter: Any = Waiter()
        self._count += 1
        heapq.heappush(self._sleeping, (self.now + max(seconds, 0), self._count, waiter))
        self._pump_later()
        waiter.get()

    def _pump_later(self) -> None:
        if not self._pumping:
            self._pumping = True
            gevent.get_hub().loop.run_callback(self._pump)

    def _pump(self) -> None:
        """Let the world continue once no greenlet of this process can."""
        loop: Any = gevent.get_hub().loop
        if len(loop._callbacks) > 0:
            loop.run_callback(self._pump)
            return
        requests, self._requests = tuple(self._requests), []
        wakes = self._sleeping[0][0] if self._sleeping else float("inf")
        send(self._socket, Idle(requests=requests, wakes=wakes))
        self.now, answers = receive(self._socket)
        self._pumping = False
        while self._sleeping and self._sleeping[0][0] <= self.now:
            heapq.heappop(self._sleeping)[2].switch(None)
        for number, answer in answers:
            self._waiting.pop(number).switch(answer)
        if self._waiting or self._sleeping:
            self._pump_later()


LINK = Link()

_sleep_really = gevent.sleep


class VirtualDatetime(real_datetime.datetime):
    """A datetime whose now is the history's time."""

    @classmethod
    def now(cls, tz: real_datetime.tzinfo | None = None) -> "VirtualDatetime":
        """Return the history's time."""
        return cls.fromtimestamp(BASE_TIME + LINK.now, tz)


def _connect(self: BaseConnector) -> None:
    answer = LINK.ask(_machine_of(self), CONNECT)
    if answer.failure:
        raise ConnectError(answer.reason)


def _run_shell_command(
    self: FakeConnector,
    command: str | StringCommand,
    print_output: bool = False,
    print_input: bool = False,
    **arguments: Any,
) -> tuple[bool, CommandOutput]:
    text = command if isinstance(command, str) else command.get_raw_value()
    stdin = arguments.get("_stdin") or ""
    answer = _answer(
        _machine_of(self),
        text,
        stdin=stdin if isinstance(stdin, str) else "\n".join(stdin),
        seconds=arguments.get("_timeout") or 0,
    )
    lines = [OutputLine("stdout", line) for line in answer.stdout]
    lines += [OutputLine("stderr", line) for line in answer.stderr]
    return answer.done, CommandOutput(lines)


def _answer(machine: str, command: str, **arguments: Any) -> Answer:
    """Return a machine's answer, or raise what pyinfra's connectors raise without one."""
    answer = LINK.ask(machine, command, **arguments)
    if answer.failure == "unreachable":
        raise ConnectError(answer.reason)
    if answer.failure == "lost":
        raise SSHException(answer.reason)
    if answer.failure == "late":
        raise TimeoutError
    return answer


@contextmanager
def _started(host: Host, command: str) -> Iterator[Any]:
    """Replace a process whose output is read while it runs: here it has ended."""
    from kubeadm_deploys.remote import streams

    answer = _answer(host.name.removeprefix("@fake/"), command, stdin="", seconds=0)
    yield streams._Process(
        output=io.BytesIO("\n".join(answer.stdout).encode()),
        errors=io.BytesIO("\n".join(answer.stderr).encode()),
        wait=lambda: 0 if answer.done else 1,
    )


class _ReadByMachine:
    """Replaces a process that reads its stdin: it runs once it has everything."""

    def __init__(self, machine: str, command: str) -> None:
        self._machine, self._command = machine, command
        self._pieces: list[bytes] = []

    def write(self, piece: bytes) -> None:
        self._pieces.append(piece)

    def end(self) -> tuple[int, str]:
        answer = _answer(self._machine, self._command, stdin=b"".join(self._pieces).decode(), seconds=0)
        return (0 if answer.done else 1), "\n".join(answer.stderr)


@contextmanager
def _started_to_read(host: Host, command: str) -> Iterator[Any]:
    yield _ReadByMachine(host.name.removeprefix("@fake/"), command)


def _machine_of(connector: BaseConnector) -> str:
    name: str = connector.host.name
    return name.removeprefix("@fake/")


def prepare() -> None:
    """Prepare this process for forking runs: virtual time, simulated hosts, and all imports of a run."""
    _simulate_time()
    _simulate_hosts()
    make_cheaper()
    _import_everything()


class NoTimeout:
    """A ``gevent.Timeout`` that never fires: the world decides on timeouts, not real seconds."""

    def __init__(self, seconds: float, exception: BaseException) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _simulate_time() -> None:
    module: Any = gevent
    module.sleep = LINK.sleep
    module.Timeout = NoTimeout
    module = time
    module.sleep = LINK.sleep
    time.time = time.monotonic = lambda: BASE_TIME + LINK.now
    time.clock_gettime = lambda clock: BASE_TIME + LINK.now


def _simulate_hosts() -> None:
    FakeConnector.connect = _connect  # type: ignore[method-assign]
    FakeConnector.run_shell_command = _run_shell_command  # type: ignore[method-assign]
    from kubeadm_deploys.remote import streams

    module: Any = streams
    module._started = _started
    module._started_to_read = _started_to_read
    module.make_unix_command_for_host = lambda state, host, command, **_: command
    # pyinfra keeps hosts in sets, whose order by default depends on memory addresses and differs in every
    # run.
    host_class: Any = Host
    host_class.__hash__ = lambda self: zlib.crc32(self.name.encode())


def _import_everything() -> None:
    import kubeadm_deploys.facts.machine
    import kubeadm_deploys.lifecycle.backup
    import kubeadm_deploys.lifecycle.removal
    import kubeadm_deploys.lifecycle.reset
    import kubeadm_deploys.lifecycle.restore
    import kubeadm_deploys.run.locking
    import kubeadm_deploys.run.reporting
    import kubeadm_deploys.sections.kube_packages

    # Its first call starts a program; a run that waits for it would let the history's time pass.
    platform.platform()
    # Simulated snapshots are texts, without etcd's checksum.
    kubeadm_deploys.documents.backup_file._Checked.ends_with_its_checksum = True  # type: ignore
    # Simulated machines have no keyrings.
    kubeadm_deploys.sections.kube_packages.key_is_right = lambda **_: True
    # Also replace names that modules imported before time was simulated.
    replacements = ((real_datetime.datetime, VirtualDatetime), (_sleep_really, LINK.sleep))
    for name, module in list(sys.modules.items()):
        if name.startswith("kubeadm_deploys"):
            for attribute, value in list(vars(module).items()):
                for real, replacement in replacements:
                    if value is real:
                        setattr(module, attribute, replacement)


def run(
    *,
    socket: int,
    now: float,
    folder: Path,
    output: int,
    arguments: list[str],
    operator: str,
    prompt: float,
    change: Callable[[], None],
) -> NoReturn:
    """Run pyinfra's command line with these arguments in this forked process, and exit.

    ``operator`` is the name of the operator's machine, ``prompt`` the seconds between the plan and the first
    operation; ``change`` is called first.
    """
    atexit._clear()
    os.set_blocking(socket, True)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    os.environ["COLUMNS"] = "200"
    # With -y pyinfra does not look for changes, and a dry run without it does not ask.
    sys.argv = ["pyinfra", *(() if "--dry" in arguments else ("-y",)), *arguments]
    LINK.open(socket, now=now)
    code = 1
    try:
        _be_operator(operator)
        if prompt:
            _wait_at_prompt(prompt)
        change()
        command_line.main()
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        atexit._run_exitfuncs()
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _be_operator(name: str) -> None:
    import socket

    from kubeadm_deploys.run import run_lock

    run_lock._controller = lambda: name
    socket_module: Any = socket
    socket_module.gethostname = lambda: name


def _wait_at_prompt(seconds: float) -> None:
    run_ops = operations.run_ops

    def wait_and_run(*arguments: Any, **keywords: Any) -> None:
        LINK.sleep(seconds)
        run_ops(*arguments, **keywords)

    cli.run_ops = wait_and_run
