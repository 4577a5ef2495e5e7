"""The machine's limit of inotify instances is restored, also after a killed run."""

from pathlib import Path

import pytest

from tests.lab import inotify


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "max_user_instances"
    path.write_text("128\n")
    return path


def test_limit_is_raised_and_restored(limit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inotify.raised(limit)
    assert limit.read_text() == "1024\n"
    inotify.put_back(limit)
    assert limit.read_text() == "128\n"
    assert capsys.readouterr().out.splitlines() == [
        f"{limit} is 1024 while the tests run; it was 128.",
        f"{limit} is 128 again.",
    ]
    inotify.put_back(limit)
    assert capsys.readouterr().out == ""


def test_original_limit_survives_a_killed_run(limit: Path) -> None:
    inotify.raised(limit)
    limit.write_text("512\n")
    inotify.raised(limit)
    inotify.put_back(limit)
    assert limit.read_text() == "128\n"


def test_limit_that_is_high_enough_is_not_changed(limit: Path) -> None:
    limit.write_text("8192\n")
    inotify.raised(limit)
    inotify.put_back(limit)
    assert limit.read_text() == "8192\n"
