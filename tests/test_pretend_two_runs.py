"""``cluster.py`` and ``remove_node.py`` on pretend machines on which another run is at work, or was while this one waited for the lock."""

from pathlib import Path

import pytest

from tests.pretend.command_line import refused, run
from tests.pretend.machine import OPTIONS
from tests.pretend.scenarios import NEWER


def test_a_worker_that_another_run_has_joined_meanwhile_is_left_alone(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "another_run_first", what="joined")
    assert (done.exit_code, done.decisive) == (0, []), done.output


def test_the_last_control_plane_is_not_removed_by_what_was_true_before_the_lock(tmp_path: Path) -> None:
    done = run(tmp_path, "remove_node.py", "removed_meanwhile", "--data=node=cp-2")
    refused(done, "no changes were made")
    assert done.changes == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("release", f"its release of containerd was {OPTIONS.containerd_version} and is {NEWER}"),
        ("Kubernetes", f"its release of Kubernetes was {OPTIONS.kubernetes_version} and is {NEWER}"),
    ],
)
def test_a_run_ends_when_another_one_has_changed_releases_meanwhile(
    tmp_path: Path, what: str, said: str
) -> None:
    done = run(tmp_path, "cluster.py", "another_run_first", what=what)
    refused(done, f"{said} since this run was prepared; no changes were made; run it again")
    assert done.changes == []


def test_a_run_does_not_begin_beside_another_one(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "another_run_at_once", when="always")
    refused(done, "bob@laptop has been running remove_node.py on this cluster since", "no changes were made")
    assert done.changes == []


def test_a_run_that_has_lost_its_lock_does_nothing_more_to_the_cluster(tmp_path: Path) -> None:
    done = run(tmp_path, "cluster.py", "another_run_at_once", when="changed")
    refused(
        done,
        "@fake/cp-1: not done here, because another run has the lock",
        "(bob@laptop)",
        "this run stops here",
    )
    # Whichever host is first: its change was begun before the other run had the lock.
    assert {change for change in done.changes if change.startswith("cp-1: ")} <= {"cp-1: write files"}
    assert done.decisive == []
