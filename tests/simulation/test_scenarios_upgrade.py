"""``upgrade.py`` on simulated machines: what it does, what it refuses, and that the next run ends a killed one."""

from collections import Counter
from collections.abc import Iterator

import pytest

from tests.simulation.history import Command, Event, Fault
from tests.simulation.scenarios import Ended, Hosts, Player, before_operations, machines

OLD, NEW = "1.36.5", "1.37.2"
MEMBER = f"member, at {OLD}"
ONE = machines(MEMBER, workers=[MEMBER])
TWO_WORKERS = machines(MEMBER, workers=[MEMBER, MEMBER])
THREE = machines(MEMBER, MEMBER, MEMBER, workers=[MEMBER])


def upgrade(*arguments: str, after: float = 0) -> tuple[Command, ...]:
    return (Command(deploy="upgrade.py", arguments=("--data=backup=false", *arguments), after=after),)


CLUSTER = (Command(deploy="cluster.py"),)
UPLOAD = "cp-1: kubeadm init phase upload-config kubeadm"
"""Gives the cluster's configuration the arguments that new clusters have: the simulated one lacks them."""


def decisive(done: Ended) -> list[str]:
    """Return the changes that decide over nodes and the cluster."""
    words = ("kubeadm", "annotate", "cordon", "drain", "uncordon", "write record")
    return [change for change in done.changes if change.partition(": ")[2].startswith(words)]


def test_control_planes_come_first_and_a_second_run_changes_nothing(player: Player) -> None:
    _, done, again, cluster = player.play(TWO_WORKERS, CLUSTER, upgrade(), upgrade(), CLUSTER)
    assert done.exit_code == 0, done.output
    assert decisive(done) == [
        "cp-1: write record",
        UPLOAD,
        f"cp-1: kubeadm upgrade apply v{NEW} --yes",
        *(
            "cp-1: annotate",
            "cp-1: drain",
            "worker-1: kubeadm upgrade node",
            "cp-1: uncordon",
            "cp-1: annotate",
        ),
        *(
            "cp-1: annotate",
            "cp-1: drain",
            "worker-2: kubeadm upgrade node",
            "cp-1: uncordon",
            "cp-1: annotate",
        ),
        "cp-1: write record",
    ]
    assert (again.exit_code, again.changes) == (0, []), again.output
    assert (cluster.exit_code, cluster.changes) == (0, []), cluster.output


def test_all_control_planes_come_before_any_kubelet(player: Player) -> None:
    (done,) = player.play(THREE, upgrade())
    assert done.exit_code == 0, done.output
    assert decisive(done) == [
        "cp-1: write record",
        UPLOAD,
        f"cp-1: kubeadm upgrade apply v{NEW} --yes",
        "cp-2: kubeadm upgrade node",
        "cp-3: kubeadm upgrade node",
        "worker-1: kubeadm upgrade node",
        "cp-1: write record",
    ]


def test_the_only_worker_is_not_drained_and_the_plan_says_so(player: Player) -> None:
    (done,) = player.play(ONE, upgrade())
    assert (done.exit_code, "cp-1: drain" in done.changes) == (0, False), done.output
    assert "worker-1 is not drained, because no other node takes its pods" in done.output


def test_a_patch_drains_no_node(player: Player) -> None:
    patch = machines("member, at 1.37.1", workers=["member, at 1.37.1"] * 2)
    (done,) = player.play(patch, upgrade("--data=containerd_version=2.2.3"))
    assert (done.exit_code, "cp-1: drain" in done.changes) == (0, False), done.output
    assert "kubelet" in done.output


def test_a_patch_drains_nodes_if_that_is_wanted(player: Player) -> None:
    patch = machines("member, at 1.37.1", workers=["member, at 1.37.1"] * 2)
    done, again = player.play(
        patch,
        upgrade("--data=containerd_version=2.2.3", "--data=drain=always"),
        upgrade("--data=containerd_version=2.2.3", "--data=drain=always"),
    )
    assert (done.exit_code, Counter(done.changes)["cp-1: drain"]) == (0, 2), done.output
    assert (again.exit_code, again.changes) == (0, []), again.output


def test_a_dry_run_prints_the_plan_and_changes_nothing(player: Player) -> None:
    (done,) = player.play(TWO_WORKERS, upgrade("--dry"))
    assert (done.exit_code, done.changes) == (0, []), done.output
    for line in (
        f"Kubernetes {OLD} to {NEW}; containerd 2.2.3 to 2.3.4",
        "cp-1      kubeadm upgrade apply",
        "worker-1  drain, kubelet, containerd",
    ):
        assert line in done.output, done.output


def test_a_node_that_the_operator_cordoned_stays_cordoned(player: Player) -> None:
    hosts = machines(MEMBER, workers=[MEMBER] * 3)
    done, again = player.play(hosts, Event(what="cordoned", machine="worker-1"), upgrade(), upgrade())
    assert (done.exit_code, again.exit_code, again.changes) == (0, 0, []), done.output
    assert Counter(decisive(done))["cp-1: drain"] == 3, done.changes
    assert Counter(decisive(done))["cp-1: uncordon"] == 2, done.changes
    assert "worker-1 is cordoned, and stays so" in done.output


def test_a_drain_that_fails_ends_the_run_and_gives_the_node_back(player: Player) -> None:
    fault = Fault(run=0, machine="cp-1", what="drain", kind="fails", says="error: cannot evict pod web")
    done, again = player.play(TWO_WORKERS, upgrade(), upgrade(), faults=[fault])
    assert done.exit_code == 1
    assert "worker-1: was not drained within 300 s (error: cannot evict pod web)" in done.output
    assert "it takes pods again" in done.output
    assert not any(change.startswith("worker-") for change in done.changes), done.changes
    assert decisive(done)[-3:] == ["cp-1: annotate", "cp-1: uncordon", "cp-1: annotate"]
    assert again.exit_code == 0, again.output


def test_a_failure_ends_the_run_at_that_node(player: Player) -> None:
    fault = Fault(run=0, machine="cp-2", what="kubeadm upgrade node", kind="fails")
    done, again = player.play(THREE, upgrade(), upgrade(), faults=[fault])
    assert done.exit_code == 1
    assert "cp-2: could not run 'kubeadm upgrade node'" in done.output
    assert not any(change.startswith(("cp-3", "worker")) for change in done.changes), done.changes
    assert again.exit_code == 0, again.output


# Refusals: each is made before any change.


def refused(
    player: Player, hosts: Hosts, *words: str, data: tuple[str, ...] = (), event: Event | None = None
) -> None:
    steps = ([event] if event else []) + [upgrade(*(f"--data={each}" for each in data))]
    before_operations(player.play(hosts, *steps)[0], *words)


def test_more_than_one_minor_is_refused(player: Player) -> None:
    hosts = machines("member, at 1.35.4", workers=["member, at 1.35.4"])
    refused(player, hosts, "one minor at a time", "set kubernetes_version to a release of 1.36 first")


def test_a_way_down_is_refused(player: Player) -> None:
    hosts = machines("member", workers=["member"])
    refused(
        player, hosts, f"the cluster has {NEW}, and there is no way down", data=(f"kubernetes_version={OLD}",)
    )


def test_a_machine_that_cannot_be_reached_is_refused(player: Player) -> None:
    dead = Event(what="dies", machine="worker-1")
    refused(player, ONE, "cannot be reached", "remove_node.py", event=dead)


def test_a_control_plane_that_is_down_is_refused(player: Player) -> None:
    fault = Fault(run=0, machine="cp-2", what="EtcdStatus", kind="fails", again=True)
    (done,) = player.play(THREE, upgrade(), faults=[fault])
    before_operations(done, "cp-2: its etcd member does not answer")


def test_a_machine_that_has_not_joined_is_refused(player: Player) -> None:
    hosts = machines(MEMBER, workers=[MEMBER, "prepared"])
    refused(player, hosts, "worker-2: is not a node of the cluster", "join it with deploys/cluster.py")


def test_a_worker_is_not_upgraded_before_the_control_planes(player: Player) -> None:
    for hosts, limit in ((TWO_WORKERS, "@fake/worker-1"), (THREE, "@fake/cp-1")):
        (done,) = player.play(hosts, upgrade(f"--limit={limit}"))
        before_operations(done, "all control planes are upgraded before any worker", "only=control_plane")


def test_unknown_values_are_refused(player: Player) -> None:
    for data, word in (
        ("only=workers", "only: 'workers' is not known; choose control_plane"),
        ("drain=never", "drain: 'never' is not known; choose always"),
        ("workers_at_once=0", "workers_at_once: 0 is not a number from 1 on"),
        ("workers_at_once=9", "workers_at_once: 9 is more than 8"),
        ("workers_at_once=2", "workers_at_once is 2, but 2 nodes take ordinary pods"),
    ):
        (done,) = player.play(TWO_WORKERS, upgrade(f"--data={data}"))
        before_operations(done, word)


def test_a_backup_must_be_encrypted_or_left_out(player: Player) -> None:
    (done,) = player.play(ONE, (Command(deploy="upgrade.py"),))
    before_operations(done, "BACKUP_PASSPHRASE is not set", "leave the backup out with --data backup=false")
    arguments = ("--data=plain=true", "--data=folder=/nonexistent")
    (done,) = player.play(ONE, (Command(deploy="upgrade.py", arguments=arguments),))
    before_operations(done, "/nonexistent", "leave the backup out with --data backup=false")


def test_nothing_to_upgrade_needs_no_backup(player: Player) -> None:
    _, done = player.play(ONE, upgrade(), (Command(deploy="upgrade.py"),))
    assert (done.exit_code, done.changes) == (0, []), done.output
    assert not any(name.endswith(".backup") for name in done.files)


def test_the_backup_is_written_before_the_first_change(player: Player) -> None:
    (done,) = player.play(ONE, (Command(deploy="upgrade.py", arguments=("--data=plain=true",)),))
    assert done.exit_code == 0, done.output
    assert len([name for name in done.files if name.endswith(".backup")]) == 1, done.files
    fault = Fault(run=0, machine="cp-1", what="send-snapshot", kind="fails", again=True)
    (done,) = player.play(
        ONE, (Command(deploy="upgrade.py", arguments=("--data=plain=true",)),), faults=[fault]
    )
    assert (done.exit_code, done.changes) == (1, []), done.output


# While an upgrade is unfinished.

KILLED = Fault(run=0, machine="cp-1", what=f"kubeadm upgrade apply v{NEW}", kind="killed after")


def test_a_machine_that_is_replaced_during_an_upgrade_joins_after_it(player: Player) -> None:
    removing = (Command(deploy="remove_node.py", arguments=("--data=node=worker-2", "--data=force=true")),)
    _, refusal, removal, done = player.play(
        *(TWO_WORKERS, upgrade(), Event(what="replaced", machine="worker-2")),
        *(upgrade(after=200), removing, Event(what="forgotten", machine="worker-2"), upgrade()),
        faults=[KILLED],
    )
    words = "worker-2: is not a node of the cluster; take it out of the inventory until the upgrade has ended"
    before_operations(refusal, words, "deploys/remove_node.py")
    assert (removal.exit_code, done.exit_code) == (0, 0), removal.output + done.output


def test_joining_is_refused_while_an_upgrade_is_unfinished_and_removal_works(player: Player) -> None:
    removing = (Command(deploy="remove_node.py", arguments=("--data=node=worker-2",)),)
    steps = (upgrade(), (Command(deploy="cluster.py", after=200),), removing)
    _, joining, removal = player.play(TWO_WORKERS, *steps, faults=[KILLED])
    assert "has begun and not ended; finish it with 'pyinfra INVENTORY deploys/upgrade.py'" in joining.output
    assert (joining.exit_code, joining.changes) == (1, [])
    assert removal.exit_code == 0, removal.output
    assert "cp-1: delete node" in removal.changes


@pytest.mark.parametrize("at", [2, 4], ids=["etcd's manifest is away", "the API server's manifest is away"])
def test_cluster_py_changes_nothing_while_no_api_answers_in_the_middle_of_an_upgrade(
    player: Player, at: int
) -> None:
    fault = Fault(run=0, machine="cp-1", what=f"kubeadm upgrade apply v{NEW}", kind="reboot", at=at)
    steps = (upgrade(), (Command(deploy="cluster.py", after=40),), upgrade(after=200))
    _, early, done = player.play(TWO_WORKERS, *steps, faults=[fault])
    before_operations(early, "no API server answers", "deploys/upgrade.py")
    assert done.exit_code == 0, done.output


def test_cluster_py_names_the_command_where_it_refuses_another_release(player: Player) -> None:
    (done,) = player.play(
        ONE, (Command(deploy="cluster.py", arguments=(f"--data=kubernetes_version={NEW}",)),)
    )
    before_operations(done, "upgrade with 'pyinfra INVENTORY deploys/upgrade.py'")


# Kills and power cuts.


def moments(done: Ended) -> Iterator[tuple[str, str, int]]:
    """Yield the machine, the label and the number of each change of a run."""
    counts: Counter[tuple[str, str]] = Counter()
    for change in done.changes:
        machine, _, what = change.partition(": ")
        label = " ".join(word for word in what.split() if not word.startswith("--"))
        yield machine, label, counts[machine, label]
        counts[machine, label] += 1


@pytest.mark.parametrize(
    ("hosts", "arguments"),
    [
        pytest.param(TWO_WORKERS, (), id="1+2", marks=pytest.mark.chaos),
        pytest.param(THREE, (), id="3+1"),
        pytest.param(
            machines(MEMBER, workers=[MEMBER] * 3),
            ("--data=workers_at_once=2",),
            id="1+3, two workers at once",
        ),
    ],
)
def test_a_run_that_is_killed_after_any_change_is_ended_by_the_next_one(
    player: Player, hosts: Hosts, arguments: tuple[str, ...]
) -> None:
    (whole,) = player.play(hosts, upgrade(*arguments))
    for machine, what, nth in moments(whole):
        fault = Fault(run=0, machine=machine, what=what, nth=nth, kind="killed after")
        killed, done, again = player.play(
            hosts,
            upgrade(*arguments),
            upgrade(*arguments, after=200),
            upgrade(*arguments),
            faults=[fault],
        )
        assert done.exit_code == 0, (fault, killed.output, done.output)
        assert (again.exit_code, again.changes) == (0, []), (fault, again.output)


@pytest.mark.parametrize(
    "hosts",
    [pytest.param(TWO_WORKERS, id="1+2"), pytest.param(THREE, id="3+1", marks=pytest.mark.chaos)],
)
def test_a_machine_that_loses_its_power_in_any_change_is_upgraded_by_the_next_run(
    player: Player, hosts: Hosts
) -> None:
    (whole,) = player.play(hosts, upgrade())
    for machine, what, nth in moments(whole):
        for at in range(12 if what.startswith("kubeadm") else 1):
            if machine == "cp-3" or (machine == "cp-2" and at % 3):
                continue
            fault = Fault(run=0, machine=machine, what=what, nth=nth, kind="reboot", at=at + 1)
            cut, done, again = player.play(hosts, upgrade(), upgrade(after=250), upgrade(), faults=[fault])
            # Short commands are tried until the machine is up again.
            assert cut.exit_code == 1 or not what.startswith("kubeadm"), (fault, cut.output)
            assert done.exit_code == 0, (fault, cut.output, done.output)
            assert (again.exit_code, again.changes) == (0, []), (fault, again.output)


def test_a_run_right_after_a_reboot_waits_for_the_api(player: Player) -> None:
    fault = Fault(run=0, machine="cp-1", what=f"kubeadm upgrade apply v{NEW}", kind="reboot", at=2)
    cut, done = player.play(ONE, upgrade(), upgrade(after=40), faults=[fault])
    assert (cut.exit_code, done.exit_code) == (1, 0), done.output
    assert "the manifest is restored first; the upgrade is planned once the cluster answers" in done.output
