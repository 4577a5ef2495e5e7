"""Two runs of ``cluster.py`` or ``remove_node.py`` at once, or one while the other waits at the prompt."""

from dataclasses import replace

import pytest

from tests.simulation.history import Command, Event, Fault
from tests.simulation.scenarios import Player, machines, refused
from tests.simulation.world import OPTIONS

WELL = machines("member", workers=["member"])
WELL_OF_THREE = machines("member", "member", "member", workers=["member"])

NEWER = "9.9.9"
"""A release that no machine has."""

BOBS = Command(deploy="remove_node.py", arguments=("--data=node=worker-1",), operator="bob")
"""A removal, whose drain the tests make as long as it may be."""


def waits_for_its_drain(*, run: int) -> Fault:
    """Return a fault: the drain takes minutes, during which the run keeps its lock."""
    return Fault(run=run, machine="cp-1", what="drain", kind="late after")


def test_a_run_stops_if_another_run_joined_a_worker_meanwhile(player: Player) -> None:
    alices = Command(deploy="cluster.py", prompt=600)
    bobs = Command(deploy="cluster.py", operator="bob", after=5)
    done, other = player.play(machines("member", workers=["prepared"]), (alices, bobs))
    assert (other.exit_code, other.decisive) == (0, ["worker-1: kubeadm join"])
    refused(
        done,
        "machines have changed since this run was prepared (@fake/worker-1: cloud init (kubelet flags)",
        "run it again",
    )
    assert done.changes == []


def test_a_worker_that_another_run_joined_is_left_alone(player: Player) -> None:
    bobs = Command(deploy="cluster.py", operator="bob")
    other, done = player.play(
        machines("member", workers=["prepared"]), (bobs,), (Command(deploy="cluster.py"),)
    )
    assert (other.exit_code, other.decisive) == (0, ["worker-1: kubeadm join"])
    assert (done.exit_code, done.changes) == (0, []), done.output


def test_the_last_control_plane_is_not_removed_by_an_outdated_plan(player: Player) -> None:
    alices = Command(deploy="remove_node.py", arguments=("--data=node=cp-2",), prompt=900)
    others = [
        Command(deploy="remove_node.py", arguments=(f"--data=node={name}",), operator="bob", after=after)
        for name, after in (("cp-1", 5), ("cp-3", 300))
    ]
    done, *removed = player.play(WELL_OF_THREE, (alices, *others))
    assert [removal.exit_code for removal in removed] == [0, 0]
    refused(done, "no changes were made")
    assert done.changes == []


@pytest.mark.parametrize(
    ("what", "error"),
    [
        (
            "recorded",
            f"the cluster's containerd release has changed from {OPTIONS.containerd_version} to {NEWER}",
        ),
        (
            "upgraded to",
            f"the cluster's Kubernetes release has changed from {OPTIONS.kubernetes_version} to {NEWER}",
        ),
    ],
)
def test_a_run_stops_if_another_run_changed_releases_meanwhile(player: Player, what: str, error: str) -> None:
    newer = Event(what=f"{what} {NEWER}", machine="cp-1", after=60)
    (done,) = player.play(WELL, newer, (Command(deploy="cluster.py", prompt=300),))
    refused(done, f"{error} since this run was prepared; no changes were made; run it again")
    assert done.changes == []


def test_a_run_is_refused_while_another_one_runs(player: Player) -> None:
    _, done = player.play(
        machines("member", "prepared", "prepared", workers=["member"]),
        (BOBS, Command(deploy="cluster.py", after=10)),
        faults=[waits_for_its_drain(run=0)],
    )
    refused(done, "@bob has been running remove_node.py on this cluster since", "no changes were made")
    assert done.changes == []


def test_a_run_that_lost_its_lock_changes_nothing_more(player: Player) -> None:
    # A reboot deletes the only lock, and the other run takes it before this one renews it.
    done, _ = player.play(
        machines("member", workers=["member", "prepared"]),
        Event(what="reboots", machine="cp-1", after=10),
        (Command(deploy="cluster.py"), replace(BOBS, after=51)),
        faults=[waits_for_its_drain(run=1)],
    )
    assert done.exit_code == 1, done.output
    assert "@fake/cp-1: not done here, because another run has the lock" in done.output
    assert "@bob)" in done.output and "this run stops here" in done.output
    assert "Traceback" not in done.output
    # The join began before the other run had the lock; the token, which is deleted after the join, is left.
    assert done.decisive == ["worker-2: kubeadm join"]
    assert done.changes[-1] == "worker-2: kubeadm join"


def test_a_run_whose_operators_machine_slept_changes_nothing_more(player: Player) -> None:
    asleep = Fault(run=0, machine="cp-2", what="write-files", kind="suspend")
    done, _ = player.play(
        machines("member", "prepared", "prepared", workers=["member"]),
        (Command(deploy="cluster.py"), replace(BOBS, after=250)),
        faults=[asleep, waits_for_its_drain(run=1)],
    )
    refused(done, "@bob has been running remove_node.py", "this run has lost its lock; it stops here")
    # Only the changes that had begun when the machine was suspended.
    assert {change.partition(": ")[2] for change in done.changes} == {"write-files"}
