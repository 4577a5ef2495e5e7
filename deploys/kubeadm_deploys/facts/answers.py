"""What the machines of a run have answered, and for how long it counts."""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pyinfra.api import FactBase
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubeadm_deploys.run_parts import part

T = TypeVar("T")

SECONDS = 120
"""How long a machine has to answer, unless a reading says otherwise."""


@dataclass(frozen=True)
class Reading(Generic[T]):
    """What a machine can be asked: a fact, which is a script with the parser of its output, and its arguments."""

    fact: type[FactBase[T]]
    arguments: tuple[tuple[str, Hashable], ...] = ()
    seconds: int = field(default=SECONDS, compare=False)

    @classmethod
    def of(cls, fact: type[FactBase[T]], *, seconds: int = SECONDS, **arguments: Hashable) -> "Reading[T]":
        """The reading of a fact with its arguments, which the machine has so many seconds to answer."""
        return cls(fact, tuple(arguments.items()), seconds)

    @property
    def words(self) -> str:
        """What is read, in words: ClusterMembers, cluster members."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self.fact.__name__).lower()

    @property
    def of_cluster(self) -> bool:
        """Whether it is the cluster that is asked, through this machine."""
        return issubclass(self.fact, ClusterFact)

    @property
    def of_plan(self) -> bool:
        """Whether it is only read while a run is prepared."""
        return issubclass(self.fact, PlanFact)


class ClusterFact(FactBase[T]):
    """A fact about the cluster, which a control plane tells whose API server answers."""


class TimedFact(FactBase[T]):
    """A fact that compares clocks: ``ended`` is when the machine's said that all that it was asked had ended there, None
    where it was asked for nothing else.
    """

    ended: float | None = None


class PlanFact(FactBase[T]):
    """A fact that is only wanted while a run is prepared, and does not become untrue by what another run does."""


Moment = tuple[int, int]
"""How often a machine, and any machine, had been changed."""


class Answers:
    """What the machines of a run have answered, so that nobody asks twice for what cannot have changed.

    It is kept only where every command of the run goes through the door of ``connections``. An answer is forgotten when
    the run does anything on that machine, those about the cluster when it does anything on any machine, and all of them
    when the lock is taken: ``begin_again``.
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
        """Keep answers from now on, because ``changed`` is called before and after each command that may change a
        machine.
        """
        self._kept = True

    @property
    def kept(self) -> bool:
        """Whether answers are kept at all."""
        return self._kept

    def known(self, host: Host, reading: Reading[T]) -> T | None:
        """What a machine has answered, None when that is not known. Nothing is asked."""
        return self._known.get(host.name, {}).get(reading)

    def failure(self, host: Host, reading: Reading[Any]) -> Exception | None:
        """Why a machine has not answered when it was asked for everything at once, None when it was not or has."""
        return self._failures.get((host.name, reading))

    def fail(self, host: Host, failures: Mapping[Reading[Any], Exception]) -> None:
        """Keep why a machine has not answered about itself: asked again for that alone it might, and all else be of
        another time.
        """
        if self._kept:
            self._failures.update(
                {(host.name, reading): error for reading, error in failures.items() if not reading.of_cluster}
            )

    def forget_failures(self) -> None:
        """From now on, what is not known is asked."""
        self._failures.clear()

    def moment(self, host: Host) -> Moment:
        """The present, for ``store``."""
        return self._changes[host.name], self._changes.total()

    def store(self, host: Host, answers: Mapping[Reading[Any], Any], *, asked: Moment) -> None:
        """Keep what a machine has answered, unless something was changed since it was ``asked``."""
        if not self._kept:
            return
        now = self.moment(host)
        for reading, answer in answers.items():
            self._asked.setdefault(host.name, {})[reading] = None
            if (asked[1] == now[1]) if reading.of_cluster else (asked[0] == now[0]):
                self._known.setdefault(host.name, {})[reading] = answer

    def changed(self, host: Host) -> None:
        """The run is about to do something on a machine, or has done it."""
        self._changes[host.name] += 1
        self.forget(host)
        for known in self._known.values():
            for reading in [each for each in known if each.of_cluster]:
                del known[reading]

    def begin_again(self) -> None:
        """Forget every answer. What was asked is remembered, and what the operations were chosen by."""
        self._known.clear()
        self._failures.clear()
        self._begun = self._changes.total()

    @property
    def has_changed(self) -> bool:
        """Whether the run has changed anything since it began again: that takes time, in which API servers end."""
        return self._changes.total() != self._begun

    def forget(self, host: Host) -> None:
        """Forget what a machine has answered, because that may have changed without this run."""
        self._known.pop(host.name, None)
        self._failures = {key: error for key, error in self._failures.items() if key[0] != host.name}

    def asked(self, host: Host) -> list[Reading[Any]]:
        """What a machine has answered about itself in this run, now or before ``begin_again``."""
        return [
            reading
            for reading in self._asked.get(host.name, {})
            if not reading.of_cluster and not reading.of_plan
        ]

    def planned(self, host: Host, reading: Reading[T], answer: T, *, counts: Callable[[T], object]) -> None:
        """The operations of a deploy are chosen by what ``counts`` takes from this answer."""
        if self._kept and not host.state.is_executing:
            self._planned[host.name, reading] = (counts(answer), counts)

    def unread(self) -> Exception | None:
        """Why something by which operations were chosen could not be read again, None when all of it was."""
        return next((self._failures[key] for key in self._planned if key in self._failures), None)

    def differences(self) -> list[str]:
        """Where something else is known now than the operations were chosen by: the machine, and what was read."""
        return [
            f"{host}: {reading.words}"
            for (host, reading), (counted, counts) in self._planned.items()
            if reading in self._known.get(host, {}) and counts(self._known[host][reading]) != counted
        ]


def answers_of(state: State) -> Answers:
    """The answers of a run."""
    return part(state, Answers)
