"""``cluster.py`` and ``remove_node.py`` on pretend machines on which another run is at work, or was while this one waited at the prompt."""

from dataclasses import replace

import pytest

from tests.simulation.history import Command, Event, Fault
from tests.simulation.scenarios import Player, machines, refused
from tests.simulation.world import OPTIONS

WELL = machines("member", workers=["member"])
WELL_OF_THREE = machines("member", "member", "member", workers=["member"])

NEWER = "9.9.9"
"""A release that nothing else here has."""

BOBS = Command(deploy="remove_node.py", arguments=("--data=node=worker-1",), operator="bob")
"""A removal that waits for its drain as long as it may, where it does not end by itself."""


def waits_for_its_drain(*, run: int) -> Fault:
    """A drain of so many minutes, in which the run keeps its lock."""
    return Fault(run=run, machine="cp-1", what="drain", kind="late after")


def test_a_run_ends_when_another_one_has_joined_a_worker_meanwhile(player: Player) -> None:
    ours = Command(deploy="cluster.py", prompt=600)
    theirs = Command(deploy="cluster.py", operator="bob", after=5)
    done, other = player.play(machines("member", workers=["prepared"]), (ours, theirs))
    assert (other.exit_code, other.decisive) == (0, ["worker-1: kubeadm join"])
    refused(done, "something has changed on machines (@fake/worker-1: provisioning", "run it again")
    assert done.changes == []


def test_a_worker_that_another_run_has_joined_is_left_alone(player: Player) -> None:
    theirs = Command(deploy="cluster.py", operator="bob")
    other, done = player.play(
        machines("member", workers=["prepared"]), (theirs,), (Command(deploy="cluster.py"),)
    )
    assert (other.exit_code, other.decisive) == (0, ["worker-1: kubeadm join"])
    assert (done.exit_code, done.changes) == (0, []), done.output


def test_the_last_control_plane_is_not_removed_by_what_was_true_before_the_lock(player: Player) -> None:
    ours = Command(deploy="remove_node.py", arguments=("--data=node=cp-2",), prompt=900)
    others = [
        Command(deploy="remove_node.py", arguments=(f"--data=node={name}",), operator="bob", after=after)
        for name, after in (("cp-1", 5), ("cp-3", 300))
    ]
    done, *removed = player.play(WELL_OF_THREE, (ours, *others))
    assert [each.exit_code for each in removed] == [0, 0]
    refused(done, "no changes were made")
    assert done.changes == []


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("recorded", f"its release of containerd was {OPTIONS.containerd_version} and is {NEWER}"),
        ("upgraded to", f"its release of Kubernetes was {OPTIONS.kubernetes_version} and is {NEWER}"),
    ],
)
def test_a_run_ends_when_another_one_has_changed_releases_meanwhile(
    player: Player, what: str, said: str
) -> None:
    newer = Event(what=f"{what} {NEWER}", machine="cp-1", after=60)
    (done,) = player.play(WELL, newer, (Command(deploy="cluster.py", prompt=300),))
    refused(done, f"{said} since this run was prepared; no changes were made; run it again")
    assert done.changes == []


def test_a_run_does_not_begin_beside_another_one(player: Player) -> None:
    _, done = player.play(
        machines("member", "prepared", "prepared", workers=["member"]),
        (BOBS, Command(deploy="cluster.py", after=10)),
        faults=[waits_for_its_drain(run=0)],
    )
    refused(done, "@bob has been running remove_node.py on this cluster since", "no changes were made")
    assert done.changes == []


def test_a_run_that_has_lost_its_lock_does_nothing_more_to_the_cluster(player: Player) -> None:
    # A reboot takes the only lock, and the other run has it before this one renews its own.
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
    # The join was begun before the other run had the lock; the token that is deleted after it is left.
    assert done.decisive == ["worker-2: kubeadm join"]
    assert done.changes[-1] == "worker-2: kubeadm join"


def test_a_run_whose_operators_machine_has_slept_does_nothing_more(player: Player) -> None:
    asleep = Fault(run=0, machine="cp-2", what="write-files", kind="suspend")
    done, _ = player.play(
        machines("member", "prepared", "prepared", workers=["member"]),
        (Command(deploy="cluster.py"), replace(BOBS, after=250)),
        faults=[asleep, waits_for_its_drain(run=1)],
    )
    refused(done, "@bob has been running remove_node.py", "this run has lost its lock; it stops here")
    # The changes that were begun beside each other when the machine fell asleep.
    assert {change.partition(": ")[2] for change in done.changes} == {"write-files"}
