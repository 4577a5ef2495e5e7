"""``upgrade.py`` for some of the nodes, for several workers at once, for Calico, and with a kubelet that does not start."""

from collections import Counter
from itertools import product

import pytest

from tests.simulation.history import Command, Fault
from tests.simulation.scenarios import Player, before_operations, machines
from tests.simulation.test_scenarios_upgrade import (
    CLUSTER,
    MEMBER,
    NEW,
    OLD,
    ONE,
    THREE,
    TWO_WORKERS,
    UPLOAD,
    decisive,
    moments,
    upgrade,
)

# Some of the nodes.


def test_chosen_nodes_are_upgraded_and_the_others_are_named(player: Player) -> None:
    _, planes, again, worker, rest, cluster = player.play(
        *(TWO_WORKERS, CLUSTER),
        *(upgrade("--data=only=control_plane"), upgrade("--limit=control_plane")),
        *(upgrade("--limit=@fake/worker-2"), upgrade(), CLUSTER),
    )
    assert planes.exit_code == 0, planes.output
    assert decisive(planes) == ["cp-1: write record", UPLOAD, f"cp-1: kubeadm upgrade apply v{NEW} --yes"]
    assert "The upgrade has not ended; left out: worker-1, worker-2" in planes.output
    assert (again.exit_code, again.changes) == (0, []), again.output
    assert "left out: worker-1, worker-2" in again.output
    assert worker.exit_code == 0, worker.output
    assert [change for change in decisive(worker) if "kubeadm" in change] == [
        "worker-2: kubeadm upgrade node"
    ]
    assert "The upgrade has not ended; left out: worker-1" in worker.output
    assert rest.exit_code == 0, rest.output
    assert [change for change in decisive(rest) if "kubeadm" in change] == ["worker-1: kubeadm upgrade node"]
    assert decisive(rest)[-1] == "cp-1: write record"
    assert (cluster.exit_code, cluster.changes) == (0, []), cluster.output


def test_cluster_py_is_refused_between_two_runs_for_some_of_the_nodes(player: Player) -> None:
    planes, early, last = player.play(
        ONE, upgrade("--data=only=control_plane"), CLUSTER, upgrade("--limit=@fake/worker-1")
    )
    assert (planes.exit_code, last.exit_code) == (0, 0), planes.output + last.output
    before_operations(early, "has begun and not ended")
    assert decisive(last)[-1] == "cp-1: write record"


@pytest.mark.parametrize("at", [2, 4], ids=["etcd's manifest is away", "the API server's manifest is away"])
def test_what_a_run_for_some_of_the_nodes_cannot_repair_is_said(player: Player, at: int) -> None:
    fault = Fault(run=0, machine="cp-1", what=f"kubeadm upgrade apply v{NEW}", kind="reboot", at=at)
    _, early, done = player.play(
        ONE, upgrade(), upgrade("--limit=@fake/worker-1", after=200), upgrade(), faults=[fault]
    )
    before_operations(early, "cp-1: kubeadm was interrupted between two renames", "without --limit")
    assert done.exit_code == 0, done.output


# Several workers at once.

FOUR_WORKERS = machines(MEMBER, workers=[MEMBER] * 4)
AT_ONCE = "--data=workers_at_once=3"


def test_so_many_workers_are_drained_at_the_same_time(player: Player) -> None:
    done, again = player.play(FOUR_WORKERS, upgrade(AT_ONCE), upgrade(AT_ONCE))
    assert done.exit_code == 0, done.output
    order = [change.partition(" ")[2] for change in decisive(done)]
    drains = [index for index, change in enumerate(order) if change == "drain"]
    uncordons = [index for index, change in enumerate(order) if change == "uncordon"]
    assert len(drains) == len(uncordons) == 4
    assert drains[2] < uncordons[0] and uncordons[2] < drains[3], order
    assert (again.exit_code, again.changes) == (0, []), again.output


def test_after_a_failure_no_further_worker_is_begun_and_the_begun_ones_are_ended(player: Player) -> None:
    fault = Fault(run=0, machine="worker-2", what="kubeadm upgrade node", kind="fails")
    done, again = player.play(FOUR_WORKERS, upgrade(AT_ONCE), upgrade(AT_ONCE), faults=[fault])
    assert done.exit_code == 1
    assert "worker-2: could not run 'kubeadm upgrade node'" in done.output
    assert {"worker-1: kubeadm upgrade node", "worker-3: kubeadm upgrade node"} <= set(done.changes)
    assert not any(change.startswith("worker-4") for change in done.changes), done.changes
    assert Counter(decisive(done))["cp-1: uncordon"] == 2, done.changes
    assert again.exit_code == 0, again.output


# What runs as pods.

CALICO = "--data=calico_version=3.31.7"


def test_calico_is_upgraded_after_the_last_node(player: Player) -> None:
    _, plan, done, again, cluster = player.play(
        THREE, CLUSTER, upgrade(CALICO, "--dry"), upgrade(CALICO), upgrade(CALICO), CLUSTER
    )
    assert plan.exit_code == 0 and "Calico 3.31.0 to 3.31.7" in plan.output, plan.output
    assert done.exit_code == 0, done.output
    last_node = max(index for index, change in enumerate(done.changes) if "run-unit" in change)
    assert done.changes[last_node + 1 :] == [
        *(f"cp-{number}: install-file" for number in (1, 2, 3)),
        "cp-1: apply",
        "cp-1: write record",
    ]
    assert (again.exit_code, again.changes) == (0, []), again.output
    # The run without the option follows the cluster.
    assert (cluster.exit_code, cluster.changes) == (0, []), cluster.output


def test_calico_alone_is_upgraded_after_a_backup(player: Player) -> None:
    hosts = machines("member", workers=["member"])
    _, done = player.play(
        hosts, CLUSTER, (Command(deploy="upgrade.py", arguments=("--data=plain=true", CALICO)),)
    )
    assert done.exit_code == 0, done.output
    assert [change.partition(": ")[2] for change in done.changes] == [
        *("write record", "install-file", "apply", "write record")
    ]
    assert len([name for name in done.files if name.endswith(".backup")]) == 1


def test_cluster_py_names_the_command_where_it_refuses_another_calico(player: Player) -> None:
    (done,) = player.play(ONE, (Command(deploy="cluster.py", arguments=(CALICO,)),))
    before_operations(done, "upgrade with 'pyinfra INVENTORY deploys/upgrade.py'")


def test_a_way_down_of_calico_is_refused(player: Player) -> None:
    _, done = player.play(ONE, upgrade(CALICO), upgrade("--data=calico_version=3.31.0"))
    before_operations(done, "the cluster has Calico 3.31.7, and there is no way down")


def test_an_upgrade_of_calico_that_was_interrupted_is_ended_by_the_next_run(player: Player) -> None:
    hosts = machines("member", "member", "member", workers=["member"])
    (whole,) = player.play(hosts, upgrade(CALICO))
    assert len(whole.changes) == 9, whole.changes
    for (machine, what, nth), kind in product(moments(whole), ("killed after", "reboot")):
        fault = Fault(run=0, machine=machine, what=what, nth=nth, kind=kind)
        _, done, again = player.play(
            hosts, upgrade(CALICO), upgrade(CALICO, after=250), upgrade(CALICO), faults=[fault]
        )
        assert done.exit_code == 0, (fault, done.output)
        assert (again.exit_code, again.changes) == (0, []), (fault, again.output)


# A kubelet that does not start.


def test_the_old_kubelet_is_put_back_if_the_new_one_does_not_run(player: Player) -> None:
    says = "kubelet.service does not run as it should"
    fault = Fault(run=0, machine="worker-1", what="run-unit", nth=1, kind="fails", says=says)
    done, again = player.play(TWO_WORKERS, upgrade(), upgrade(), faults=[fault])
    assert done.exit_code == 1
    assert f"worker-1: the kubelet of {OLD} is back and runs" in done.output
    # It takes pods again until the next run.
    assert decisive(done)[-2:] == ["cp-1: uncordon", "cp-1: annotate"], done.changes
    assert "the node takes pods again" in done.output
    assert not any(change.startswith("worker-2") for change in done.changes), done.changes
    assert again.exit_code == 0, again.output


def test_a_kubelet_that_may_run_is_not_replaced(player: Player) -> None:
    fault = Fault(run=0, machine="worker-1", what="run-unit", nth=1, kind="fails", says="connection lost")
    done, again = player.play(TWO_WORKERS, upgrade(), upgrade(), faults=[fault])
    assert done.exit_code == 1
    assert Counter(done.changes)["worker-1: install-packages"] == 2, done.changes
    assert again.exit_code == 0, again.output
