"""``restore.py --data from=disk`` on simulated machines: the newest data that is left, one etcd, and nothing half done for good."""

import pytest

from tests.simulation.history import Command, Event, Fault
from tests.simulation.scenarios import Ended, Hosts, Player, before_operations, machines
from tests.simulation.test_scenarios_restore import (
    BACKUP,
    CLUSTER,
    CONFIRMED,
    OVERRIDE,
    RESTORE,
    THREE,
    WRITTEN,
    Step,
    faults,
    left_out,
    put_back,
    replaced,
    steps,
)

FROM_DISK = ("--data=from=disk", "--data=confirm=kubernetes")
DISK = (Command(deploy="restore.py", arguments=FROM_DISK),)
FIVE = machines("member", "member", "member", "member", "member", workers=["member"])

SITUATIONS: dict[str, tuple[Hosts, tuple[Event, ...]]] = {
    "the first is left, new machines": (THREE, replaced("cp-2", "cp-3")),
    "the last is left, new machines": (THREE, replaced("cp-1", "cp-2")),
    "the last is left alone": (THREE, left_out("cp-1", "cp-2")),
    "two of five are left": (FIVE, (*replaced("cp-1"), *left_out("cp-4", "cp-5"))),
}


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_lost_majority_is_restored_and_the_others_join(player: Player, situation: str) -> None:
    hosts, lost = SITUATIONS[situation]
    restore, cluster, backup, last = player.play(hosts, WRITTEN, *lost, DISK, CLUSTER, BACKUP, CLUSTER)
    assert (restore.exit_code, cluster.exit_code, backup.exit_code) == (0, 0, 0), (
        restore.output + cluster.output
    )
    assert (last.exit_code, last.changes) == (0, []), last.output
    assert "some of the last ones that the API acknowledged" in restore.output
    # The seed and the worker keep their pods, and no data is deleted.
    cleaned = [change for change in restore.changes if "clean" in change]
    assert not [change for change in cleaned if change.startswith("worker") or change.endswith(" clean")]


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_dry_run_only_shows_what_would_be_done(player: Player, situation: str) -> None:
    hosts, lost = SITUATIONS[situation]
    dry = (Command(deploy="restore.py", arguments=(*FROM_DISK, "--dry")),)
    (done,) = player.play(hosts, WRITTEN, *lost, dry)
    assert (done.exit_code, done.changes) == (0, []), done.output
    assert "From the disk of cp-" in done.output


def test_the_newest_data_of_several_is_taken(player: Player) -> None:
    lost = (*left_out("cp-1"), Event(what="written", machine="cp-2"), *left_out("cp-3", "cp-4", "cp-5"))
    restore, cluster = player.play(FIVE, WRITTEN, *lost, *put_back("cp-1"), DISK, CLUSTER)
    assert (restore.exit_code, cluster.exit_code) == (0, 0), restore.output + cluster.output
    assert "From the disk of cp-2" in restore.output
    assert "cp-1 is 1 of etcd's entries behind it" in restore.output
    assert "cp-1: clean and keep etcd" in restore.changes


def test_newer_data_is_not_given_up_for_a_restore_that_was_interrupted(player: Player) -> None:
    # The two that were left out go on, and then one of them is lost for good.
    day_1: tuple[Step, ...] = (*left_out("cp-1", "cp-3"), DISK, *left_out("cp-2"), *put_back("cp-1", "cp-3"))
    day_2: tuple[Step, ...] = (WRITTEN, *left_out("cp-3"), *put_back("cp-2"), DISK)
    killed = Fault(run=0, machine="cp-2", what="stop-static-pods", kind="killed after")
    *_, done = player.play(THREE, WRITTEN, *day_1, *day_2, faults=[killed])
    before_operations(done, "cp-1: has newer data", "take cp-2 out of the inventory")


def test_new_machines_need_not_be_prepared(player: Player) -> None:
    lost = tuple(Event(what="replaced, bare", machine=name) for name in ("cp-2", "cp-3"))
    restore, cluster, last = player.play(THREE, WRITTEN, *lost, DISK, CLUSTER, CLUSTER)
    assert (restore.exit_code, cluster.exit_code) == (0, 0), restore.output + cluster.output
    assert last.changes == [] and not [line for line in restore.changes if "cp-2: begin" in line]


def test_workers_look_for_the_api_only_on_the_inventorys_control_planes(player: Player) -> None:
    _, restore = player.play(FIVE, CLUSTER, WRITTEN, *left_out("cp-1", "cp-2", "cp-3"), DISK)
    assert restore.exit_code == 0, restore.output
    changes = restore.changes
    assert changes.index("worker-1: write-files") < changes.index("cp-4: start-static-pods")


@pytest.mark.parametrize("name", ["force", "restart", "identity"])
def test_data_that_means_nothing_is_refused(player: Player, name: str) -> None:
    command = (Command(deploy="restore.py", arguments=(*FROM_DISK, f"--data={name}=true")),)
    (done,) = player.play(THREE, *replaced("cp-1", "cp-2"), command)
    before_operations(done, f"{name}: means nothing with from=disk")


def test_a_control_plane_that_was_started_again_after_the_loss_is_as_good(player: Player) -> None:
    # Put back, cp-1 is started again.
    lost = (*left_out("cp-2", "cp-3"), *put_back("cp-1"))
    refused, restore, cluster = player.play(THREE, WRITTEN, *lost, CLUSTER, DISK, CLUSTER)
    assert "--data from=disk" in refused.output and refused.exit_code != 0, refused.output
    assert (restore.exit_code, cluster.exit_code) == (0, 0), restore.output + cluster.output


OWN = (
    "begin-restore",
    "stop-static-pods",
    "copy-database",
    "unpack-snapshot",
    "start-static-pods",
    "end-restore",
    "delete node",
)


def test_the_next_run_goes_on_with_one_that_was_interrupted(player: Player) -> None:
    hosts, lost = SITUATIONS["the last is left alone"]
    begin: tuple[Step, ...] = (CLUSTER, WRITTEN, *lost, DISK)
    _, whole = player.play(hosts, *begin)
    chosen = list(faults(whole.changes, kinds=("reboot",), of=OWN))
    assert len(chosen) >= 10
    for fault in chosen:
        assert_goes_on(player.play(hosts, *begin, DISK, CLUSTER, CLUSTER, faults=[fault]), fault)


def assert_goes_on(runs: list[Ended], fault: Fault) -> None:
    """Assert that an interrupted restore was ended by the next run, or by cluster.py if the API had answered."""
    *_, again, cluster, last = runs
    assert again.exit_code == 0 or "etcd has its majority" in again.output, (fault, again.output)
    assert (cluster.exit_code, last.exit_code, last.changes) == (0, 0, []), (fault, cluster.output)


@pytest.mark.chaos
@pytest.mark.parametrize("situation", SITUATIONS)
def test_it_survives_every_fault_at_every_command(player: Player, situation: str) -> None:
    hosts, lost = SITUATIONS[situation]
    begin: tuple[Step, ...] = (CLUSTER, WRITTEN, *lost, DISK)
    _, whole = player.play(hosts, *begin)
    kinds = (
        "fails",
        "killed before",
        "killed after",
        "lost before",
        "lost after",
        "cut",
        "cut and lost",
        "reboot",
    )
    for fault in faults(whole.changes, kinds=kinds, of=()):
        assert_goes_on(player.play(hosts, *begin, DISK, CLUSTER, CLUSTER, faults=[fault]), fault)


def test_an_old_majority_that_comes_back_is_recognised_and_not_used(player: Player) -> None:
    old = ("cp-1", "cp-2")
    restored, _, refused, again = player.play(
        THREE, WRITTEN, *left_out(*old), DISK, CLUSTER, *put_back(*old), CLUSTER, DISK
    )
    assert restored.exit_code == 0, restored.output
    before_operations(
        refused, "2 different etcd clusters: cp-1, cp-2 (etcd cluster", "deploys/reset.py --limit"
    )
    before_operations(again, "2 different etcd clusters")


def test_while_a_majority_is_left_nothing_is_restored(player: Player) -> None:
    done, small = player.play(THREE, DISK, *left_out("cp-3"), DISK)
    before_operations(done, "etcd has its majority (cp-1, cp-2, cp-3)", "deploys/remove_node.py")
    before_operations(small, "etcd has its majority (cp-1, cp-2)")


def test_without_a_disk_only_a_backup_helps(player: Player) -> None:
    (done,) = player.play(THREE, *replaced("cp-1", "cp-2", "cp-3"), DISK)
    before_operations(done, "no control plane of the inventory has etcd's data", "from a backup")


def test_a_control_plane_that_may_come_back_stops_it(player: Player) -> None:
    down = Event(what="stops", machine="cp-2")
    (done,) = player.play(THREE, down, *replaced("cp-3"), DISK)
    before_operations(done, "cp-2: cannot be reached", "take it out of the inventory")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--data=from=disk",), "confirm: is missing"),
        (("--data=from=disk", "--data=confirm=other"), "confirm: 'other' is not the name"),
        (("--data=from=cp-1", "--data=confirm=kubernetes"), "from: only 'disk' is known"),
        ((*FROM_DISK, "--data=backup=BACKUP"), "name either from=disk or backup=FILE"),
        ((*FROM_DISK, "--limit=control_plane"), "without --limit"),
        ((*FROM_DISK, "--data=cluster_name=other", "--data=confirm=other"), "other"),
    ],
)
def test_wrong_input_is_refused(player: Player, arguments: tuple[str, ...], words: str) -> None:
    command = (Command(deploy="restore.py", arguments=arguments),)
    (done,) = player.play(THREE, *replaced("cp-1", "cp-2"), command)
    before_operations(done, words)


def test_another_machines_silence_is_no_sign_of_old_data(player: Player) -> None:
    lost = left_out("cp-3", "cp-4", "cp-5")
    silent = Fault(run=0, machine="cp-2", what="OwnEtcd", kind="fails", again=True)
    (done,) = player.play(FIVE, WRITTEN, *lost, DISK, faults=[silent])
    before_operations(done, "cp-2: its etcd does not answer", "take the machine out of the inventory")


def test_a_half_done_restore_from_a_backup_is_ended_first(player: Player) -> None:
    killed = Fault(run=1, machine="cp-1", what="begin-restore", kind="killed after")
    lost = replaced("cp-2", "cp-3")
    *_, done = player.play(THREE, *steps(lost, RESTORE, DISK), faults=[killed])
    before_operations(done, "a restore from a backup began at", "--data backup=FILE")


@pytest.mark.parametrize("what", ["begin-restore", "unpack-snapshot"])
def test_a_half_done_one_is_ended_before_anything_else(player: Player, what: str) -> None:
    killed = Fault(run=1, machine="cp-1", what=what, kind="killed after")
    lost = replaced("cp-2", "cp-3")
    _, _, cluster, restore = player.play(THREE, *steps(lost, DISK, CLUSTER, RESTORE), faults=[killed])
    before_operations(cluster, "a restore from a disk has begun and has not ended", "--data from=disk")
    before_operations(restore, "a restore from a disk began at", "--data restart=true")


def test_a_backup_can_be_restored_instead_of_a_half_done_one(player: Player) -> None:
    killed = Fault(run=1, machine="cp-1", what="start-static-pods", kind="killed after")
    restart = (Command(deploy="restore.py", arguments=(*CONFIRMED, "--data=restart=true")),)
    lost = replaced("cp-2", "cp-3")
    _, _, restored, cluster = player.play(THREE, *steps(lost, DISK, restart, CLUSTER), faults=[killed])
    assert (restored.exit_code, cluster.exit_code, cluster.decisive) == (0, 0, []), restored.output


def test_wrong_data_is_still_restored_from_a_backup_later(player: Player) -> None:
    lost = replaced("cp-2", "cp-3")
    *runs, override, cluster = player.play(THREE, *steps(lost, DISK, CLUSTER, OVERRIDE, CLUSTER))
    assert [run.exit_code for run in (*runs, override, cluster)] == [0] * 5, override.output
