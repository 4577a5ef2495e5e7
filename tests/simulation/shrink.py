"""The shortest history that still breaks what a longer one has broken."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from tests.simulation.history import Command, Event, Fault, History, Host, Step

T = TypeVar("T")

Breaks = Callable[[History], bool]
"""Whether a history breaks the same."""

_MOST = 200
"""How many histories are tried."""


def shortened(history: History, breaks: Breaks) -> History:
    """Take away what is not needed, as long as the history still breaks."""
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
    """The same history with a little less, what takes most away first."""
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
    """The history without a step, and without what went wrong in it; later runs have smaller numbers."""
    return _with_step(history, number, None)


def _with_step(history: History, number: int, step: Step | None) -> History:
    """The history with another step in the place of one; runs that are not there any more take their faults along."""
    first = sum(_runs(each) for each in history.steps[:number])
    before, after = _runs(history.steps[number]), _runs(step) if step else 0
    faults = tuple(
        replace(fault, run=fault.run - before + after) if fault.run >= first + before else fault
        for fault in history.faults
        if not first + after <= fault.run < first + before
    )
    steps = (*history.steps[:number], *([step] if step else []), *history.steps[number + 1 :])
    return replace(history, steps=steps, faults=faults)


def without_host(history: History, name: str) -> History:
    """The history without a machine, and without what names it."""
    found = replace(
        history,
        hosts=tuple(host for host in history.hosts if host.name != name),
        faults=tuple(fault for fault in history.faults if fault.machine != name),
    )
    for number in reversed(range(len(found.steps))):
        step = found.steps[number]
        named = (
            [step.machine] if isinstance(step, Event) else [word for each in step for word in each.arguments]
        )
        if any(word == name or word.endswith((f"={name}", f"/{name}")) for word in named):
            found = without_step(found, number)
    return found


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
