"""Several processes share the room for clusters."""

import threading
from pathlib import Path

import pytest

from tests.e2e.conftest import unit
from tests.e2e.room import places, room


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def waiting(wanted: int) -> tuple[threading.Thread, threading.Event]:
    """Start a thread that waits for ``wanted`` of seven places; the event is set when it has them."""
    got = threading.Event()

    def wait() -> None:
        with room(wanted, available=7):
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, got


def test_a_control_plane_takes_two_places_and_a_worker_one() -> None:
    assert places(control_planes=3, workers=1) == 7


def test_clusters_that_fit_together_do_not_wait() -> None:
    with room(3, available=7), room(4, available=7):
        pass


def test_cluster_waits_until_there_is_room() -> None:
    with room(3, available=7):
        thread, got = waiting(5)
        assert not got.wait(0.5)
    thread.join(10)
    assert got.is_set()


def test_waiting_cluster_is_not_overtaken() -> None:
    with room(3, available=7):
        first, first_got = waiting(7)
        assert not first_got.wait(0.5)
        second, second_got = waiting(1)
        assert not second_got.wait(0.5)
    for thread in (first, second):
        thread.join(10)
    assert second_got.is_set()


def test_more_places_than_available_means_all() -> None:
    with room(9, available=7):
        thread, got = waiting(1)
        assert not got.wait(0.5)
    thread.join(10)
    assert got.is_set()


def test_zero_places_do_not_wait() -> None:
    with room(7, available=7):
        thread, got = waiting(1)
        assert not got.wait(0.5)
        no_places, at_once = waiting(0)
        assert at_once.wait(5)
    for waiter in (thread, no_places):
        waiter.join(10)
    assert got.is_set()


def test_modules_that_share_a_cluster_run_in_one_process() -> None:
    assert unit("tests/e2e/small/test_make.py::test_one") == unit("tests/e2e/small/test_cluster.py::test_two")
    assert unit("tests/e2e/test_hetzner.py::test_one") == "tests/e2e/test_hetzner.py"
