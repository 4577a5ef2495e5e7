"""``remove_node.py`` and ``reset.py`` on simulated machines: what they remove, and what they refuse."""

import pytest

from tests.simulation.history import Event
from tests.simulation.scenarios import FOREIGN, Hosts, Player, before_operations, fails, machines

WELL = machines("member", workers=["member"])
WELL_OF_THREE = machines("member", "member", "member", workers=["member"])

FORCE = "--data=force=true"
CONFIRMED = "--data=confirm=kubernetes"
STAGING = "--data=cluster_name=staging"

CP_1_STOPS = Event(what="stops", machine="cp-1")

PRODUCTION = machines("member of production", workers=["member of production", "member of production"])
"""The operator means the cluster "staging", but the inventory has the address of "production"."""

NOT_IN_THE_INVENTORY = [Event(what="forgotten", machine=f"worker-{number}") for number in (1, 2)]


def test_steps_of_a_workers_removal(player: Player) -> None:
    done = player.run(WELL, "remove_node.py", "--data=node=worker-1")
    assert done.exit_code == 0, done.output
    assert done.decisive == [
        "cp-1: drain",
        "cp-1: delete node",
        "worker-1: clean and keep etcd",
    ]


def test_steps_of_a_control_planes_removal(player: Player) -> None:
    done = player.run(WELL_OF_THREE, "remove_node.py", "--data=node=cp-2")
    assert done.exit_code == 0, done.output
    assert done.decisive == [
        "cp-1: drain",
        "cp-2: stop-api-server",
        "cp-1: member remove",
        "cp-1: delete node",
        "cp-2: clean and keep etcd",
    ]


@pytest.mark.parametrize("force", [(), (FORCE,)])
@pytest.mark.parametrize(("begins", "error"), FOREIGN)
def test_a_foreign_machine_is_not_removed(
    player: Player, begins: str, error: str, force: tuple[str, ...]
) -> None:
    hosts = machines("member", workers=[begins])
    done = player.run(hosts, "remove_node.py", "--data=node=worker-1", *force)
    before_operations(done, error, "no changes were made")


def test_another_cluster_at_the_inventorys_address_loses_no_node(player: Player) -> None:
    arguments = ("--data=node=worker-1", STAGING, FORCE)
    done = player.run(PRODUCTION, "remove_node.py", *arguments, events=NOT_IN_THE_INVENTORY)
    before_operations(done, "'staging'", "'production'")


def test_a_limit_to_several_hosts_is_refused_even_if_only_one_answers(player: Player) -> None:
    hosts = machines("member", workers=["member", "member"])
    down = Event(what="stops", machine="worker-2")
    done = player.run(hosts, "remove_node.py", "--limit=workers", events=[down])
    before_operations(done, "--limit names 2 hosts", "add --data node=NAME")


def test_a_limit_to_one_host_removes_it(player: Player) -> None:
    done = player.run(WELL, "remove_node.py", "--limit=@fake/worker-1")
    assert done.decisive == ["cp-1: drain", "cp-1: delete node", "worker-1: clean and keep etcd"], done.output


@pytest.mark.parametrize(
    ("hosts", "node", "reading", "error"),
    [
        (WELL, "worker-1", "KubeadmNode", "cp-1 could not be read (sh: 1: Cannot fork)"),
        (WELL, "worker-1", "ClusterMembers", "could not read cluster members: sh: 1: Cannot fork"),
        # The removal of a control plane needs etcd's majority.
        (WELL_OF_THREE, "cp-2", "EtcdHealth", "could not read etcd health: sh: 1: Cannot fork"),
    ],
)
def test_a_removal_is_refused_if_the_cluster_cannot_be_read(
    player: Player, hosts: Hosts, node: str, reading: str, error: str
) -> None:
    done = player.run(hosts, "remove_node.py", f"--data=node={node}", faults=[fails(reading)])
    before_operations(done, error)


@pytest.mark.parametrize(
    ("hosts", "node", "reading", "nth", "before"),
    [
        # Everything is read again after the lock.
        (WELL, "worker-1", "ClusterMembers", 1, []),
        (WELL_OF_THREE, "cp-2", "EtcdHealth", 1, []),
        # Only a Ready node is drained.
        (WELL, "worker-1", "ClusterMembers", 2, []),
        (WELL_OF_THREE, "cp-2", "EtcdHealth", 2, ["cp-1: drain"]),
        (WELL_OF_THREE, "cp-2", "EtcdMembers", 0, ["cp-1: drain"]),
    ],
)
def test_a_reading_that_fails_ends_a_removal(
    player: Player, hosts: Hosts, node: str, reading: str, nth: int, before: list[str]
) -> None:
    done = player.run(hosts, "remove_node.py", f"--data=node={node}", faults=[fails(reading, nth=nth)])
    assert (done.exit_code, done.decisive) == (1, before), done.output
    assert "Traceback" not in done.output, done.output
    assert "sh: 1: Cannot fork" in done.output
    assert "Beginning operation run" in done.output


def test_a_node_that_was_not_drained_stays(player: Player) -> None:
    refuses = fails("drain", says="error when evicting pods/web-1: Cannot evict pod")
    done = player.run(WELL, "remove_node.py", "--data=node=worker-1", faults=[refuses])
    assert (done.exit_code, done.decisive) == (1, []), done.output
    assert "Cannot evict pod" in done.output and "Traceback" not in done.output


def test_a_whole_cluster_is_reset(player: Player) -> None:
    done = player.run(WELL, "reset.py", CONFIRMED)
    assert done.exit_code == 0, done.output
    assert {change for change in done.decisive if "clean" in change} == {"cp-1: clean", "worker-1: clean"}


def test_a_foreign_worker_is_not_reset_without_a_cluster(player: Player) -> None:
    done = player.run(machines("prepared", workers=["foreign worker"]), "reset.py", CONFIRMED)
    before_operations(done, "its kubelet belongs to the cluster at https://api.production.internal:6443")


def test_a_foreign_worker_is_not_reset_beside_a_cluster(player: Player) -> None:
    done = player.run(machines("member", workers=["foreign worker"]), "reset.py", CONFIRMED, FORCE)
    before_operations(done, "worker-1: is a node of another cluster")


def test_another_cluster_at_the_inventorys_address_is_not_reset(player: Player) -> None:
    for force in ((), (FORCE,)):
        arguments = ("--data=confirm=staging", STAGING, *force)
        done = player.run(PRODUCTION, "reset.py", *arguments, events=NOT_IN_THE_INVENTORY)
        before_operations(done, "'staging'", "'production'")


def test_part_of_an_unreachable_cluster_is_not_reset(player: Player) -> None:
    arguments = (CONFIRMED, "--limit=@fake/worker-1")
    done = player.run(WELL, "reset.py", *arguments, events=[CP_1_STOPS])
    before_operations(done, "worker-1: part of a cluster that goes on without it", "cp-1 could not be read")
    forced = player.run(WELL_OF_THREE, "reset.py", *arguments, FORCE, events=[CP_1_STOPS])
    assert forced.exit_code == 0, forced.output
    assert "worker-1: clean" in forced.decisive
    # If the only control plane is lost, force frees the worker.
    alone = player.run(WELL, "reset.py", *arguments, FORCE, events=[CP_1_STOPS])
    assert alone.exit_code == 0, alone.output
    assert "continues without the lock of 1 of 1 control planes" in alone.output
    assert "worker-1: clean" in alone.decisive


def test_a_machine_that_cannot_be_read_is_not_reset(player: Player) -> None:
    done = player.run(WELL, "reset.py", CONFIRMED, faults=[fails("KubeadmNode")])
    before_operations(done, "@fake/cp-1: could not read kubeadm node: sh: 1: Cannot fork")
    traces = player.run(WELL, "reset.py", CONFIRMED, faults=[fails("ClusterTraces")])
    assert traces.exit_code == 1
    assert "cp-1: clean" not in traces.changes
    assert "could not read cluster traces" in traces.output and "Traceback" not in traces.output
