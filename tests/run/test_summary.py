"""The three lines at the end of a run, by pyinfra's real command line."""

from pathlib import Path

import pytest

from tests.support.pyinfra_command import pyinfra

SUMMARY = """
from pyinfra.operations import server

from kubeadm_deploys import summarize_run

{operations}
summarize_run(next_step="look at it")
"""
ONE = 'server.shell(name="Do one thing", commands=["true"])'
FAILS = 'server.shell(name="Do one thing", commands=["exit 3"])'
RAISES = """
from pyinfra.api.exceptions import DeployError
raise DeployError("it is refused")
"""


def run(folder: Path, *arguments: str, operations: str = ONE) -> tuple[int, list[str], str]:
    """Return the exit code, the lines that begin with an arrow, and the whole output."""
    (folder / "deploy.py").write_text(SUMMARY.format(operations=operations))
    done = pyinfra(*arguments, "@local", "deploy.py", folder=folder)
    output = done.stdout + done.stderr
    arrows = [line.removeprefix("--> ") for line in output.splitlines() if line.startswith("--> ")]
    return done.returncode, arrows, output


def is_of_summary(line: str) -> bool:
    return line.startswith(
        ("Changed", "Would change", "No changes", "Nothing to change", "Failed", "On: ", "Next: ")
    )


def test_a_run_says_what_it_changed_where_and_what_comes_next(tmp_path: Path) -> None:
    exit_code, lines, _ = run(tmp_path, "-y")
    assert exit_code == 0
    assert list(filter(is_of_summary, lines)) == [
        "Changed: 1 operation (Do one thing)",
        "On: @local (1 operation)",
        "Next: look at it",
    ]


def test_many_operations_are_counted_and_the_first_named(tmp_path: Path) -> None:
    operations = "\n".join(ONE.replace("one thing", f"this, and that {number}") for number in range(6))
    _, lines, _ = run(tmp_path, "-y", operations=operations)
    first = "; ".join(f"Do this, and that {number}" for number in range(3))
    assert f"Changed: 6 operations ({first} and 3 more)" in lines


def test_a_dry_run_says_what_it_would_change(tmp_path: Path) -> None:
    exit_code, lines, _ = run(tmp_path, "--dry")
    assert exit_code == 0
    assert list(filter(is_of_summary, lines)) == [
        "Would change: 1 operation (Do one thing)",
        "On: @local (1 operation)",
        "Next: run it without --dry",
    ]


def test_a_run_that_failed_says_to_run_it_again(tmp_path: Path) -> None:
    exit_code, lines, _ = run(tmp_path, "-y", operations=FAILS)
    assert exit_code == 1
    failed, next_step = filter(is_of_summary, lines)
    assert failed == "Failed, and may have changed something: Do one thing"
    assert "run the same command again" in next_step


def test_operations_of_one_name_are_counted_one_by_one(tmp_path: Path) -> None:
    _, lines, _ = run(tmp_path, "-y", operations="\n".join([ONE] * 3))
    assert "Changed: 3 operations (Do one thing)" in lines
    assert "On: @local (3 operations)" in lines


@pytest.mark.parametrize("arguments", [("-y",), ("--dry",)])
@pytest.mark.parametrize("operations", [RAISES, ONE + RAISES])
def test_a_run_that_is_refused_while_it_is_prepared_has_no_summary(
    tmp_path: Path, arguments: tuple[str, ...], operations: str
) -> None:
    exit_code, lines, output = run(tmp_path, *arguments, operations=operations)
    assert exit_code == 1
    assert "it is refused" in output
    assert "Traceback" not in output
    assert list(filter(is_of_summary, lines)) == []


def test_a_run_that_nobody_confirmed_has_no_summary(tmp_path: Path) -> None:
    _, lines, output = run(tmp_path)
    assert "Press enter" in output
    assert list(filter(is_of_summary, lines)) == []


def test_a_dry_run_that_plans_no_changes_has_no_summary(tmp_path: Path) -> None:
    exit_code, lines, output = run(tmp_path, "--dry", "-y")
    assert exit_code == 0
    assert "Warning" not in output
    assert list(filter(is_of_summary, lines)) == []


def test_a_dry_run_without_anything_to_do_says_so(tmp_path: Path) -> None:
    exit_code, lines, _ = run(tmp_path, "--dry", operations="")
    assert exit_code == 0
    assert list(filter(is_of_summary, lines)) == ["Nothing to change"]
