"""Fixtures for tests with simulated machines."""

from collections.abc import Iterator

import pytest

from tests.simulation.scenarios import Player


@pytest.fixture(scope="session")
def player() -> Iterator[Player]:
    """Start one process that plays the histories of all tests."""
    with Player() as player:
        yield player
