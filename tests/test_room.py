"""Room for clusters that several processes share."""

import threading
from pathlib import Path

import pytest

from tests.e2e.room import places, room


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def waiting(wanted: int) -> tuple[threading.Thread, threading.Event]:
    """Somebody who waits for places of seven, and what tells that he has got them."""
    got = threading.Event()

    def wait() -> None:
        with room(wanted, available=7):
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, got


def test_a_control_plane_takes_two_places_and_a_worker_one() -> None:
    assert places(control_planes=3, workers=1) == 7


def test_what_fits_beside_each_other_does_not_wait() -> None:
    with room(3, available=7), room(4, available=7):
        pass


def test_who_finds_no_room_waits_until_there_is_some() -> None:
    with room(3, available=7):
        thread, got = waiting(5)
        assert not got.wait(0.5)
    thread.join(10)
    assert got.is_set()


def test_who_waits_is_not_overtaken() -> None:
    with room(3, available=7):
        first, first_got = waiting(7)
        assert not first_got.wait(0.5)
        second, second_got = waiting(1)
        assert not second_got.wait(0.5)
    for thread in (first, second):
        thread.join(10)
    assert second_got.is_set()


def test_more_than_there_is_means_all_of_it() -> None:
    with room(9, available=7):
        thread, got = waiting(1)
        assert not got.wait(0.5)
    thread.join(10)
    assert got.is_set()


def test_who_wants_none_waits_for_nobody() -> None:
    with room(7, available=7):
        thread, got = waiting(1)
        assert not got.wait(0.5)
        nothing, at_once = waiting(0)
        assert at_once.wait(5)
    for each in (thread, nothing):
        each.join(10)
    assert got.is_set()
