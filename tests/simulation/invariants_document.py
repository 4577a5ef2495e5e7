"""docs/invariants.md: what is held in every case of every decision. ``python -m tests.simulation.invariants_document``
writes it.
"""

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
    ("Who leads", decisions_leader, decisions_leader.LEADER),
    ("What becomes of a machine that is to be a node", decisions_join, decisions_join.JOIN),
    ("Whether a node may leave", decisions_removal, decisions_removal.REMOVAL),
    ("Whether machines may be reset", decisions_reset, decisions_reset.RESET),
    ("What etcd's majority allows", decisions_quorum, decisions_quorum.QUORUM),
    ("Whether a run has the lock", decisions_lock, decisions_lock.LOCK),
)

_HEAD = """\
# What is searched, and what holds

What this project decides about machines, clusters and data is decided by functions that ask nobody. `make test` calls
each of them with every combination of the inputs that it takes, about a quarter of a million cases, and checks the
sentences below in each (`tests/simulation/test_decisions.py`). They are written without the product's own functions,
from how a case was built. `tests/simulation/test_decisions_mutated.py` makes each decision wrongly, by one edit of the
product's source for every sentence, and the search finds it.

This page is written from the checks: `python -m tests.simulation.invariants_document`.

**What is searched.** For the leader, the quorum and the lock: three control planes up to their order, each not read,
failed, bare, half made, a member, a member with other files, or another cluster's, and its etcd member a voter, a
learner, absent, at another address or not read. For one machine: all that may lie on it, times what the API and etcd
say of it.

**What is not.** Five control planes; what a machine says while it changes; two answers of one machine that contradict
each other; what becomes of one decision after another, which [histories](histories.md) search. That the pretended
answers are those of real machines is held by the end-to-end tests, which put real machines into most of these states.
"""


def document() -> str:
    """The page."""
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
