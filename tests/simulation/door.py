"""Connect a world with the product: run pyinfra's command line, one run or several at once.

Each run has its own process, forked from this one. The world is in this process. It answers when no run can
continue by itself, so that the same history always plays the same way.
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
    """The run's process is killed instead of getting an answer."""


class Machines(Protocol):
    """Answers for machines."""

    now: float

    def answer(self, run: int, request: Request) -> tuple[Answer, float]:
        """Return a machine's answer to a run, and the seconds until it comes.

        Raises:
            Killed: the run's process is killed at this moment.
        """

    def passed(self) -> None:
        """Handle that time has passed."""

    def upcoming(self) -> float:
        """Return the time of the next event."""

    def asleep(self, run: int) -> float:
        """Return until when the operator's machine is suspended."""


@dataclass(frozen=True, kw_only=True)
class Deploy:
    """An operator's command: pyinfra's ``arguments`` after -y, in a ``folder`` of the operator's machine.

    ``run`` is its number in the history, ``after`` the seconds until it begins, and ``prompt`` the seconds
    for which the operator looks at the plan.
    """

    run: int
    arguments: tuple[str, ...]
    folder: Path
    operator: str = "alice"
    after: float = 0
    prompt: float = 0


@dataclass(frozen=True, kw_only=True)
class Done:
    """A run's exit code and output, and whether it was killed."""

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
        """When the run continues."""
        return max(self.asleep, min([self.wakes, *(when for when, _, _ in self.answers)]))


def run_deploys(
    machines: Machines, deploys: list[Deploy], *, change: Callable[[], None] = lambda: None
) -> list[Done]:
    """Run commands concurrently to their ends, and return their results in order.

    ``change`` is called in the process of each run before it begins, for example to break the product.
    """
    waiting = sorted(deploys, key=lambda deploy: deploy.after)
    began = machines.now
    running: dict[int, _Running] = {}
    try:
        while waiting or any(run.done is None for run in running.values()):
            alive = [run for run in running.values() if run.done is None]
            for run in alive:
                _serve(machines, run)
            alive = [run for run in alive if run.done is None]
            continues = min([run.next for run in alive], default=float("inf"))
            event = machines.upcoming()
            starts = began + waiting[0].after if waiting else float("inf")
            if min(continues, starts) == float("inf"):
                if alive:
                    raise AssertionError(f"run {alive[0].deploy.run} waits for nothing")
                continue
            machines.now = max(machines.now, min(continues, starts, event))
            machines.passed()
            if event < min(continues, starts):
                continue
            if starts <= continues:
                deploy = waiting.pop(0)
                running[deploy.run] = run = _start(machines, deploy, change=change)
                _receive(run)
                continue
            for run in alive:
                if run.next <= machines.now:
                    _continue(machines, run)
    finally:
        for run in running.values():
            if run.done is None:
                _end(run, kill=True)
    ended = [running[deploy.run].done for deploy in deploys]
    return [done for done in ended if done]


def _start(machines: Machines, deploy: Deploy, *, change: Callable[[], None]) -> _Running:
    from tests.simulation import child  # which patches gevent into the standard library

    world_socket, run_socket = socket.socketpair()
    output = os.memfd_create("output")
    pid = gevent.os.fork()
    if pid == 0:
        world_socket.close()
        child.run(
            socket=run_socket.detach(),
            now=machines.now,
            folder=deploy.folder,
            output=output,
            arguments=list(deploy.arguments),
            operator=deploy.operator,
            prompt=deploy.prompt,
            change=change,
        )
    run_socket.close()
    descriptor = world_socket.detach()
    os.set_blocking(descriptor, True)
    return _Running(deploy=deploy, pid=pid, socket=descriptor, output=output)


def _serve(machines: Machines, running: _Running) -> None:
    """Get the machines' answers to a run's requests; each answer is delivered at its time."""
    while running.asked and running.done is None:
        request = running.asked.pop(0)
        try:
            answer, seconds = machines.answer(running.deploy.run, request)
        except Killed:
            _end(running, kill=True)
            return
        running.answers.append((machines.now + seconds, request.number, answer))
        running.asleep = machines.asleep(running.deploy.run)


def _continue(machines: Machines, running: _Running) -> None:
    ready = sorted(answer for answer in running.answers if answer[0] <= machines.now)
    running.answers = [answer for answer in running.answers if answer not in ready]
    with suppress(OSError):
        send(running.socket, (machines.now, [(number, answer) for _, number, answer in ready]))
    _receive(running)


def _receive(running: _Running) -> None:
    """Wait until a run can do nothing more, and take its new requests."""
    try:
        idle = receive(running.socket)
    except EOFError:
        _end(running)
        return
    running.asked += idle.requests
    running.wakes = idle.wakes


def _end(running: _Running, *, kill: bool = False) -> None:
    if kill:
        os.kill(running.pid, signal.SIGKILL)
    _, status = monkey.get_original("os", "waitpid")(running.pid, 0)
    os.close(running.socket)
    os.lseek(running.output, 0, os.SEEK_SET)
    with os.fdopen(running.output, "rb") as file:
        output = file.read().decode(errors="replace")
    running.done = Done(exit_code=os.waitstatus_to_exitcode(status), output=output, killed=kill)
