"""A search through every case of a decision: what it is, and how a violation is shown.

Product code decides; an invariant is a sentence about what must never be decided, made without the product's own
functions from how the case was built.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
        """Decide every case; with ``stop`` only until the first violation."""
        violations: dict[str, str] = {}
        count = 0
        for case in self.cases():
            count += 1
            outcome = self.decide(case)
            for invariant in self.invariants:
                name = invariant.__name__
                if name not in violations and not invariant(case, outcome):
                    violations[name] = f"{case}\n    -> {outcome}"
            if stop and violations:
                break
        return Found(cases=count, violations=violations)


def report(found: Found) -> str:
    """Violations for a person, one paragraph each."""
    return "\n".join(
        f"{name}:\n    {_CERTIFICATE.sub('<CA>', words)}" for name, words in found.violations.items()
    )


_CERTIFICATE = re.compile(r"'-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\\n'")
