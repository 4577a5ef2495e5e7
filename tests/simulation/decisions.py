"""A search through every case of a decision: what it is, and how a violation is shown.

Product code decides; an invariant is a sentence about what must never be decided, made without the product's own
functions from how the case was built.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Generic, TypeVar

Case = TypeVar("Case")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search has found: how many cases it looked at, and by invariant the first case that violates it."""

    cases: int
    violations: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Search(Generic[Case, Outcome]):
    """All ``cases`` of a decision, how the product decides one, and what holds for each.

    An invariant takes a case and its outcome and is true when it holds; its name and docstring are its sentence.
    """

    cases: Callable[[], Iterator[Case]]
    decide: Callable[[Case], Outcome]
    invariants: tuple[Callable[[Case, Outcome], bool], ...]

    def run(self, *, stop: bool = False) -> Found:
        """Decide every case; with ``stop`` only until the first violation, in an order that comes by all kinds soon."""
        violations: dict[str, str] = {}
        count = 0
        for case in _mixed(self.cases) if stop else self.cases():
            count += 1
            outcome = self.decide(case)
            for invariant in self.invariants:
                name = invariant.__name__
                if name not in violations and not invariant(case, outcome):
                    violations[name] = f"{case}\n    -> {outcome}"
            if stop and violations:
                break
        return Found(cases=count, violations=violations)


@cache
def _mixed(cases: Callable[[], Iterator[Case]]) -> list[Case]:
    listed = list(cases())
    return [case for first in range(_STRIDE) for case in listed[first::_STRIDE]]


_STRIDE = 211
"""A prime, so that it has nothing to do with how many values an input has."""


def report(found: Found) -> str:
    """Violations for a person, one paragraph each."""
    return "\n".join(
        f"{name}:\n    {_CERTIFICATE.sub('<CA>', words)}" for name, words in found.violations.items()
    )


_CERTIFICATE = re.compile(r"'-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\\n'")


_DO = re.compile(
    "(add|back|clean|correct|find|give|if|look|make|mount|name|put|remove|run|set|start|take|to|wait) "
)


def has_fix(words: str) -> bool:
    """Whether a refusal tells its reader to do something, in one of its parts after the first."""
    return any(_DO.match(part) for part in words.split("; ")[1:])
