"""``cluster.py`` gives single nodes' kubelets fields of their own. Here all nodes get the same: ``--data`` is for all hosts."""

import json
from pathlib import Path
from typing import Any

import pytest

from kubeadm_deploys.documents.node_kubelet import FIELDS_FILE, UNIT_FILE
from tests.simulation.history import Command, Event, Fault
from tests.simulation.live_clusters import NEW, WELL, WELL_OF_THREE, cluster, pods, restarts, unchanged
from tests.simulation.scenarios import Ended, Hosts, Player, fails, machines

MAY_DRAIN = "--data=allow_drain=true"

SWAP = "swap-kubelet-configuration"

REMOVE = "remove-kubelet-fields"


def own(number: int, **fields: Any) -> tuple[str, ...]:
    return (f"--data=node_kubelet_configuration={json.dumps({'maxPods': number, **fields})}",)


STATIC = own(50, cpuManagerPolicy="static")


def changes_of(done: Ended, *machines: str) -> list[str]:
    return [change for change in done.decisive if change.partition(":")[0] in machines]


@pytest.mark.parametrize("hosts", [WELL, WELL_OF_THREE], ids=["one", "three"])
def test_own_fields_are_added_changed_and_removed_one_by_one(player: Player, hosts: Hosts) -> None:
    names = [host.name for host in hosts]
    added, again, changed, removed, end = player.play(
        hosts, cluster(*own(50)), cluster(*own(50)), cluster(*own(60)), cluster(), cluster()
    )
    for done in (added, changed, removed):
        assert done.exit_code == 0 and restarts(done) == names, done.output
    assert [change for change in removed.decisive if REMOVE in change] == [
        f"{each}: {REMOVE}" for each in names
    ]
    # Each is finished once its node is Ready.
    own_changes = [change for change in changed.changes if "validate" not in change]
    assert own_changes == [f"{each}: {change}" for each in names for change in (SWAP, "write-files")]
    unchanged(again)
    unchanged(end)


def test_a_new_node_has_its_own_fields_from_the_start(player: Player) -> None:
    done, again = player.play(NEW, cluster(*own(50)), cluster(*own(50)))
    assert done.exit_code == 0 and not restarts(done), done.output
    for name in ("cp-1", "worker-1"):
        *_, validated, made = changes_of(done, name)
        assert "config validate" in validated and ("init" in made or "join" in made)
    unchanged(again)


@pytest.mark.parametrize("then", [own(50), ()], ids=["with", "without"])
def test_a_machine_that_is_joined_anew_has_the_fields_of_today(player: Player, then: tuple[str, ...]) -> None:
    gone = Event(what="node deleted", machine="worker-1")
    reset = Event(what="replaced", machine="worker-1")
    _, joined, again = player.play(WELL, cluster(*own(50)), gone, reset, cluster(*then), cluster(*then))
    assert joined.exit_code == 0 and "worker-1" not in restarts(joined), joined.output
    unchanged(again)


def test_own_fields_and_the_clusters_do_not_meet(player: Player) -> None:
    done, changed, again = player.play(
        WELL, cluster(*own(50)), cluster(*own(50), *pods(80)), cluster(*own(50), *pods(80))
    )
    assert restarts(done) == restarts(changed) == ["cp-1", "worker-1"], changed.output
    unchanged(again)


def test_a_kubelet_that_does_not_come_up_ends_the_run(player: Player) -> None:
    done, same, back, end = player.play(
        WELL_OF_THREE, cluster(*own(-5)), cluster(*own(-5)), cluster(), cluster()
    )
    for failed in (done, same):
        assert failed.exit_code == 1 and restarts(failed) == ["cp-1"], failed.output
        assert (
            "it said last: invalid maxPods" in failed.output and "node_kubelet_configuration" in failed.output
        )
    # The change that failed says that it has not ended, and its kubelet restarts once more.
    assert back.exit_code == 0 and restarts(back) == ["cp-1"], back.output
    unchanged(end)


def test_a_field_that_kubeadm_does_not_know_changes_nothing(player: Player) -> None:
    wrong = '--data=node_kubelet_configuration={"unknownField": 1}'
    done = player.run(WELL, "cluster.py", wrong)
    assert (done.exit_code, done.decisive) == (1, ["cp-1: kubeadm config validate"]), done.output
    assert 'unknown field "unknownField"' in done.output and "node_kubelet_configuration" in done.output
    new = player.run(NEW, "cluster.py", wrong)
    assert new.exit_code == 1 and "cp-1: kubeadm init" not in new.changes, new.output
    assert 'unknown field "unknownField"' in new.output


def test_an_edit_stops_the_run_before_any_change_unless_it_may_be_lost(player: Player) -> None:
    edited = Event(what="own fields edited", machine="worker-1")
    _, stopped, kept, done, again = player.play(
        WELL,
        cluster(*own(50)),
        edited,
        cluster(*own(50)),
        cluster(),
        cluster(*own(60), "--data=discard_edits=true"),
        cluster(*own(60)),
    )
    for run in (stopped, kept):
        assert run.exit_code == 1 and run.decisive == [], run.output
        assert FIELDS_FILE in run.output and "worker-1" in run.output and "discard_edits=true" in run.output
    assert done.exit_code == 0 and restarts(done) == ["cp-1", "worker-1"], done.output
    unchanged(again)


@pytest.mark.parametrize("file", [FIELDS_FILE, UNIT_FILE])
def test_a_kubelet_without_one_of_its_files_is_restarted_only_if_the_edit_may_be_lost(
    player: Player, file: str
) -> None:
    _, stopped, named, done, end = player.play(
        WELL,
        cluster(*own(50)),
        Event(what=f"deleted {file}", machine="worker-1"),
        cluster("--limit=@fake/worker-1"),
        cluster("--data=discard_edits=true", "--limit=@fake/worker-1"),
        cluster("--data=discard_edits=true", MAY_DRAIN),
        cluster(),
    )
    assert (stopped.exit_code, stopped.decisive) == (1, []), stopped.output
    assert file in stopped.output and "discard_edits=true" in stopped.output
    if file == FIELDS_FILE:
        # What its kubelet has is not known.
        assert not restarts(named) and "allow_drain=true" in named.output, named.output
        assert "drain" in turns(done), done.output
    else:
        assert restarts(named) == ["worker-1"], named.output
    assert done.exit_code == 0, done.output
    unchanged(end)


def test_a_run_that_has_failed_on_the_leader_changes_no_kubelet(player: Player) -> None:
    done = player.run(WELL, "cluster.py", *own(50), *pods(-5))
    assert done.exit_code == 1 and restarts(done) == ["cp-1"], done.output
    assert "node_kubelet_configuration of cp-1, worker-1" in done.output, done.output


@pytest.mark.parametrize("fields", [own(50), (*STATIC, MAY_DRAIN)], ids=["undrained", "drained"])
def test_no_run_goes_on_to_other_nodes_while_a_changed_one_is_not_ready(
    player: Player, fields: tuple[str, ...]
) -> None:
    not_ready = [
        Fault(run=run, machine="cp-1", what="NodesReady", kind="fails", again=True) for run in (0, 1)
    ]
    *stopped, done, again = player.play(WELL, *[cluster(*fields)] * 4, faults=not_ready)
    for run in stopped:
        assert run.exit_code == 1 and restarts(run) == ["cp-1"], run.output
    assert done.exit_code == 0 and restarts(done) == ["cp-1", "worker-1"], done.output
    unchanged(again)


def test_a_control_plane_without_its_node_object_is_named_and_changed_by_the_next_run(player: Player) -> None:
    gone = Event(what="node deleted", machine="cp-1")
    done, again, end = player.play(WELL, gone, *[cluster(*own(50))] * 3)
    assert done.exit_code == 0 and restarts(done) == ["worker-1"], done.output
    assert "cp-1: has no Node object" in done.output
    assert restarts(again) == ["cp-1"], again.output
    unchanged(end)


def test_an_unfinished_node_that_waits_for_a_drain_is_only_released_once(player: Player) -> None:
    killed = Fault(run=0, machine="cp-1", what="drain", nth=0, kind="killed after")
    _, released, again = player.play(
        WELL, cluster(*STATIC, MAY_DRAIN), cluster(*STATIC), cluster(*STATIC), faults=[killed]
    )
    assert "uncordon" in turns(released) and not restarts(released), released.output
    for run in (released, again):
        assert run.exit_code == 0 and "Changing kubelets" not in run.output, run.output
    unchanged(again)


def test_an_upgrade_keeps_own_fields(player: Player) -> None:
    hosts = machines("member, at 1.36.5", workers=["member, at 1.36.5"])
    upgrade = (Command(deploy="upgrade.py", arguments=("--data=backup=false", *own(50))),)
    _, upgraded, again = player.play(hosts, cluster(*own(50)), upgrade, cluster(*own(50)))
    assert upgraded.exit_code == 0, upgraded.output
    unchanged(again)


def test_a_restored_control_plane_has_its_own_fields_from_the_start(player: Player) -> None:
    backup = (Command(deploy="backup.py", arguments=("--data=plain=true",)),)
    confirmed = ("--data=backup=BACKUP", "--data=confirm=kubernetes")
    restore = (Command(deploy="restore.py", arguments=(*confirmed, *own(50))),)
    lost = Event(what="replaced", machine="cp-1")
    *_, restored, done = player.play(WELL, cluster(*own(50)), backup, lost, restore, cluster(*own(50)))
    assert restored.exit_code == 0 and done.exit_code == 0, restored.output
    assert restarts(restored) == restarts(done) == [], done.output


@pytest.mark.parametrize("begins", ["half 1", "prepared"])
def test_a_machine_is_checked_for_unknown_fields_before_anything_is_done_to_it(
    player: Player, begins: str
) -> None:
    wrong = '--data=node_kubelet_configuration={"unknownField": 1}'
    done = player.run(machines("member", workers=[begins]), "cluster.py", wrong, "--limit=@fake/worker-1")
    assert done.exit_code == 1 and changes_of(done, "cp-1") == [], done.output
    assert done.decisive == ["worker-1: kubeadm config validate"], done.output
    assert "node_kubelet_configuration of worker-1" in done.output, done.output


def test_a_restore_is_checked_for_unknown_fields_before_anything_is_stopped(player: Player) -> None:
    backup = (Command(deploy="backup.py", arguments=("--data=plain=true",)),)
    wrong = '--data=node_kubelet_configuration={"unknownField": 1}'
    restore = (
        Command(deploy="restore.py", arguments=("--data=backup=BACKUP", "--data=confirm=kubernetes", wrong)),
    )
    _, done = player.play(WELL, backup, Event(what="replaced", machine="cp-1"), restore)
    assert done.exit_code == 1, done.output
    assert changes_of(done, "cp-1") == ["cp-1: kubeadm config validate"], done.output
    assert "node_kubelet_configuration of cp-1" in done.output, done.output


def test_only_nodes_of_the_run_are_changed(player: Player) -> None:
    one, others = player.play(WELL, cluster(*own(50), "--limit=@fake/worker-1"), cluster(*own(50)))
    assert one.exit_code == 0 and restarts(one) == ["worker-1"], one.output
    assert restarts(others) == ["cp-1"], others.output


def test_only_the_nodes_of_a_group_get_its_fields(player: Player, tmp_path: Path) -> None:
    (tmp_path / "workers.py").write_text("node_kubelet_configuration = {'maxPods': 50}\n")
    data = f"--group-data={tmp_path}"
    done, again, new = player.play(
        machines("member", workers=["member", "prepared"]), cluster(data), cluster(data), cluster()
    )
    assert done.exit_code == 0 and restarts(done) == ["worker-1"], done.output
    unchanged(again)
    assert restarts(new) == ["worker-1", "worker-2"], new.output


def test_what_needs_a_drained_node_is_named_and_left(player: Player) -> None:
    done, again = player.play(WELL, cluster(*STATIC), cluster(*STATIC))
    assert done.exit_code == 0 and not restarts(done), done.output
    assert "cpuManagerPolicy" in done.output and "allow_drain=true" in done.output
    assert not restarts(again)


TURN = ["annotate", "drain", SWAP, "uncordon", "annotate"]


@pytest.mark.parametrize("hosts", [WELL, WELL_OF_THREE], ids=["one", "three"])
def test_nodes_are_drained_one_by_one_if_that_is_allowed(player: Player, hosts: Hosts) -> None:
    done, again, back, end = player.play(
        hosts, cluster(*STATIC, MAY_DRAIN), cluster(*STATIC), cluster(MAY_DRAIN), cluster()
    )
    assert turns(done) == TURN * len(hosts), done.output
    assert turns(back) == [*TURN, REMOVE] * len(hosts), back.output
    unchanged(again)
    unchanged(end)


def turns(done: Ended) -> list[str]:
    verbs = [change.partition(": ")[2] for change in done.changes]
    return [verb for verb in verbs if verb in (*TURN, REMOVE)]


def test_a_node_that_is_not_drained_or_whose_kubelet_fails_takes_pods_again(player: Player) -> None:
    (done,) = player.play(WELL, cluster(*STATIC, MAY_DRAIN), faults=[fails("drain")])
    assert done.exit_code == 1 and turns(done)[-2:] == ["uncordon", "annotate"], done.output
    # The file with its fields already says that a change has begun.
    assert "nothing on it was restarted" in done.output, done.output
    (done,) = player.play(WELL, cluster(*own(-5, cpuManagerPolicy="static"), MAY_DRAIN))
    assert done.exit_code == 1 and turns(done) == TURN, done.output


# The first file that worker-1 gets is the kubelet's resolver file; cp-1's turn is before worker-1's.
_STOPS = [
    Fault(run=0, machine=machine, what=what, nth=nth, kind=kind)
    for machine, what, nth in (
        *(("worker-1", "write-files", nth) for nth in (1, 2)),
        ("worker-1", SWAP, 0),
        *(("cp-1", "annotate", nth) for nth in (2, 3)),
        *(("cp-1", what, 1) for what in ("drain", "uncordon")),
    )
    for kind in ("killed before", "killed after", "fails")
]

_CUTS = [
    Fault(run=0, machine="worker-1", what=what, nth=nth, kind=kind, at=at)
    for what, nth in (("write-files", 1), (SWAP, 0))
    for kind in ("cut", "reboot")
    for at in (1, 2)
]


@pytest.mark.parametrize("fault", [*_STOPS, *_CUTS], ids=repr)
@pytest.mark.parametrize("then", [(*STATIC, MAY_DRAIN), ()], ids=["goes on", "taken back"])
def test_a_drained_nodes_change_that_stops_anywhere_is_finished_or_taken_back(
    player: Player, fault: Fault, then: tuple[str, ...]
) -> None:
    wanted = cluster(*STATIC, MAY_DRAIN)
    _, done, again, end = player.play(
        WELL, wanted, cluster(*then), cluster(*then), cluster(MAY_DRAIN), faults=[fault]
    )
    assert done.exit_code == 0, done.output
    if (fault.what, fault.kind) == ("uncordon", "killed before"):
        assert "uncordon" in turns(done), done.output
    assert again.exit_code == 0 and not restarts(again) and "drain" not in turns(again), again.output
    assert end.exit_code == 0 and turns(end)[-1:] in ([REMOVE], []), end.output


@pytest.mark.parametrize(
    ("what", "kind", "at"),
    [
        *(("write-files", kind, at) for kind in ("cut", "reboot") for at in (1, 2)),
        *((SWAP, kind, at) for kind in ("cut", "reboot") for at in (1, 2, 3)),
        *((REMOVE, kind, 1) for kind in ("cut", "reboot")),
        *((what, "killed after", 0) for what in ("write-files", SWAP, REMOVE)),
        *((what, "fails", 0) for what in ("write-files", SWAP, REMOVE)),
        ("kubeadm config validate", "killed after", 0),
    ],
)
@pytest.mark.parametrize("then", [own(50), ()], ids=["goes on", "taken back"])
def test_a_change_that_stops_anywhere_is_finished_or_taken_back(
    player: Player, what: str, kind: str, at: int, then: tuple[str, ...]
) -> None:
    before = [cluster(*own(50))] if what == REMOVE else []
    fault = Fault(
        run=len(before),
        machine="cp-1" if what.startswith("kubeadm") else "worker-1",
        what=what,
        kind=kind,
        nth=int(what == "write-files"),
        at=at,
    )
    wanted = () if what == REMOVE else own(50)
    *_, done, again = player.play(
        WELL, *before, cluster(*wanted), cluster(*then), cluster(*then), faults=[fault]
    )
    assert done.exit_code == 0, done.output
    unchanged(again)


@pytest.mark.parametrize("kind", ["cut", "reboot"])
@pytest.mark.parametrize("at", [1, 2, 3])
@pytest.mark.parametrize("policy", [{}, {"cpuManagerPolicy": "static"}], ids=["undrained", "drained"])
def test_a_kubelet_that_was_cut_off_with_a_wrong_value_gets_its_old_fields(
    player: Player, at: int, kind: str, policy: dict[str, str]
) -> None:
    fault = Fault(run=0, machine="cp-1", what=SWAP, kind=kind, at=at)
    wrong = cluster(*own(-5, **policy), MAY_DRAIN)
    cut, same, done, again = player.play(
        WELL, wrong, wrong, cluster(*own(50), MAY_DRAIN), cluster(*own(50)), faults=[fault]
    )
    assert (cut.exit_code, same.exit_code) == (1, 1), same.output
    assert "it said last: invalid maxPods" in same.output, same.output
    assert (done.exit_code, restarts(done)) == (0, ["cp-1", "worker-1"]), done.output
    unchanged(again)
