"""The mirror's cache of components, tested with small components."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.docker import LabError
from tests.lab.mirror.cache import Component, build


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def component(name: str, make: Callable[[Path], None], *needs: Component) -> Component:
    return Component(name=name, seconds=1, make=make, recipe=("cache.py",), needs=needs)


def write(folder: Path) -> None:
    (folder / "made").touch()


def test_component_is_built_once_and_after_its_needs(capsys: pytest.CaptureFixture[str]) -> None:
    first = component("first 1", write)

    def copy(folder: Path) -> None:
        (folder / "copy").write_bytes((first.folder / "made").read_bytes())

    second = component("second 1", copy, first)
    build([first, second])
    assert (second.folder / "copy").exists()
    assert "second 1: 0 s, at most 0 s until all is built" in capsys.readouterr().out

    def fail(folder: Path) -> None:
        raise AssertionError("a cached component is built again")

    build([component("first 1", fail), second])
    assert capsys.readouterr().out == "2 of 2 parts are in the cache\n"


def test_independent_components_are_built_in_parallel() -> None:
    both = threading.Barrier(2, timeout=20)
    parts = [component(name, lambda folder: print(both.wait())) for name in ("first 1", "second 1")]
    build(parts)
    assert all(part.made for part in parts)


def test_only_complete_components_remain_after_a_failure() -> None:
    failed = threading.Event()

    def fail(folder: Path) -> None:
        write(folder)
        failed.set()
        raise LabError("no Go module has this name")

    def take_longer(folder: Path) -> None:
        assert failed.wait(20)
        write(folder)

    broken, whole = component("broken 1", fail), component("whole 1", take_longer)
    never = component("never 1", write, broken)
    with pytest.raises(LabError, match="no Go module"):
        build([broken, whole, never])
    assert (broken.made, whole.made, never.made) == (False, True, False)
    build([component("broken 1", write), never])
    assert never.made


def test_newer_component_replaces_the_older_one() -> None:
    older = Component(name="part 1", seconds=1, make=write, recipe=("cache.py",), inputs=("older",))
    newer = Component(name="part 1", seconds=1, make=write, recipe=("cache.py",), inputs=("newer",))
    build([older])
    build([newer])
    assert (older.made, newer.made) == (False, True)
