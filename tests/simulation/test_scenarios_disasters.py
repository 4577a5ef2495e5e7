"""The commands of docs/disaster.md on simulated machines, as they are on the page and in its order.

Each must succeed; the invariants check that the cluster is whole after cluster.py and has the backup after restore.py.
"""

from collections.abc import Mapping

import pytest

from tests.simulation.history import Command, Event
from tests.simulation.scenarios import Ended, Hosts, Player, machines
from tests.simulation.test_scenarios_restore import BACKUP, WRITTEN, left_out, put_back, replaced
from tests.support import disaster_page

SMALL = machines("member", workers=["member", "member"])
THREE = machines("member", "member", "member", workers=["member"])


def typed(section: str, **values: str) -> list[tuple[Command, ...]]:
    """Return the commands of a section of the page with these values, without status.py, which only reads."""
    known = {"backup": "BACKUP", "confirm": "kubernetes", **values}
    return [
        (Command(deploy=deploy, arguments=tuple(disaster_page.data(disaster_page.filled(words, known)))),)
        for deploy, words in disaster_page.deploys(section)
        if deploy != "status.py"
    ]


def succeeded(runs: list[Ended]) -> None:
    for run in runs:
        assert run.exit_code == 0, run.output


LOST: Mapping[str, tuple[Hosts, tuple[Event, ...]]] = {
    disaster_page.NO_BACKUP: (THREE, left_out("cp-1", "cp-2")),
    disaster_page.MAJORITY: (THREE, replaced("cp-1", "cp-3")),
    disaster_page.ALL_CONTROL_PLANES: (THREE, replaced("cp-1", "cp-2", "cp-3")),
    disaster_page.WRONG_DATA: (THREE, ()),
}


@pytest.mark.parametrize("section", LOST)
def test_the_cluster_is_restored(player: Player, section: str) -> None:
    hosts, lost = LOST[section]
    succeeded(player.play(hosts, WRITTEN, BACKUP, WRITTEN, *lost, *typed(section)))


@pytest.mark.parametrize(
    ("section", "hosts", "lost"),
    [
        (disaster_page.WORKER, SMALL, "worker-2"),
        (disaster_page.CONTROL_PLANE, THREE, "cp-1"),
        (disaster_page.CONTROL_PLANE, THREE, "cp-2"),
    ],
)
def test_a_lost_machine_is_replaced_by_one_of_the_same_name(
    player: Player, section: str, hosts: Hosts, lost: str
) -> None:
    removal, joining = typed(section, node=lost)
    runs = player.play(hosts, *left_out(lost), removal, *replaced(lost), *put_back(lost), joining, joining)
    succeeded(runs)
    assert any(change.startswith(f"{lost}: kubeadm join") for change in runs[1].changes)
    assert runs[2].changes == []


def test_everything_is_restored_on_machines_of_the_same_names(player: Player) -> None:
    restore, removal, joining = typed(disaster_page.EVERYTHING, node="worker-1")
    lost = (*replaced("cp-1", "cp-2", "cp-3", "worker-1"), *left_out("worker-1"))
    back = put_back("worker-1")
    succeeded(player.play(THREE, WRITTEN, BACKUP, WRITTEN, *lost, restore, removal, *back, joining))
