"""``restore.py`` on simulated machines: exactly the backup, one etcd, and nothing that another run could mistake.

The invariants do most of the checking: after a successful run, every node reaches a cluster that has every write of
the backup; data that was restored is never replaced by another run; and no two etcd clusters are served.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pyrage
import pytest

from tests.simulation.history import Command, Event, Fault
from tests.simulation.scenarios import Ended, Hosts, Player, before_operations, machines
from tests.simulation.test_scenarios_reconfiguration import AUDIT

Step = tuple[Command, ...] | Event

BACKUP = (Command(deploy="backup.py", arguments=("--data=plain=true",)),)
CONFIRMED = ("--data=backup=BACKUP", "--data=confirm=kubernetes")
RESTORE = (Command(deploy="restore.py", arguments=CONFIRMED),)
OVERRIDE = (Command(deploy="restore.py", arguments=(*CONFIRMED, "--data=force=true")),)
CLUSTER = (Command(deploy="cluster.py"),)
WRITTEN = Event(what="written", machine="cp-1")

ONE = machines("member", workers=["member"])
THREE = machines("member", "member", "member", workers=["member"])


def replaced(*names: str) -> tuple[Event, ...]:
    return tuple(Event(what="replaced", machine=name) for name in names)


SITUATIONS: dict[str, tuple[Hosts, tuple[Event, ...], tuple[Command, ...]]] = {
    "wrong data on 1+1": (ONE, (), OVERRIDE),
    "a new machine on 1+1": (ONE, replaced("cp-1"), RESTORE),
    "wrong data on 3+1": (THREE, (), OVERRIDE),
    "lost majority on 3+1": (THREE, replaced("cp-2", "cp-3"), RESTORE),
    "lost first and majority on 3+1": (THREE, replaced("cp-1", "cp-2"), RESTORE),
    "all control planes lost on 3+1": (THREE, replaced("cp-1", "cp-2", "cp-3"), RESTORE),
}


def steps(lost: tuple[Event, ...], *commands: Step) -> tuple[Step, ...]:
    return (WRITTEN, BACKUP, WRITTEN, *lost, *commands)


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_restore_makes_the_whole_cluster_and_leaves_nothing_to_do(player: Player, situation: str) -> None:
    hosts, lost, command = SITUATIONS[situation]
    _, restore, cluster = player.play(hosts, *steps(lost, command, CLUSTER))
    assert restore.exit_code == 0, restore.output
    assert (cluster.exit_code, cluster.decisive) == (0, []), cluster.output
    cleaned = [change for change in restore.changes if "clean" in change]
    # Workers, and a control plane that has everything, keep their pods.
    assert not [change for change in cleaned if change.startswith(("worker", "cp-1"))]
    assert "clean" not in {change.partition(": ")[2] for change in cleaned}


def test_control_planes_that_join_a_restored_one_get_the_files_that_arguments_name(player: Player) -> None:
    lost = steps(replaced("cp-2", "cp-3"))
    _, _, plain = player.play(THREE, CLUSTER, *lost, RESTORE)
    audited = tuple(replace(command, arguments=(*command.arguments, *AUDIT)) for command in RESTORE)
    cluster = (Command(deploy="cluster.py", arguments=AUDIT),)
    _, _, restore, end = player.play(THREE, cluster, *lost, audited, cluster)
    assert restore.exit_code == 0, restore.output
    assert Counter(restore.changes) - Counter(plain.changes) == {
        "cp-1: keep-files": 1,
        "cp-1: write-files": 1,
        "cp-2: write-files": 1,
        "cp-3: write-files": 1,
    }
    assert (end.exit_code, end.changes) == (0, []), end.output


def test_control_planes_get_the_files_that_the_options_no_longer_have(player: Player) -> None:
    lost = steps(replaced("cp-2", "cp-3"))
    cluster = (Command(deploy="cluster.py", arguments=AUDIT),)
    _, _, restore = player.play(THREE, cluster, *lost, RESTORE)
    assert restore.exit_code == 0, restore.output
    written = Counter(change for change in restore.changes if "write-files" in change)
    _, _, plain = player.play(THREE, CLUSTER, *lost, RESTORE)
    without = Counter(change for change in plain.changes if "write-files" in change)
    assert written - without == {f"{name}: write-files": 1 for name in ("cp-1", "cp-2", "cp-3")}


RESTORES_OWN = (
    *("begin-restore", "stop-static-pods", "receive-snapshot", "unpack-snapshot", "start-static-pods"),
    *("end-restore", "clean-machine", "kubeadm init", "delete node", "write-pki"),
)
STEPS = {
    **{"unpack-snapshot": (1, 2, 3, 4), "stop-static-pods": (2,), "start-static-pods": (2,)},
    **{"begin-restore": (1,), "end-restore": (1,), "clean-machine": (3, 7), "kubeadm init": (2, 6, 10)},
}
"""After how many steps these commands are interrupted."""


def faults(changes: list[str], *, kinds: tuple[str, ...], of: tuple[str, ...]) -> Iterator[Fault]:
    """Yield faults of the second run at each of its changes."""
    counts: Counter[tuple[str, str]] = Counter()
    for change in changes:
        machine, _, what = change.partition(": ")
        what = " ".join(word for word in what.split() if not word.startswith("-"))
        what = "clean-machine" if what.startswith("clean") else what
        if what == "restart-clients":
            # Part of the command that writes the hosts file.
            continue
        nth = counts[machine, what]
        counts[machine, what] += 1
        for kind in kinds if what in of or not of else ():
            somewhere = kind in ("cut", "cut and lost", "reboot")
            for at in STEPS.get(what, (1,)) if somewhere else (0,):
                yield Fault(run=1, machine=machine, what=what, nth=nth, kind=kind, at=at)


def sweep(player: Player, situation: str, *, kinds: tuple[str, ...], of: tuple[str, ...] = ()) -> int:
    """Interrupt the restore at each of its changes, run it again, and then cluster.py twice; return how often."""
    hosts, lost, command = SITUATIONS[situation]
    _, restore = player.play(hosts, *steps(lost, command))
    chosen = list(faults(restore.changes, kinds=kinds, of=of))
    for fault in chosen:
        runs = player.play(hosts, *steps(lost, command, command, CLUSTER, CLUSTER), faults=[fault])
        assert_went_on(runs, fault)
    return len(chosen)


def assert_went_on(runs: list[Ended], fault: Fault) -> None:
    _, interrupted, again, cluster, last = runs
    # A restore whose API answered was not begun again, unless the operator asked for it.
    assert again.exit_code == 0 or "the cluster works" in again.output, (fault, again.output)
    assert (cluster.exit_code, last.exit_code, last.changes) == (0, 0, []), (
        fault,
        cluster.output,
        last.output,
    )
    assert interrupted.exit_code != 0 or fault.kind in ("lost after", "cut"), (fault, interrupted.output)


@pytest.mark.parametrize("situation", ["wrong data on 1+1", "a new machine on 1+1"])
def test_the_next_run_goes_on_with_a_restore_that_was_interrupted(player: Player, situation: str) -> None:
    assert sweep(player, situation, kinds=("reboot",), of=RESTORES_OWN) >= 9


def test_the_next_run_goes_on_with_a_restore_of_three_that_was_killed(player: Player) -> None:
    own = (
        "begin-restore",
        "stop-static-pods",
        "unpack-snapshot",
        "start-static-pods",
        "end-restore",
        "delete node",
    )
    assert sweep(player, "lost majority on 3+1", kinds=("killed after",), of=own) >= 9


@pytest.mark.chaos
@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_restore_survives_every_fault_at_every_command(player: Player, situation: str) -> None:
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
    assert sweep(player, situation, kinds=kinds) >= 100


def test_what_was_written_after_a_half_done_restore_is_kept(player: Player) -> None:
    killed = Fault(run=1, machine="cp-1", what="start-static-pods", kind="killed after")
    _, _, restore = player.play(
        THREE, *steps(replaced("cp-2", "cp-3"), RESTORE, WRITTEN, RESTORE), faults=[killed]
    )
    # That it was not restored again is an invariant of the history.
    assert restore.exit_code == 0, restore.output
    assert not [change for change in restore.changes if "receive-snapshot" in change]


@pytest.mark.parametrize("deploy", ["cluster.py", "upgrade.py", "backup.py", "remove_node.py"])
@pytest.mark.parametrize("what", ["begin-restore", "unpack-snapshot", "start-static-pods"])
def test_other_deploys_refuse_a_half_done_restore(player: Player, deploy: str, what: str) -> None:
    arguments = {"backup.py": ("--data=plain=true",), "remove_node.py": ("--data=node=cp-2",)}.get(deploy, ())
    killed = Fault(run=1, machine="cp-1", what=what, kind="killed after")
    other = (Command(deploy=deploy, arguments=arguments),)
    _, _, done = player.play(THREE, *steps((), OVERRIDE, other), faults=[killed])
    before_operations(done, "a restore from a backup has begun and has not ended", "deploys/restore.py")


def test_a_half_done_restore_on_a_new_machine_is_no_empty_machine(player: Player) -> None:
    killed = Fault(run=1, machine="cp-1", what="begin-restore", kind="killed after")
    _, _, done = player.play(ONE, *steps(replaced("cp-1"), RESTORE, CLUSTER), faults=[killed])
    before_operations(done, "a restore from a backup has begun and has not ended", "deploys/restore.py")


def test_a_reset_gives_a_half_done_restore_up(player: Player) -> None:
    killed = Fault(run=1, machine="cp-1", what="stop-static-pods", kind="killed after")
    reset = (Command(deploy="reset.py", arguments=("--data=confirm=kubernetes", "--data=force=true")),)
    kubeconfig = ("--data=kubeconfig=other",)
    again = (Command(deploy="cluster.py", arguments=kubeconfig),)
    _, _, given_up, made = player.play(ONE, *steps((), OVERRIDE, reset, again), faults=[killed])
    assert (given_up.exit_code, made.exit_code) == (0, 0), given_up.output + made.output


def test_a_cluster_that_works_is_only_replaced_with_force(player: Player) -> None:
    _, done = player.play(ONE, BACKUP, RESTORE)
    before_operations(done, "the cluster works (cp-1)", "--data force=true")


def test_a_damaged_backup_is_not_restored(player: Player) -> None:
    damaged = (Command(deploy="restore.py", arguments=("--data=backup=DAMAGED", CONFIRMED[1])),)
    _, done = player.play(ONE, BACKUP, damaged)
    before_operations(done, "is damaged", "no changes were made")


def test_a_backup_is_not_restored_without_its_key(player: Player) -> None:
    recipients = json.dumps([str(pyrage.x25519.Identity.generate().to_public())])
    backup = (Command(deploy="backup.py", arguments=(f"--data=backup_recipients={recipients}",)),)
    _, done = player.play(ONE, backup, RESTORE)
    before_operations(done, "--data identity=FILE", "no changes were made")


def test_a_backup_of_a_cluster_of_another_name_is_not_restored(player: Player) -> None:
    other = (*CONFIRMED[:1], "--data=cluster_name=other", "--data=confirm=other")
    _, done = player.play(ONE, BACKUP, (Command(deploy="restore.py", arguments=other),))
    before_operations(done, "is of the cluster 'kubernetes', but cluster_name is 'other'")


def test_a_backup_of_an_earlier_cluster_of_the_name_is_not_restored(player: Player) -> None:
    made = (Command(deploy="cluster.py", operator="bob"),)
    override = (replace(OVERRIDE[0], operator="bob"),)
    copied = (Command(deploy="backup.py", arguments=("--data=plain=true",), operator="bob"),)
    *_, done = player.play(ONE, copied, *replaced("cp-1", "worker-1"), made, override)
    before_operations(done, "cp-1: is a node of another cluster", "worker-1: is a node of another cluster")


def test_a_backup_of_another_minor_release_is_restored_after_a_reset(player: Player) -> None:
    hosts = machines("member, at 1.36.5", workers=["member, at 1.36.5"])
    upgrade = (Command(deploy="upgrade.py", arguments=("--data=backup=false",)),)
    reset = (Command(deploy="reset.py", arguments=("--data=confirm=kubernetes",)),)
    _, upgraded, refused, cleaned, restore, cluster = player.play(
        *(hosts, WRITTEN, BACKUP, upgrade, OVERRIDE, reset, RESTORE, CLUSTER)
    )
    assert upgraded.exit_code == 0, upgraded.output
    before_operations(
        *(refused, "cp-1: has Kubernetes 1.37.2, but the backup was made with 1.36.5"),
        *("restore onto new machines", "deploys/reset.py"),
    )
    assert (cleaned.exit_code, restore.exit_code) == (0, 0), cleaned.output + restore.output
    assert (cluster.exit_code, cluster.decisive) == (0, []), cluster.output


def test_the_clusters_name_confirms(player: Player) -> None:
    for arguments in ((), ("--data=confirm=other",)):
        command = (Command(deploy="restore.py", arguments=("--data=backup=BACKUP", *arguments)),)
        _, done = player.play(ONE, BACKUP, command)
        before_operations(done, "confirm: ", "--data confirm=kubernetes")


def test_a_control_plane_that_may_come_back_stops_the_restore(player: Player) -> None:
    down = Event(what="stops", machine="cp-2")
    _, done = player.play(THREE, *steps((down, *replaced("cp-3")), RESTORE))
    before_operations(done, "cp-2: cannot be reached", "take it out of the inventory")


def test_a_restore_of_some_hosts_is_refused(player: Player) -> None:
    limited = (Command(deploy="restore.py", arguments=(*CONFIRMED, "--limit=control_plane")),)
    _, done = player.play(ONE, BACKUP, limited)
    before_operations(done, "without --limit")


@pytest.mark.parametrize("situation", SITUATIONS)
def test_a_dry_run_only_shows_what_would_be_done(player: Player, situation: str) -> None:
    hosts, lost, (command,) = SITUATIONS[situation]
    dry = (Command(deploy="restore.py", arguments=(*command.arguments, "--dry")),)
    _, done = player.play(hosts, *steps(lost, dry))
    assert (done.exit_code, done.changes) == (0, []), done.output
    assert "it is restored on cp-" in done.output and "Stop the control planes" in done.output


def test_another_backup_is_only_restored_instead_if_the_operator_says_so(player: Player) -> None:
    killed = Fault(run=2, machine="cp-1", what="start-static-pods", kind="killed after")
    older = tuple(argument.replace("BACKUP", "OLDEST") for argument in CONFIRMED)
    instead = (Command(deploy="restore.py", arguments=older),)
    restart = (Command(deploy="restore.py", arguments=(*older, "--data=restart=true")),)
    *_, refused, done, cluster = player.play(
        *(ONE, WRITTEN, BACKUP, WRITTEN, BACKUP, OVERRIDE, instead, restart, CLUSTER), faults=[killed]
    )
    before_operations(refused, "a restore from another backup began", "--data restart=true")
    assert (done.exit_code, cluster.exit_code, cluster.decisive) == (0, 0, []), done.output


def test_a_machine_of_another_cluster_stops_the_restore(player: Player) -> None:
    hosts = machines("member", workers=["member", "foreign worker"])
    _, done = player.play(hosts, *steps(replaced("cp-1"), RESTORE))
    before_operations(done, "worker-2: is a node of another cluster")


def test_a_worker_that_is_missing_in_the_backup_keeps_its_pods(player: Player) -> None:
    # The third run is that of cluster.py which joins worker-2 after the backup.
    hosts = machines("member", workers=["member", "prepared"])
    backup = (Command(deploy="backup.py", arguments=("--data=plain=true",)),)
    _, _, restore = player.play(hosts, backup, CLUSTER, OVERRIDE)
    assert restore.exit_code == 0, restore.output
    assert "worker-2: restart kubelet" in restore.changes
    assert not [change for change in restore.changes if "join" in change or "clean" in change]


def left_out(*names: str) -> tuple[Event, ...]:
    return tuple(Event(what="left out", machine=name) for name in names)


def put_back(*names: str) -> tuple[Event, ...]:
    return tuple(Event(what="put back", machine=name) for name in names)


def test_an_old_majority_that_comes_back_is_recognised_and_not_used(player: Player) -> None:
    old = ("cp-1", "cp-2")
    limits = tuple(f"--limit=@fake/{name}" for name in old)
    clean = (
        Command(deploy="reset.py", arguments=(*limits, "--data=confirm=kubernetes", "--data=force=true")),
    )
    runs = player.play(
        THREE, *steps(left_out(*old), RESTORE, CLUSTER, *put_back(*old), CLUSTER, RESTORE, clean, CLUSTER)
    )
    _, restored, _, refused, again, cleaned, joined = runs
    assert restored.exit_code == 0, restored.output
    before_operations(
        refused, "2 different etcd clusters: cp-1, cp-2 (etcd cluster", "deploys/reset.py --limit"
    )
    before_operations(again, "the cluster works")
    assert (cleaned.exit_code, joined.exit_code) == (0, 0), cleaned.output + joined.output
    assert len([change for change in joined.changes if "kubeadm join" in change]) == 2


def test_an_old_member_that_comes_back_alone_joins_anew(player: Player) -> None:
    lost = (*left_out("cp-2"), *replaced("cp-3"))
    _, restored, joined = player.play(THREE, *steps(lost, RESTORE, *put_back("cp-2"), CLUSTER))
    assert restored.exit_code == 0, restored.output
    assert joined.exit_code == 0, joined.output
    assert "cp-2: clean and keep etcd" in joined.changes


def test_a_control_plane_that_comes_back_after_the_restore_does_not_roll_the_cluster_back(
    player: Player,
) -> None:
    killed = Fault(run=1, machine="cp-1", what="stop-static-pods", kind="killed after")
    limited = ("--limit=@fake/cp-3", "--data=confirm=kubernetes", "--data=force=true")
    clean = (Command(deploy="reset.py", arguments=limited),)
    lost, back = left_out("cp-3"), put_back("cp-3")
    *_, restored, refused, again, cleaned, joined = player.play(
        THREE,
        *steps((), OVERRIDE, *lost, OVERRIDE, WRITTEN, *back, CLUSTER, RESTORE, clean, CLUSTER),
        faults=[killed],
    )
    assert restored.exit_code == 0, restored.output
    before_operations(refused, "cp-3: a restore from a backup has begun", "deploys/reset.py --limit")
    before_operations(again, "the cluster works (cp-1, cp-2)", "--data force=true")
    assert (cleaned.exit_code, joined.exit_code) == (0, 0), cleaned.output + joined.output


def test_releases_of_nodes_that_the_backup_does_not_have_are_not_replaced(player: Player) -> None:
    older = Event(what="recorded 2.2.3", machine="cp-1")
    _, done = player.play(ONE, older, *steps((), OVERRIDE))
    before_operations(
        done,
        "cp-1: has containerd 2.3.4 (the restore would install 2.2.3)",
        "worker-1: has containerd 2.3.4 (",
        "deploys/reset.py --limit",
    )
    _, done = player.play(machines("member"), older, *steps(replaced("cp-1"), RESTORE))
    assert done.exit_code == 0, done.output


def test_an_upgrade_during_which_the_backup_was_made_is_ended_next(player: Player) -> None:
    hosts = machines("member, at 1.36.5", workers=["member, at 1.36.5"])
    upgrade = (Command(deploy="upgrade.py", arguments=("--data=backup=false",)),)
    killed = Fault(run=0, machine="cp-1", what="write record", kind="killed after")
    *_, restore, refused, upgraded, cluster = player.play(
        hosts, upgrade, BACKUP, OVERRIDE, CLUSTER, upgrade, CLUSTER, faults=[killed]
    )
    assert restore.exit_code == 0 and "end it with deploys/upgrade.py" in restore.output, restore.output
    before_operations(
        refused, "an upgrade of the cluster to Kubernetes 1.37.2 has begun", "deploys/upgrade.py"
    )
    assert (upgraded.exit_code, cluster.exit_code) == (0, 0), upgraded.output + cluster.output


@pytest.mark.parametrize("planes", [1, 3])
def test_an_etcd_that_an_upgrade_has_replaced_before_the_api_server_is_not_kept(
    player: Player, planes: int
) -> None:
    hosts = machines(*["member, at 1.36.5"] * planes, workers=["member, at 1.36.5"])
    upgrade = (Command(deploy="upgrade.py", arguments=("--data=backup=false",)),)
    # After preflight, and after etcd's manifest was moved away and the new one moved in.
    cut = Fault(run=1, machine="cp-1", what="kubeadm upgrade apply v1.37.2", kind="cut", at=3)
    _, _, restore, cluster = player.play(hosts, WRITTEN, BACKUP, upgrade, OVERRIDE, CLUSTER, faults=[cut])
    assert restore.exit_code == 0, restore.output
    assert (cluster.exit_code, cluster.decisive) == (0, []), cluster.output
    assert "cp-1: clean and keep etcd" in restore.changes
    # Of three, one with the etcd of the backup keeps its pods.
    assert ("its etcd (registry.k8s.io/etcd:3.7.0-0) is not that of the backup" in restore.output) is (
        planes == 1
    )
    assert ("cp-2: clean and keep etcd" in restore.changes) is False


def test_a_backup_with_a_newer_etcd_than_its_kubeadms_needs_a_machine_with_it(player: Player) -> None:
    hosts = machines("member, at 1.36.5", workers=["member, at 1.36.5"])
    upgrade = (Command(deploy="upgrade.py", arguments=("--data=backup=false",)),)
    cut = Fault(run=0, machine="cp-1", what="kubeadm upgrade apply v1.37.2", kind="cut", at=3)
    _, backup, there, refused = player.play(
        hosts, upgrade, BACKUP, OVERRIDE, *replaced("cp-1"), RESTORE, faults=[cut]
    )
    assert (backup.exit_code, there.exit_code) == (0, 0), backup.output + there.output
    before_operations(refused, "its etcd is registry.k8s.io/etcd:3.7.0-0", "before the upgrade")
