"""By turns everything is tested, and on a machine with time for it everything at once."""

from itertools import product

import pytest

from tests.e2e.turns import GROWTH, OTHER_MINOR, THREE_CONTROL_PLANES, by_turns, is_turn


def test_every_day_one_thing_has_its_turn() -> None:
    for day in range(3):
        turns = [is_turn(each, day=day, processors=2) for each in (THREE_CONTROL_PLANES, GROWTH, OTHER_MINOR)]
        assert turns.count(True) == 1


def test_what_is_chosen_within_a_turn_comes_round_too() -> None:
    days = [day for day in range(100) if is_turn(THREE_CONTROL_PLANES, day=day, processors=2)]
    seen = {
        (loss, reboot)
        for day in days
        for loss, reboot in product(range(3), range(2))
        if is_turn(loss, of=3, days=3, day=day, processors=2)
        and is_turn(reboot, of=2, days=3, day=day, processors=2)
    }
    assert seen == set(product(range(3), range(2)))


def test_more_than_two_processors_have_no_turns() -> None:
    assert all(is_turn(each, day=day, processors=3) for each, day in product(range(3), range(3)))


def test_what_has_no_turn_is_for_make_chaos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert by_turns(*range(3)) == []
    assert [mark.name for mark in by_turns()] == ["chaos"]
