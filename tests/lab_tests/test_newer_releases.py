"""Newer upstream releases are found by the tags of their repositories."""

import subprocess
from pathlib import Path

import pytest

from tests.newer_releases import REPOSITORIES, main, newer


@pytest.mark.parametrize(
    ("released", "known", "found"),
    [
        (["1.37.2", "1.37.1"], ["1.37.2"], []),
        (["1.37.2", "1.37.10", "1.38.0"], ["1.37.2"], ["1.38.0", "1.37.10"]),
        # A new series between two known ones, and one that is too old.
        (["2.2.9", "2.1.1", "2.3.4", "1.7.40"], ["2.3.4", "2.0.1"], ["2.2.9", "2.1.1"]),
    ],
)
def test_newest_release_of_each_series_is_listed(
    released: list[str], known: list[str], found: list[str]
) -> None:
    assert newer(released, known=known) == found


def test_every_component_is_printed_and_an_unreadable_repository_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", *identity, "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "--message=a")
    for tag in ("v1.0.0", "v1.0.1", "v1.1.0-rc.1", "api/v1.9.0"):
        git("tag", tag)
    repositories = {"here": (str(tmp_path), ["1.0.0"]), "missing": (str(tmp_path / "none"), ["1.0.0"])}
    assert main(repositories) == 1
    printed = capsys.readouterr()
    assert printed.out == "here 1.0.0: 1.0.1\n"
    assert printed.err.startswith("error: missing: fatal: ") and "none" in printed.err


def test_all_downloaded_components_are_checked() -> None:
    assert len(REPOSITORIES) == 7
    assert all(known for _, known in REPOSITORIES.values())
