"""The script that sends a snapshot: with a fake crictl, and a folder instead of etcd's."""

import hashlib
import json
import subprocess
import time
from pathlib import Path

import pytest

from kubeadm_deploys.scripts import text

SNAPSHOT = b"\0\1\2 everything\n" * 30_000
STATUS = {"hash": 1, "revision": 7, "totalKey": 5, "totalSize": len(SNAPSHOT), "version": "3.6.8"}

# $FAKE has what it should do. Like the real one it ignores where etcdctl comes from.
_CRICTL = """#!/bin/sh
case "$*" in
  *' ps '*) echo id ;;
  *'snapshot save'*)
    if [ -e "$FAKE/fails" ]; then echo 'Error: no space' >&2; exit 1; fi
    for path in "$@"; do :; done
    cat "$FAKE/snapshot" > "$path" ;;
  *'etcdutl snapshot status'*)
    if [ -e "$FAKE/old" ]; then echo 'etcdutl: not found' >&2; exit 127; fi
    cat "$FAKE/status" ;;
  *'etcdctl'*'snapshot status'*) cat "$FAKE/status" ;;
  *) echo "unknown: $*" >&2; exit 1 ;;
esac
"""


class Machine:
    """A folder for etcd, and programs that the script calls."""

    def __init__(self, folder: Path) -> None:
        self.etcd, self.fake = folder / "etcd", folder / "fake"
        (self.etcd / "member/snap").mkdir(parents=True)
        (self.etcd / "member/snap/db").write_bytes(SNAPSHOT)
        self.fake.mkdir()
        (self.fake / "snapshot").write_bytes(SNAPSHOT)
        (self.fake / "status").write_text(json.dumps(STATUS))
        self.has_free(mib=1000)
        (self.fake / "crictl").write_text(_CRICTL)
        for name in ("crictl", "df"):
            (self.fake / name).chmod(0o755)

    def has_free(self, *, mib: int) -> None:
        (self.fake / "df").write_text(f"#!/bin/sh\necho Avail\necho '  {mib}'\n")

    def start(self, shell: str = "sh") -> subprocess.Popen[bytes]:
        script = text("send-snapshot").replace("/var/lib/etcd", str(self.etcd))
        return subprocess.Popen(
            [shell, "-c", script, "send-snapshot", "MARK", str(self.etcd / "backup")],
            env={"PATH": f"{self.fake}:/usr/bin:/bin", "FAKE": str(self.fake)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    @property
    def entries(self) -> list[str]:
        return [path.name for path in self.etcd.iterdir()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.mark.parametrize("old", [False, True], ids=["etcdutl", "etcdctl"])
@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_snapshot_is_announced_and_sent_and_removed(machine: Machine, shell: str, old: bool) -> None:
    if old:
        (machine.fake / "old").touch()
    # A power cut left this.
    (machine.etcd / "backup").mkdir()
    (machine.etcd / "backup/etcd.db").write_text("old")
    output, errors = machine.start(shell).communicate(timeout=60)
    empty, line, content = output.split(b"\n", 2)
    assert (empty, errors) == (b"", b"")
    mark, size, checksum, status = line.decode().split(" ", 3)
    assert (mark, int(size), checksum) == ("MARK", len(SNAPSHOT), hashlib.sha256(SNAPSHOT).hexdigest())
    assert json.loads(status) == STATUS
    assert content == SNAPSHOT
    assert machine.entries == ["member"]


def test_a_full_disk_is_named_before_a_snapshot_is_taken(machine: Machine) -> None:
    machine.has_free(mib=255)
    process = machine.start()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, b"")
    assert b"has 255 MiB free, and a snapshot needs 256 MiB" in errors
    assert machine.entries == ["member"]


def test_a_snapshot_that_fails_leaves_nothing(machine: Machine) -> None:
    (machine.fake / "fails").touch()
    process = machine.start()
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, output, errors) == (1, b"", b"Error: no space\n")
    assert machine.entries == ["member"]


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_connection_that_ends_leaves_nothing(machine: Machine, shell: str) -> None:
    process = machine.start(shell)
    assert process.stdout
    process.stdout.read(100)
    assert machine.entries != ["member"]
    process.stdout.close()
    process.wait(timeout=60)
    deadline = time.monotonic() + 10
    while machine.entries != ["member"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
