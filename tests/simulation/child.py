"""pyinfra's real command line in a process of its own, whose machines and whose time are in another one.

The process is forked from one that has imported everything, which makes it cheap, and shares nothing with other runs.
Whenever nothing can go on in it, it asks for answers of machines, or for the time to pass: nothing really sleeps.
"""

import atexit
import datetime as real_datetime
import heapq
import logging
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable
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
from tests.simulation.messages import CONNECT, Answer, Idle, Request, receive, send

BASE_TIME = 1_764_000_000
"""The time when a history begins, in seconds since 1970."""


class Link:
    """The way from a run's process to the world's, and the run's clock, in seconds since the history began."""

    def __init__(self) -> None:
        self.now = 0.0
        self._socket = -1
        self._requests: list[Request] = []
        self._waiting: dict[int, Any] = {}
        self._sleeping: list[tuple[float, int, Any]] = []
        self._count = 0
        self._pumping = False

    def open(self, socket: int, *, now: float) -> None:
        """Begin a run."""
        self._socket, self.now = socket, now

    def ask(self, machine: str, command: str, *, stdin: str = "", seconds: float = 0) -> Answer:
        """Have a machine run a command."""
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
        """What ``gevent.sleep`` and ``time.sleep`` are here."""
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
        """Ask the world to go on once no greenlet of this process can."""
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
    """A datetime whose now is the history's."""

    @classmethod
    def now(cls, tz: real_datetime.tzinfo | None = None) -> "VirtualDatetime":
        """The history's time."""
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
    answer = LINK.ask(
        _machine_of(self),
        text,
        stdin=stdin if isinstance(stdin, str) else "\n".join(stdin),
        seconds=arguments.get("_timeout") or 0,
    )
    if answer.failure == "unreachable":
        raise ConnectError(answer.reason)
    if answer.failure == "lost":
        raise SSHException(answer.reason)
    if answer.failure == "late":
        raise TimeoutError
    lines = [OutputLine("stdout", line) for line in answer.stdout]
    lines += [OutputLine("stderr", line) for line in answer.stderr]
    return answer.done, CommandOutput(lines)


def _machine_of(connector: BaseConnector) -> str:
    name: str = connector.host.name
    return name.removeprefix("@fake/")


def prepare() -> None:
    """Make this process one from which runs are forked: with virtual time, and everything imported that a run needs."""
    _pretend_time()
    _pretend_hosts()
    make_cheaper()
    _import_everything()


class NoTimeout:
    """A ``gevent.Timeout`` that never ends anything: it counts real seconds, and machines say themselves when they are late."""

    def __init__(self, seconds: float, exception: BaseException) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def _pretend_time() -> None:
    everything: Any = gevent
    everything.sleep = LINK.sleep
    everything.Timeout = NoTimeout
    everything = time
    everything.sleep = LINK.sleep
    time.time = time.monotonic = lambda: BASE_TIME + LINK.now
    time.clock_gettime = lambda clock: BASE_TIME + LINK.now


def _pretend_hosts() -> None:
    FakeConnector.connect = _connect  # type: ignore[method-assign]
    FakeConnector.run_shell_command = _run_shell_command  # type: ignore[method-assign]
    # pyinfra keeps hosts in sets: in the order of their addresses in memory no run would be the same as another one.
    hosts: Any = Host
    hosts.__hash__ = lambda self: zlib.crc32(self.name.encode())


def _import_everything() -> None:
    import kubeadm_deploys.facts.machine
    import kubeadm_deploys.kube_packages
    import kubeadm_deploys.locking
    import kubeadm_deploys.removal
    import kubeadm_deploys.reporting
    import kubeadm_deploys.reset

    # Which key a keyring has is no question here.
    kubeadm_deploys.kube_packages.key_is_right = lambda **_: True
    # Names that modules have imported from others: also those that were imported before time was pretended.
    pretended = ((real_datetime.datetime, VirtualDatetime), (_sleep_really, LINK.sleep))
    for name, module in list(sys.modules.items()):
        if name.startswith("kubeadm_deploys"):
            for attribute, value in list(vars(module).items()):
                for real, instead in pretended:
                    if value is real:
                        setattr(module, attribute, instead)


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
    """Be pyinfra's command line with these arguments, in a process that was forked for it.

    ``operator`` is the name of the machine on which it runs, ``prompt`` are the seconds between the plan and the first
    operation, and ``change`` is called first.
    """
    atexit._clear()
    os.set_blocking(socket, True)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    os.environ["COLUMNS"] = "200"
    sys.argv = ["pyinfra", "-y", *arguments]
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

    from kubeadm_deploys import run_lock

    run_lock._controller = lambda: name
    machine: Any = socket
    machine.gethostname = lambda: name


def _wait_at_prompt(seconds: float) -> None:
    run_ops = operations.run_ops

    def wait_and_run(*arguments: Any, **keywords: Any) -> None:
        LINK.sleep(seconds)
        run_ops(*arguments, **keywords)

    cli.run_ops = wait_and_run
