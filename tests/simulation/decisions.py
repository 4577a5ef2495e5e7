"""Search every case of a decision for violated invariants, and report them.

Product code decides. An invariant says what must hold for each decision; it uses only how the case was built,
and none of the product's functions.
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
    """The result of a search: the number of cases, and for each violated invariant its first case."""

    cases: int
    violations: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Search(Generic[Case, Outcome]):
    """All ``cases`` of a decision, the product's decision, and the invariants that hold for each case.

    An invariant takes a case and its outcome, and returns whether it holds; its docstring is documentation.
    """

    cases: Callable[[], Iterator[Case]]
    decide: Callable[[Case], Outcome]
    invariants: tuple[Callable[[Case, Outcome], bool], ...]

    def run(self, *, stop: bool = False) -> Found:
        """Decide every case; with ``stop`` only until the first violation, in a mixed order."""
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
"""A prime, so that it is unrelated to the number of values of any input."""


def report(found: Found) -> str:
    """Return the violations as text, one paragraph each."""
    return "\n".join(
        f"{name}:\n    {_CERTIFICATE.sub('<CA>', words)}" for name, words in found.violations.items()
    )


_CERTIFICATE = re.compile(r"'-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\\n'")


_DO = re.compile(
    "(add|back|check|clean|correct|find|give|if|look|make|mount|name|put|remove|restore|run|set|start|take|to|wait) "
)


def has_fix(words: str) -> bool:
    """Return whether a part of a refusal, after the first, says what to do."""
    return any(_DO.match(part) for part in words.split("; ")[1:])
