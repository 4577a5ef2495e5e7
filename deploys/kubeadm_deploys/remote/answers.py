"""The answers of a run's machines, and how long they stay valid."""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Generic, TypeVar

from pyinfra.api import FactBase
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubeadm_deploys.remote.run_parts import part

T = TypeVar("T")

SECONDS = 120
"""Seconds that a machine has to answer, unless a reading sets another limit."""


@dataclass(frozen=True)
class Reading(Generic[T]):
    """A question to a machine: a fact, which is a script and the parser of its output, and its arguments."""

    fact: type[FactBase[T]]
    arguments: tuple[tuple[str, Hashable], ...] = ()
    seconds: int = field(default=SECONDS, compare=False)

    @classmethod
    def of(cls, fact: type[FactBase[T]], *, seconds: int = SECONDS, **arguments: Hashable) -> "Reading[T]":
        """Return the reading of a fact with these arguments and this time limit in seconds."""
        return cls(fact, tuple(arguments.items()), seconds)

    @property
    def words(self) -> str:
        """The fact's name as words: "cluster members" for ClusterMembers."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.fact.__name__).lower()

    @property
    def of_cluster(self) -> bool:
        """Whether the reading is about the cluster, not about this machine."""
        return issubclass(self.fact, ClusterFact)

    @property
    def of_plan(self) -> bool:
        """Whether the reading is only made in the prepare phase."""
        return issubclass(self.fact, PlanFact)


class ClusterFact(FactBase[T]):
    """A fact about the cluster, read on a control plane whose API server answers."""


class TimedFact(FactBase[T]):
    """A fact that compares clocks.

    ``ended`` is the machine's time after all readings of a command, None if it was the only reading.
    """

    ended: float | None = None


class PlanFact(FactBase[T]):
    """A fact that is only needed in the prepare phase, and that other runs do not change."""


Moment = tuple[int, int]
"""The number of changes to one machine, and to all machines."""


class Answers:
    """A cache of the answers of a run's machines, so that nothing is read twice that cannot have changed.

    Answers are only kept if every command of the run goes through the ``Door`` of ``connections``. A command
    that may change a machine drops the answers of that machine and all answers about the cluster; taking the
    lock drops all answers (``begin_again``).
    """

    def __init__(self) -> None:
        self._kept = False
        self._known: dict[str, dict[Reading[Any], Any]] = {}
        self._asked: dict[str, dict[Reading[Any], None]] = {}
        self._planned: dict[tuple[str, Reading[Any]], tuple[Any, Callable[[Any], object]]] = {}
        self._failures: dict[tuple[str, Reading[Any]], Exception] = {}
        self._changes: Counter[str] = Counter()
        self._begun = 0

    def keep(self) -> None:
        """Keep answers from now on.

        The caller must call ``changed`` before and after each command that may change a machine.
        """
        self._kept = True

    @property
    def kept(self) -> bool:
        """Whether answers are kept."""
        return self._kept

    def known(self, host: Host, reading: Reading[T]) -> T | None:
        """Return a machine's answer if it is known, else None, without asking."""
        return self._known.get(host.name, {}).get(reading)

    def failure(self, host: Host, reading: Reading[Any]) -> Exception | None:
        """Return why a machine did not answer when it was asked for everything at once, or None."""
        return self._failures.get((host.name, reading))

    def fail(self, host: Host, failures: Mapping[Reading[Any], Exception]) -> None:
        """Record why a machine did not answer about itself.

        It is not asked again for a single answer, which would be newer than its other answers.
        """
        if self._kept:
            self._failures.update(
                {(host.name, reading): error for reading, error in failures.items() if not reading.of_cluster}
            )

    def forget_failures(self) -> None:
        """Forget the failures: from now on, unknown answers are asked for again."""
        self._failures.clear()

    def moment(self, host: Host) -> Moment:
        """Return the current moment, for ``store``."""
        return self._changes[host.name], self._changes.total()

    def store(self, host: Host, answers: Mapping[Reading[Any], Any], *, asked: Moment) -> None:
        """Keep a machine's answers, unless something has changed since the moment ``asked``."""
        if not self._kept:
            return
        now = self.moment(host)
        for reading, answer in answers.items():
            self._asked.setdefault(host.name, {})[reading] = None
            if (asked[1] == now[1]) if reading.of_cluster else (asked[0] == now[0]):
                self._known.setdefault(host.name, {})[reading] = answer

    def changed(self, host: Host) -> None:
        """Note that the run is about to change a machine, or may have changed it."""
        self._changes[host.name] += 1
        self.forget(host)
        for known in self._known.values():
            for reading in [key for key in known if key.of_cluster]:
                del known[reading]

    def begin_again(self) -> None:
        """Forget every answer, but remember what was asked and what the operations were planned from."""
        self._known.clear()
        self._failures.clear()
        self._begun = self._changes.total()

    @property
    def has_changed(self) -> bool:
        """Whether the run has changed anything since ``begin_again``: API servers may stop meanwhile."""
        return self._changes.total() != self._begun

    def forget(self, host: Host) -> None:
        """Forget a machine's answers, because others may have changed it."""
        self._known.pop(host.name, None)
        self._failures = {key: error for key, error in self._failures.items() if key[0] != host.name}

    def asked(self, host: Host) -> list[Reading[Any]]:
        """Return what a machine has answered about itself in this run, also before ``begin_again``."""
        return [
            reading
            for reading in self._asked.get(host.name, {})
            if not reading.of_cluster and not reading.of_plan
        ]

    def planned(self, host: Host, reading: Reading[T], answer: T, *, counts: Callable[[T], object]) -> None:
        """Record that operations are planned from the part of this answer that ``counts`` returns."""
        if self._kept and not host.state.is_executing:
            self._planned[host.name, reading] = (counts(answer), counts)

    def unread(self) -> Exception | None:
        """Return why an answer that operations were planned from could not be read again, or None."""
        return next((self._failures[key] for key in self._planned if key in self._failures), None)

    def differences(self) -> list[str]:
        """Return the machine, the reading and what differs for each planned answer that is not current."""
        return [
            f"{host}: {reading.words}{_changed_fields(counted, now)}"
            for (host, reading), (counted, counts) in self._planned.items()
            if reading in self._known.get(host, {}) and (now := counts(self._known[host][reading])) != counted
        ]


def _changed_fields(planned: object, now: object) -> str:
    if type(planned) is not type(now) or not is_dataclass(planned):
        return ""
    names = [
        field.name.replace("_", " ")
        for field in fields(planned)
        if getattr(planned, field.name) != getattr(now, field.name)
    ]
    return f" ({', '.join(names)})"


def answers_of(state: State) -> Answers:
    """Return the answers of a run."""
    return part(state, Answers)
