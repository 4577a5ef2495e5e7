"""Write docs/invariants.md: ``python -m tests.simulation.invariants_document``."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.simulation import (
    decisions_join,
    decisions_leader,
    decisions_lock,
    decisions_quorum,
    decisions_removal,
    decisions_reset,
)
from tests.simulation.decisions import Search

PATH = Path(__file__).parents[2] / "docs/invariants.md"

SEARCHES: tuple[tuple[str, Any, Search[Any, Any]], ...] = (
    ("Which control plane leads", decisions_leader, decisions_leader.LEADER),
    ("How a machine is joined", decisions_join, decisions_join.JOIN),
    ("Whether a node may be removed", decisions_removal, decisions_removal.REMOVAL),
    ("Whether machines may be reset", decisions_reset, decisions_reset.RESET),
    ("What etcd's majority allows", decisions_quorum, decisions_quorum.QUORUM),
    ("Whether a run has the lock", decisions_lock, decisions_lock.LOCK),
)

_HEAD = """\
# Invariants of decisions

Decisions about machines, clusters and data are made by pure functions. `make test` calls each of them with every
combination of its inputs, about a quarter of a million cases, and checks the invariants below in each case
(`tests/simulation/test_decisions.py`). The invariants use only how a case was built, and none of the product's
functions. For every invariant, `tests/simulation/test_decisions_mutated.py` makes a decision wrong by one edit of the
product's source, and the search finds it.

This page is generated from the tests: `python -m tests.simulation.invariants_document`.

**Searched.** For the leader, the quorum and the lock: three control planes up to their order, each of them unread,
failed, bare, partly initialised, a member, a member with unusual files, or another cluster's, with an etcd member that
is a voter, a learner, absent, at another address or unread. For one machine: everything that may lie on it, times
everything that API and etcd report about it.

**Not searched.** Five control planes; machines that change while they are read; contradicting answers of one machine;
sequences of decisions, which [histories](histories.md) search. End-to-end tests put real machines into most of these
states, and check that their answers are the simulated ones.
"""


def document() -> str:
    """Return the page."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for title, module, search in SEARCHES:
        yield f"## {title}\n"
        yield f"{' '.join(module.__doc__.split())}\n"
        for invariant in search.invariants:
            yield f"- {' '.join((invariant.__doc__ or '').split())}"
        yield ""


if __name__ == "__main__":
    PATH.write_text(document())
