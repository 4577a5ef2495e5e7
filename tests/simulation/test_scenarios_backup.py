"""``backup.py`` on simulated machines: it changes none of them, and writes a whole file or none."""

import io
import json
import tarfile

import pytest

from tests.simulation.history import Command, Event, Fault
from tests.simulation.scenarios import Ended, Player, before_operations, fails, machines

WELL = machines("member", workers=["member"])
WELL_OF_THREE = machines("member", "member", "member")
PLAIN = "--data=plain=true"


def backups(done: Ended) -> list[str]:
    return [name for name in done.files if "backup" in name]


def contents(done: Ended) -> dict[str, str]:
    """Return the files in the only backup."""
    (name,) = backups(done)
    with tarfile.open(fileobj=io.BytesIO(done.files[name].encode())) as archive:
        files = {entry.name: archive.extractfile(entry) for entry in archive}
        return {name: file.read().decode() for name, file in files.items() if file}


def test_a_backup_changes_no_machine(player: Player) -> None:
    done = player.run(WELL, "backup.py", PLAIN)
    assert (done.exit_code, done.changes) == (0, []), done.output
    files = contents(done)
    manifest = json.loads(files["manifest.json"])
    assert files["etcd.db"] == f"everything up to revision {manifest['revision']}"
    assert manifest["nodes"] == {"cp-1": "id-cp-1", "worker-1": "id-worker-1"}
    assert "pki/ca.key" in files


def test_an_unencrypted_backup_must_be_asked_for(player: Player) -> None:
    done = player.run(WELL, "backup.py")
    before_operations(done, "BACKUP_PASSPHRASE is not set")
    assert backups(done) == []


def test_without_a_cluster_there_is_nothing_to_back_up(player: Player) -> None:
    before_operations(player.run(machines("prepared"), "backup.py", PLAIN), "there is no cluster")


def test_another_cluster_at_the_inventorys_address_is_not_backed_up(player: Player) -> None:
    hosts = machines("member of production")
    done = player.run(hosts, "backup.py", PLAIN, "--data=cluster_name=staging")
    before_operations(done, "'staging'", "'production'")


def test_without_etcds_majority_the_cure_is_named(player: Player) -> None:
    down = [Event(what="dies", machine=name) for name in ("cp-2", "cp-3")]
    done = player.run(WELL_OF_THREE, "backup.py", PLAIN, events=down)
    before_operations(done, "etcd has 3 members and needs 2 of them", "start the machines that are down")


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("EtcdRevision", "fails"),
        ("send-snapshot", "fails"),
        ("send-snapshot", "lost"),
        ("send-snapshot", "cut"),
    ],
)
def test_another_member_gives_the_snapshot(player: Player, what: str, kind: str) -> None:
    fault = Fault(run=0, machine="cp-1", what=what, kind=kind)
    done = player.run(WELL_OF_THREE, "backup.py", PLAIN, faults=[fault])
    assert (done.exit_code, done.changes) == (0, []), done.output
    assert "No snapshot from cp-1" in done.output
    assert contents(done)["etcd.db"].startswith("everything")


@pytest.mark.parametrize("what", ["BackupSettings", "SharedPki", "EtcdRevision", "send-snapshot"])
def test_a_backup_that_fails_leaves_nothing(player: Player, what: str) -> None:
    done = player.run(WELL, "backup.py", PLAIN, faults=[fails(what)])
    assert (done.exit_code, done.changes, backups(done)) == (1, [], []), done.output
    assert "Cannot fork" in done.output and "Traceback" not in done.output


def test_the_next_run_removes_what_a_killed_one_left(player: Player) -> None:
    killed = Fault(run=0, machine="cp-1", what="send-snapshot", kind="killed")
    command = (Command(deploy="backup.py", arguments=(PLAIN,)),)
    first, second = player.play(WELL, command, command, faults=[killed])
    assert (first.changes, second.exit_code, second.changes) == ([], 0, []), second.output
    assert contents(second)["etcd.db"].startswith("everything")
