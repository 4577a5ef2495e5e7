"""What tests with pretend machines share."""

from collections.abc import Iterator

import pytest

from tests.simulation.scenarios import Player


@pytest.fixture(scope="session")
def player() -> Iterator[Player]:
    """Plays histories, in one process for all tests of this one."""
    with Player() as player:
        yield player
