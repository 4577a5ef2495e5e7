"""The door between a world and the product: runs of pyinfra's command line, one or several at once.

Each run has a process of its own, forked from this one. The world is here; it answers when no run can go on by itself,
so that the same history has always the same course.
"""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import gevent.os
from gevent import monkey

from tests.simulation.messages import Answer, Request, receive, send


class Killed(Exception):
    """The operator's process is killed, instead of getting an answer."""


class Machines(Protocol):
    """Who answers for machines."""

    now: float

    def answer(self, run: int, request: Request) -> tuple[Answer, float]:
        """What a machine answers to a run, and after how many seconds.

        Raises:
            Killed: the run's operator is killed at this moment.
        """

    def passed(self) -> None:
        """Some time has passed."""

    def upcoming(self) -> float:
        """When the next thing happens by itself."""

    def asleep(self, run: int) -> float:
        """Until when the operator's machine is suspended."""


@dataclass(frozen=True, kw_only=True)
class Deploy:
    """A command of an operator: pyinfra's ``arguments`` behind -y, in a ``folder`` of the operator's machine.

    ``run`` is its number in the history, ``after`` the seconds after which it begins, and ``prompt`` those for which the
    operator looks at the plan.
    """

    run: int
    arguments: tuple[str, ...]
    folder: Path
    operator: str = "alice"
    after: float = 0
    prompt: float = 0


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a run ended, and what it printed; ``killed`` is whether it was."""

    exit_code: int
    output: str
    killed: bool = False


@dataclass(kw_only=True)
class _Running:
    deploy: Deploy
    pid: int
    socket: int
    output: int
    wakes: float = float("inf")
    asked: list[Request] = field(default_factory=list)
    answers: list[tuple[float, int, Answer]] = field(default_factory=list)
    done: Done | None = None

    asleep: float = 0

    @property
    def next(self) -> float:
        """When it goes on."""
        return max(self.asleep, min([self.wakes, *(when for when, _, _ in self.answers)]))


def run_deploys(
    machines: Machines, deploys: list[Deploy], *, change: Callable[[], None] = lambda: None
) -> list[Done]:
    """Run commands beside each other, each to its end; how they ended, in their order.

    ``change`` is called in the process of each run before it begins, as to break the product.
    """
    waiting = sorted(deploys, key=lambda deploy: deploy.after)
    began = machines.now
    running: dict[int, _Running] = {}
    try:
        while waiting or any(each.done is None for each in running.values()):
            alive = [each for each in running.values() if each.done is None]
            for each in alive:
                _serve(machines, each)
            alive = [each for each in alive if each.done is None]
            upcoming = min([each.next for each in alive], default=float("inf"))
            happens = machines.upcoming()
            starts = began + waiting[0].after if waiting else float("inf")
            if min(upcoming, starts) == float("inf"):
                if alive:
                    raise AssertionError(f"run {alive[0].deploy.run} waits for nothing")
                continue
            machines.now = max(machines.now, min(upcoming, starts, happens))
            machines.passed()
            if happens < min(upcoming, starts):
                continue
            if starts <= upcoming:
                deploy = waiting.pop(0)
                running[deploy.run] = each = _start(machines, deploy, change=change)
                _hear(each)
                continue
            for each in alive:
                if each.next <= machines.now:
                    _go_on(machines, each)
    finally:
        for each in running.values():
            if each.done is None:
                _end(each, kill=True)
    ended = [running[deploy.run].done for deploy in deploys]
    return [done for done in ended if done]


def _start(machines: Machines, deploy: Deploy, *, change: Callable[[], None]) -> _Running:
    from tests.simulation import child  # which patches gevent into the standard library

    ours, theirs = socket.socketpair()
    output = os.memfd_create("output")
    pid = gevent.os.fork()
    if pid == 0:
        ours.close()
        child.run(
            socket=theirs.detach(),
            now=machines.now,
            folder=deploy.folder,
            output=output,
            arguments=list(deploy.arguments),
            operator=deploy.operator,
            prompt=deploy.prompt,
            change=change,
        )
    theirs.close()
    descriptor = ours.detach()
    os.set_blocking(descriptor, True)
    return _Running(deploy=deploy, pid=pid, socket=descriptor, output=output)


def _serve(machines: Machines, running: _Running) -> None:
    """Have machines answer what was asked; the answers come in their time."""
    while running.asked and running.done is None:
        request = running.asked.pop(0)
        try:
            answer, seconds = machines.answer(running.deploy.run, request)
        except Killed:
            _end(running, kill=True)
            return
        running.answers.append((machines.now + seconds, request.number, answer))
        running.asleep = machines.asleep(running.deploy.run)


def _go_on(machines: Machines, running: _Running) -> None:
    ready = sorted(each for each in running.answers if each[0] <= machines.now) if running.answers else []
    running.answers = [each for each in running.answers if each not in ready]
    with suppress(OSError):
        send(running.socket, (machines.now, [(number, answer) for _, number, answer in ready]))
    _hear(running)


def _hear(running: _Running) -> None:
    """Let a run go on until it cannot."""
    try:
        said = receive(running.socket)
    except EOFError:
        _end(running)
        return
    running.asked += said.requests
    running.wakes = said.wakes


def _end(running: _Running, *, kill: bool = False) -> None:
    if kill:
        os.kill(running.pid, signal.SIGKILL)
    _, status = monkey.get_original("os", "waitpid")(running.pid, 0)
    os.close(running.socket)
    os.lseek(running.output, 0, os.SEEK_SET)
    with os.fdopen(running.output, "rb") as file:
        output = file.read().decode(errors="replace")
    running.done = Done(exit_code=os.waitstatus_to_exitcode(status), output=output, killed=kill)
