"""The course of a history: answer for the machines, make faults happen, and check the invariants."""

import random
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from kubeadm_deploys.facts.kubeadm_node import RESTORE_FOLDER
from kubeadm_deploys.run import run_lock
from tests.simulation import commands
from tests.simulation.commands import Part, Sent
from tests.simulation.door import Killed
from tests.simulation.history import CHANGE_FAULTS, FAILS_ONE, FOR_GOOD, READING_FAULTS, STALE, Fault
from tests.simulation.invariants import AT_EACH_STEP, Deed, Intent
from tests.simulation.machine import LOCK, Machine
from tests.simulation.messages import BASE_TIME, CONNECT, Answer, Request
from tests.simulation.readings import Readings
from tests.simulation.scripts import CHANGES_NOTHING, SECONDS, Scripts
from tests.simulation.world import Change, Failed, World

_REBOOT_SECONDS = 40
_SUSPENDED_SECONDS = 400
_CANNOT_FORK = "sh: 1: Cannot fork"
_LOST = "SSH session not active"

_MAY_BE_STALE = ("EtcdMembers",)

_DECISIVE = frozenset(
    {
        *("kubeadm", "clean-machine", "member", "stop-api-server", "delete", "drain", "cordon"),
        *("write-pki", "wait-for-api", "make", "register", "label", "restore"),
        *("begin-restore", "stop-static-pods", "receive-snapshot", "unpack-snapshot", "start-static-pods"),
        *("copy-database", "end-restore", "restart"),
        *("swap-static-pod", "swap-kubelet-configuration", "settle-kubelet-configuration"),
        "remove-kubelet-fields",
    }
)
"""Changes that decide over nodes, by the first word of their label."""


_IN_KUBEADMS_UNIT = (
    *("kubeadm", "renew-api-certificate", "roll-kube-proxy", "swap-kubelet-configuration", "swap-static-pod"),
)

_SOMEWHERE = ("cut", "cut and lost", "reboot", "death", FAILS_ONE)
"""Faults that may happen at any step of a change, or to any one of several readings."""


@dataclass(frozen=True, kw_only=True)
class Focus:
    """Probabilities of a fault in a run; ``kinds`` limits the kinds of faults.

    ``decisive`` is for changes that decide over nodes, ``change`` for other changes, ``locked`` for readings
    once the run has its lock, ``reading`` for readings before that.
    """

    decisive: float
    change: float
    locked: float
    reading: float
    kinds: tuple[str, ...] = ()


FOCUSES = (
    Focus(decisive=0.35, change=0, locked=0, reading=0),
    Focus(decisive=0.2, change=0.02, locked=0.08, reading=0),
    Focus(decisive=0.1, change=0.05, locked=0.03, reading=0.03),
)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """An action that a run is about to do on a machine.

    ``locked`` is whether the run has its lock. If the action has several readings, ``among`` has each of them
    with the number of earlier times.
    """

    run: int
    machine: str
    what: str
    nth: int
    change: bool
    locked: bool = False
    among: tuple[tuple[str, int], ...] = ()


class Faults(Protocol):
    """A source of faults."""

    def at(self, moment: Moment) -> Fault | None:
        """Return the fault at a moment."""


class Written:
    """The faults of a written history."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._faults: dict[tuple[int, str, str], list[Fault]] = {}
        for fault in faults:
            self._faults.setdefault((fault.run, fault.machine, fault.what), []).append(fault)
        self.happened: list[Fault] = []

    def at(self, moment: Moment) -> Fault | None:
        """Return the fault at a moment."""
        for what, nth in ((moment.what, moment.nth), *moment.among):
            for fault in self._faults.get((moment.run, moment.machine, what), ()):
                if fault.nth == nth or (fault.again and fault.nth < nth):
                    if fault not in self.happened:
                        self.happened.append(fault)
                    return fault
        return None


class Rolled:
    """Random faults; those that ``happened`` are recorded, so that the history can be written."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._left: dict[int, int] = {}
        self._focus: dict[int, Focus] = {}
        self.happened: list[Fault] = []

    def allow(self, run: int, count: int) -> None:
        """Allow this many faults in a run."""
        self._left[run] = count
        self._focus[run] = self._dice.choice(FOCUSES)

    def suspend(self, run: int) -> None:
        """Allow only one fault in a run: the operator's machine is suspended at one of its changes."""
        self._left[run] = 1
        self._focus[run] = Focus(decisive=0.4, change=0.1, locked=0, reading=0, kinds=("suspend",))

    def at(self, moment: Moment) -> Fault | None:
        """Return the fault at a moment."""
        if not self._left.get(moment.run) or self._dice.random() > self._likely(moment):
            return None
        self._left[moment.run] -= 1
        kinds = self._focus[moment.run].kinds or (CHANGE_FAULTS if moment.change else READING_FAULTS)
        kinds = (*kinds, STALE) if moment.what in _MAY_BE_STALE else kinds
        weights = [0.25 if kind in ("death", "suspend") else 1 for kind in kinds]
        kind = self._dice.choices(kinds, weights)[0]
        at = self._dice.randrange(1, 14) if kind in _SOMEWHERE else 0
        fault = Fault(
            run=moment.run, machine=moment.machine, what=moment.what, nth=moment.nth, kind=kind, at=at
        )
        self.happened.append(fault)
        return fault

    def _likely(self, moment: Moment) -> float:
        focus = self._focus[moment.run]
        if moment.change:
            return focus.decisive if moment.what.partition(" ")[0] in _DECISIVE else focus.change
        return focus.locked if moment.locked else focus.reading


@dataclass(kw_only=True)
class Course:
    """Answers runs for the machines of a world.

    ``intents`` are the runs' by number, ``locked`` is when each run was first granted the lock, and ``later``
    are events with their times.
    """

    world: World
    faults: Faults
    intents: dict[int, Intent] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    locked: dict[int, float] = field(default_factory=dict)
    later: list[tuple[float, Callable[[], None]]] = field(default_factory=list)
    _counts: Counter[tuple[int, str, str]] = field(default_factory=Counter)
    _asleep: dict[int, float] = field(default_factory=dict)
    _lasting: dict[tuple[int, str], str] = field(default_factory=dict)
    _before: dict[tuple[str, str], Answer] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.readings = Readings(self.world)
        self.scripts = Scripts(self.world)

    @property
    def now(self) -> float:
        """The history's time in seconds."""
        return self.world.now

    @now.setter
    def now(self, now: float) -> None:
        self.world.now = now

    def passed(self) -> None:
        """Let due events happen, and kubelets and etcd act."""
        due = [happen for time, happen in self.later if time <= self.now]
        self.later = [(time, happen) for time, happen in self.later if time > self.now]
        for happen in due:
            happen()
        self.world.settle()

    def upcoming(self) -> float:
        """Return the time of the next event."""
        return min((time for time, _ in self.later), default=float("inf"))

    def asleep(self, run: int) -> float:
        """Return until when the operator's machine is suspended."""
        return self._asleep.get(run, 0)

    def answer(self, run: int, request: Request) -> tuple[Answer, float]:
        """Return a machine's answer, and the seconds until it comes.

        Raises:
            Killed: the run's process is killed at this moment.
        """
        answer, seconds = self._answer(run, request)
        greeting = self.world.machines[request.machine].greeting
        if greeting and request.command != CONNECT:
            answer = replace(answer, stdout=(*greeting, *answer.stdout))
        return answer, seconds

    def _answer(self, run: int, request: Request) -> tuple[Answer, float]:
        machine = self.world.machines[request.machine]
        lasting = self._lasting.get((run, machine.name), "")
        if not machine.is_up(self.now) or lasting == "away on":
            return Answer(failure="unreachable", reason="Could not connect (timed out)"), 10
        if request.command == CONNECT:
            return Answer(), 0.2
        if lasting == "fails on":
            return Answer(done=False, stderr=(_CANNOT_FORK,)), 0.2
        fenced_by, text = commands.fence_of(request.command)
        lock = dict(line.partition(" ")[::2] for line in machine.files.get(LOCK, "").splitlines())
        if fenced_by and lock.get("run", fenced_by) != fenced_by:
            return Answer(done=False, stderr=(f"{run_lock.REFUSED} ({lock['who']})",)), 0.2
        sent = commands.sent(machine.name, text)
        what = sent.label
        change = not all(part.reading or part.name in CHANGES_NOTHING for part in sent.parts)
        nth = self._count(run, machine, what)
        among = tuple(
            (part.name, self._count(run, machine, part.name))
            for part in sent.parts
            if part.reading and part.name != what
        )
        moment = Moment(
            run=run,
            machine=machine.name,
            what=what,
            nth=nth,
            change=change,
            locked=run in self.locked,
            among=among,
        )
        fault = None if what in ("fail", "true", "diagnose") else self.faults.at(moment)
        readings = f" ({', '.join(name for name, _ in among)})" if among else ""
        fault_text = f"  !! {fault.kind} {fault.at}" if fault else ""
        self.log.append(f"{self.now:8.1f} run {run} {machine.name} {what}{readings}{fault_text}")
        if fault:
            return self._with_fault(fault, machine, sent, request, change=change)
        answer, seconds = self._done(run, machine, sent, request.stdin)
        if what in _MAY_BE_STALE and answer.done:
            self._before[machine.name, what] = answer
        return answer, seconds

    def _count(self, run: int, machine: Machine, what: str) -> int:
        """Count an action of a run on a machine, and return how often it was done before."""
        self._counts[run, machine.name, what] += 1
        return self._counts[run, machine.name, what] - 1

    def _done(
        self,
        run: int,
        machine: Machine,
        sent: Sent,
        stdin: str,
        *,
        steps: int | None = None,
        fails: int | None = None,
        error: str = _CANNOT_FORK,
    ) -> tuple[Answer, float]:
        """Run a command, or only its first ``steps``; the part number ``fails`` fails with ``error``."""
        stdout: list[str] = []
        stderr: list[str] = []
        seconds = 0.0
        if sent.lock:
            seconds = self._part(run, machine, sent.lock, stdin, steps)[1]
            stdout += _framed(sent.lock, self.scripts.printed)
            if self.scripts.printed[-1] != "taken":
                return Answer(stdout=tuple(stdout)), seconds
        for number, part in enumerate(sent.parts):
            if part.name not in CHANGES_NOTHING and not part.reading:
                change = Change(
                    run=run, machine=machine.name, what=part.label, time=self.now, words=part.words
                )
                self.world.changes.append(change)
            try:
                if number == fails:
                    raise Failed(error)
                lines, took = self._part(run, machine, part, stdin, steps)
                stdout += _framed(part, lines)
                seconds = max(seconds, took) if sent.beside else seconds + took
            except Failed as failed:
                message = str(failed.args[0])
                took = float(failed.args[1]) if len(failed.args) > 1 else 1.0
                self.log.append(f"{'':8} {message}")
                if sent.beside:
                    stdout += _framed(part, [])[:-1]
                    stderr.append(f"{part.frame}: {message}")
                    continue
                stdout += _framed(part, []) if part.frame else self.scripts.printed
                return Answer(done=False, stdout=tuple(stdout), stderr=(message,)), seconds + took
        if sent.beside:
            clock = Part(reading=True, name="Clock", frame="Clock")
            stdout += _framed(clock, [f"{BASE_TIME + self.now:.9f}"])
        return Answer(stdout=tuple(stdout), stderr=tuple(stderr)), seconds

    def _part(
        self, run: int, machine: Machine, part: Part, stdin: str, steps: int | None
    ) -> tuple[list[str], float]:
        if part.reading:
            return self.readings.answer(machine, part)
        seconds = SECONDS.get(part.name, 0.3)
        if part.name in _IN_KUBEADMS_UNIT:
            machine.kubeadm_until = self.now + seconds
        changes = part.name not in CHANGES_NOTHING
        intent = self.intents.get(run, Intent())
        deed = Deed.of(self.world, run=run, intent=intent, machine=machine, part=part) if changes else None
        if intent.deploy == "reset.py" and part.name == "clean-machine":
            self._give_up(intent)
        if intent.deploy == "restore.py" and part.name == "begin-restore":
            for cluster in self.world.own_clusters():
                cluster.given_up = (
                    cluster.given_up or not cluster.origin or intent.restarts or self._is_over()
                )
        for number, _ in enumerate(self.scripts.steps(machine, part, stdin), start=1):
            self.world.settle()
            if deed:
                self._check(deed)
            if number == steps:
                break
        if "taken" in self.scripts.printed:
            self.locked.setdefault(run, self.now)
        return self.scripts.printed, seconds

    def _with_fault(
        self, fault: Fault, machine: Machine, sent: Sent, request: Request, *, change: bool
    ) -> tuple[Answer, float]:
        run, stdin = fault.run, request.stdin
        kind, _, when = fault.kind.partition(" ")
        key = (machine.name, fault.what)
        if fault.kind in FOR_GOOD:
            self._lasting[run, machine.name] = fault.kind
            if fault.kind == "away on":
                return Answer(failure="lost", reason=_LOST), 0.2
        error = fault.says or _CANNOT_FORK
        if kind == "fails" and fault.what != sent.label:
            number = next(at for at, part in enumerate(sent.parts) if part.name == fault.what)
            return self._done(run, machine, sent, stdin, fails=number, error=error)
        if fault.kind == FAILS_ONE:
            number = fault.at % len(sent.parts) if sent.parts else 0
            return self._done(run, machine, sent, stdin, fails=number)
        if kind == "fails":
            return Answer(done=False, stderr=(error,)), 0.2
        if kind == STALE:
            return self._before.get(key) or self._done(run, machine, sent, stdin)[0], 0.5
        answer = Answer()
        took = 0.5
        if kind in ("cut", "reboot", "death"):
            if change or kind == "cut":
                answer, took = self._done(run, machine, sent, stdin, steps=fault.at if change else None)
        elif when != "before" and not (kind == "lost" and not change):
            answer, took = self._done(run, machine, sent, stdin)
        if kind in ("reboot", "death"):
            seconds = _REBOOT_SECONDS if kind == "reboot" else float("inf")
            machine.reboots(now=self.now, seconds=seconds)
            return Answer(failure="lost", reason=_LOST), 0.2
        if kind == "lost" or fault.kind == "cut and lost":
            return Answer(failure="lost", reason=_LOST), took / 2
        if kind == "cut":
            if change:
                machine.kubeadm_until = self.now
                return Answer(done=False, stderr=("Killed",)), took
            return Answer(stdout=answer.stdout[: len(answer.stdout) // 2]), took
        if kind == "late":
            return Answer(failure="late", reason=""), request.seconds or 900
        if kind == "killed":
            raise Killed
        assert kind == "suspend", fault
        self._asleep[run] = self.now + _SUSPENDED_SECONDS
        return answer, _SUSPENDED_SECONDS

    # Invariants.

    def _check(self, deed: Deed) -> None:
        for invariant in AT_EACH_STEP:
            problem = f"{invariant.__name__}: {invariant(deed)}"
            if not problem.endswith(": ") and problem not in self.world.broken:
                self.log.append(f"{'':8} BROKEN {problem}")
                self.world.broken.append(problem)

    def _is_over(self) -> bool:
        """Return whether no restore is half done, whose cluster the next restore continues."""
        marks = (f"{RESTORE_FOLDER}/record", f"{RESTORE_FOLDER}/unpacked")
        return not any(machine.has(*marks) for machine in self.world.machines.values())

    def _give_up(self, intent: Intent) -> None:
        """Mark clusters as given up if a reset is forced or names every machine with the cluster's data."""
        for cluster in self.world.own_clusters():
            holders = [self.world.holder(cluster, member) for member in cluster.voters]
            if intent.forced or all(holder is None or holder.name in intent.named for holder in holders):
                cluster.given_up = True


def _framed(part: Part, lines: list[str]) -> list[str]:
    return ["", f"<<< {part.frame}", *lines, "", f">>> {part.frame}"] if part.frame else lines
