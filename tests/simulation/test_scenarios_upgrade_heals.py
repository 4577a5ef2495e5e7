"""``upgrade.py`` on nodes that are not Ready because an earlier run of it has begun and not ended them."""

from collections import Counter

import pytest

from tests.simulation.history import Command, Event
from tests.simulation.scenarios import Player, before_operations, machines
from tests.simulation.test_scenarios_upgrade import MEMBER, ONE, decisive, upgrade

THREE_WORKERS = machines(MEMBER, workers=[MEMBER] * 3)
CONTAINERD = "2.3.4"
TWO = "--data=workers_at_once=2"


def fails(machine: str, release: str = CONTAINERD) -> Event:
    return Event(what=f"fails with containerd {release}", machine=machine)


def mended(machine: str) -> Event:
    return Event(what="mended", machine=machine)


BOTH_FAIL = (fails("worker-1"), fails("worker-2"))
BOTH_MENDED = (mended("worker-1"), mended("worker-2"))


@pytest.mark.parametrize("arguments", [(TWO,), ()], ids=["together", "one by one"])
def test_workers_that_an_upgrade_has_left_not_ready_are_ended_first(
    player: Player, arguments: tuple[str, ...]
) -> None:
    failed, done, again = player.play(
        *(THREE_WORKERS, *BOTH_FAIL, upgrade(TWO), *BOTH_MENDED, upgrade(*arguments), upgrade())
    )
    assert failed.exit_code == 1 and "worker-2: could not upgrade the container runtime" in failed.output
    assert not any(change.startswith("worker-3") for change in failed.changes), failed.changes
    assert done.exit_code == 0, done.output
    upgraded = [change for change in decisive(done) if "kubeadm upgrade" in change]
    assert sorted(upgraded[:2]) == [f"worker-{number}: kubeadm upgrade node" for number in (1, 2)]
    assert upgraded[2:] == ["worker-3: kubeadm upgrade node"]
    # The healed workers take the pods of the last one.
    assert Counter(decisive(done))["cp-1: drain"] == 1, done.changes
    assert (again.exit_code, again.changes) == (0, []), again.output


def test_one_of_two_workers_that_are_not_ready_can_be_chosen_and_no_other_node(player: Player) -> None:
    _, other, planes, one, rest = player.play(
        *(THREE_WORKERS, *BOTH_FAIL, upgrade(TWO), *BOTH_MENDED, upgrade("--limit=@fake/worker-3")),
        *(upgrade("--data=only=control_plane"), upgrade("--limit=@fake/worker-1"), upgrade()),
    )
    before_operations(other, "worker-1, worker-2: not Ready", "run it without --limit")
    assert planes.changes == [], planes.output
    assert one.exit_code == 0, one.output
    assert not any(change.startswith(("worker-2", "worker-3")) for change in one.changes), one.changes
    assert rest.exit_code == 0, rest.output


def test_another_containerd_heals_a_worker_before_the_control_planes_get_it(player: Player) -> None:
    other = "--data=containerd_version=2.3.2"
    failed, done = player.play(ONE, fails("worker-1", "2.3.2"), upgrade(other), upgrade())
    assert failed.exit_code == 1, failed.output
    assert done.exit_code == 0, done.output
    restarts = [change for change in done.changes if "run-unit" in change]
    assert restarts[0].startswith("worker-1") and restarts[-1].startswith("cp-1"), restarts


@pytest.mark.parametrize("then", ["2.2.4", "2.2.5"], ids=["it starts later", "another release"])
def test_a_containerd_that_fails_where_no_node_is_drained_is_ended_or_replaced(
    player: Player, then: str
) -> None:
    def patch(containerd: str) -> tuple[Command, ...]:
        return upgrade("--data=kubernetes_version=1.37.1", f"--data=containerd_version={containerd}")

    hosts = machines("member, at 1.37.1", workers=["member, at 1.37.1"] * 2)
    repair = [mended("worker-1")] if then == "2.2.4" else []
    failed, done, again = player.play(
        hosts, fails("worker-1", "2.2.4"), patch("2.2.4"), *repair, patch(then), patch(then)
    )
    assert failed.exit_code == 1 and not any("annotate" in change for change in failed.changes)
    assert done.exit_code == 0, done.output
    restarts = [change for change in done.changes if "run-unit" in change]
    assert restarts[0].startswith("worker-1"), restarts
    assert (again.exit_code, again.changes) == (0, []), again.output


def test_so_many_workers_at_once_are_only_refused_where_they_are_drained(player: Player) -> None:
    patch = machines("member, at 1.37.1", workers=["member, at 1.37.1"] * 2)
    (done,) = player.play(patch, upgrade("--data=containerd_version=2.2.3", TWO))
    assert done.exit_code == 0, done.output
    two = machines(MEMBER, workers=[MEMBER] * 2)
    planes, refused = player.play(two, upgrade(TWO, "--data=only=control_plane"), upgrade(TWO))
    assert planes.exit_code == 0, planes.output
    before_operations(refused, "workers_at_once is 2, but 2 nodes take ordinary pods")
