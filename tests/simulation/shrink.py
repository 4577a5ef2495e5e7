"""Shorten a history that violates an invariant."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from tests.simulation.history import Command, Event, Fault, History, Host, Step

T = TypeVar("T")

Breaks = Callable[[History], bool]
"""Return whether a history violates the same invariant."""

_MOST = 200
"""Maximum number of histories to try."""


def shortened(history: History, breaks: Breaks) -> History:
    """Return the shortest history found that still violates the invariant."""
    tried: set[History] = {history}
    again = True
    while again:
        again = False
        for candidate in _shorter(history):
            if candidate in tried:
                continue
            tried.add(candidate)
            if len(tried) > _MOST:
                return history
            if breaks(candidate):
                history, again = candidate, True
                break
    return history


def _shorter(history: History) -> Iterator[History]:
    """Yield slightly shorter histories, those that remove most first."""
    for number in range(len(history.steps)):
        yield without_step(history, number)
    for number in range(len(history.faults)):
        yield replace(history, faults=_without(history.faults, number))
    if len(history.hosts) > 1:
        for host in reversed(history.hosts):
            yield without_host(history, host.name)
    for number, step in enumerate(history.steps):
        for simpler in _simpler_steps(step):
            yield _with_step(history, number, simpler)
    for number, host in enumerate(history.hosts):
        for begins in _simpler_beginnings(host):
            hosts = (*history.hosts[:number], replace(host, begins=begins), *history.hosts[number + 1 :])
            yield replace(history, hosts=hosts)
    for number, fault in enumerate(history.faults):
        for simpler_fault in _simpler_faults(fault):
            faults = (*history.faults[:number], simpler_fault, *history.faults[number + 1 :])
            yield replace(history, faults=faults)


def without_step(history: History, number: int) -> History:
    """Return the history without a step and its faults; later runs get smaller numbers."""
    return _with_step(history, number, None)


def _with_step(history: History, number: int, step: Step | None) -> History:
    """Return the history with a step replaced or removed, and without the faults of removed runs."""
    first = sum(_runs(earlier) for earlier in history.steps[:number])
    before, after = _runs(history.steps[number]), _runs(step) if step else 0
    faults = tuple(
        replace(fault, run=fault.run - before + after) if fault.run >= first + before else fault
        for fault in history.faults
        if not first + after <= fault.run < first + before
    )
    steps = (*history.steps[:number], *([step] if step else []), *history.steps[number + 1 :])
    return replace(history, steps=steps, faults=faults)


def without_host(history: History, name: str) -> History:
    """Return the history without a machine, and without everything that names it."""
    shorter = replace(
        history,
        hosts=tuple(host for host in history.hosts if host.name != name),
        faults=tuple(fault for fault in history.faults if fault.machine != name),
    )
    for number in reversed(range(len(shorter.steps))):
        step = shorter.steps[number]
        named = (
            [step.machine]
            if isinstance(step, Event)
            else [word for command in step for word in command.arguments]
        )
        if any(word == name or word.endswith((f"={name}", f"/{name}")) for word in named):
            shorter = without_step(shorter, number)
    return shorter


def _simpler_steps(step: Step) -> Iterator[Step]:
    if isinstance(step, Event):
        if step.what == "dies":
            yield replace(step, what="stops")
        return
    if len(step) > 1:
        for number in range(len(step)):
            yield (replace(step[number], after=0.0, prompt=0.0),)
    for number, command in enumerate(step):
        for argument in range(len(command.arguments)):
            simpler = replace(command, arguments=_without(command.arguments, argument))
            yield (*step[:number], simpler, *step[number + 1 :])
        if command.prompt:
            yield (*step[:number], replace(command, prompt=0.0), *step[number + 1 :])
        if command.operator == "bob" and len(step) == 1:
            yield (replace(command, operator="alice"),)
        if command.deploy != "cluster.py":
            yield (
                *step[:number],
                Command(deploy="cluster.py", operator=command.operator),
                *step[number + 1 :],
            )


def _simpler_beginnings(host: Host) -> Iterator[str]:
    if host.begins.startswith("half"):
        yield from ("prepared", "member")
    elif host.begins == "bare":
        yield "prepared"


def _simpler_faults(fault: Fault) -> Iterator[Fault]:
    if fault.at and fault.kind in ("death",):
        yield replace(fault, kind="reboot")
    if fault.at > 1 and fault.kind not in ("reboot", "death", "cut", "cut and lost"):
        yield replace(fault, at=0)


def _runs(step: Step) -> int:
    return 0 if isinstance(step, Event) else len(step)


def _without(values: tuple[T, ...], number: int) -> tuple[T, ...]:
    return (*values[:number], *values[number + 1 :])
