"""``restore.py`` on simulated machines: exactly the backup, one etcd, and nothing that another run could mistake."""

import pytest

from tests.simulation.history import Command, Event, Fault
from tests.simulation.scenarios import Ended, Hosts, Player, before_operations, machines

BACKUP = (Command(deploy="backup.py", arguments=("--data=plain=true",)),)
CONFIRMED = ("--data=backup=BACKUP", "--data=confirm=kubernetes")
FORCED = (*CONFIRMED, "--data=force=true")
RESTORE = (Command(deploy="restore.py", arguments=CONFIRMED),)
OVERRIDE = (Command(deploy="restore.py", arguments=FORCED),)
CLUSTER = (Command(deploy="cluster.py"),)
WRITTEN = Event(what="written", machine="cp-1")

ONE = machines("member", workers=["member"])
THREE = machines("member", "member", "member", workers=["member"])


def test_wrong_data_is_replaced_by_that_of_the_backup(player: Player) -> None:
    _, restore, cluster = player.play(ONE, WRITTEN, BACKUP, WRITTEN, OVERRIDE, CLUSTER)
    assert restore.exit_code == 0, restore.output
    assert (cluster.exit_code, cluster.decisive) == (0, []), cluster.output
