"""No decision violates an invariant in any case."""

from typing import Any

import pytest

from tests.simulation.decisions import Search, report
from tests.simulation.decisions_join import JOIN, cases_that_depend_on_other_control_planes
from tests.simulation.decisions_leader import LEADER, cases_that_depend_on_order
from tests.simulation.decisions_lock import LOCK
from tests.simulation.decisions_quorum import QUORUM
from tests.simulation.decisions_removal import REMOVAL
from tests.simulation.decisions_reset import RESET
from tests.simulation.invariants_document import PATH, document


@pytest.mark.parametrize(
    ("search", "least"),
    [
        pytest.param(LEADER, 75_000, id="leader"),
        pytest.param(JOIN, 70_000, id="join"),
        pytest.param(REMOVAL, 32_000, id="removal"),
        pytest.param(RESET, 34_000, id="reset"),
        pytest.param(QUORUM, 8_000, id="quorum"),
        pytest.param(LOCK, 18_000, id="lock"),
    ],
)
def test_no_case_violates_an_invariant(search: Search[Any, Any], least: int) -> None:
    result = search.run()
    assert result.cases >= least
    assert not result.violations, report(result)


def test_the_order_of_control_planes_decides_only_who_leads() -> None:
    assert next(cases_that_depend_on_order(), None) is None


def test_names_and_order_of_other_control_planes_do_not_matter() -> None:
    assert next(cases_that_depend_on_other_control_planes(), None) is None


def test_the_invariants_are_in_the_docs() -> None:
    assert PATH.read_text() == document()
