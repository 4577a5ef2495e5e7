"""The script that reads whether etcd's log has an entry, with a folder instead of etcd's."""

import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.facts.etcd import EtcdLogIsEmpty
from kubeadm_deploys.scripts import text

# As etcd 3.7.0 wrote it: checksum, identity, snapshot.
BEGINNING = bytes.fromhex(
    "0400000000000084" "0804100000000000" "1f00000000000081"
    "080110f4eed0f9041a1508b6dd90e08b99e7cd4a10b4dde7a3e9eed3e0b00100"
    "0e00000000000082" "080510b2c4e6dc091a04080010000000"
)  # fmt: skip
ZEROS = bytes(64_000)


def read(folder: Path) -> "subprocess.CompletedProcess[str]":
    script = text("read-etcd-log").replace("/var/lib/etcd", str(folder))
    return subprocess.run(["sh", "-c", script], capture_output=True, text=True)


@pytest.fixture
def etcd(tmp_path: Path) -> Path:
    """Return a folder in which etcd has only begun its log."""
    (tmp_path / "member/wal").mkdir(parents=True)
    (tmp_path / "member/snap").mkdir()
    (tmp_path / "member/snap/db").write_bytes(b"\1")
    (tmp_path / "member/wal/0.tmp").write_bytes(b"\1" + ZEROS)
    (tmp_path / "member/wal/0-0.wal").write_bytes(BEGINNING + ZEROS)
    return tmp_path


def test_a_log_that_only_begins_is_empty(etcd: Path) -> None:
    assert EtcdLogIsEmpty().process(read(etcd).stdout.splitlines())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("wal/0-0.wal", BEGINNING + b"\1" + ZEROS),
        ("wal/0-0.wal", BEGINNING + ZEROS + b"\1"),
        # Cut off: nothing is known about the rest.
        ("wal/0-0.wal", BEGINNING),
        ("wal/1-1.wal", BEGINNING + ZEROS),
        ("snap/0-0.snap", b"\1"),
    ],
)
def test_any_more_is_an_entry(etcd: Path, name: str, content: bytes) -> None:
    (etcd / "member" / name).write_bytes(content)
    assert not EtcdLogIsEmpty().process(read(etcd).stdout.splitlines())


@pytest.mark.parametrize("missing", ["wal/0-0.wal", "snap/db"])
def test_what_cannot_be_read_is_an_error(etcd: Path, missing: str) -> None:
    (etcd / "member" / missing).unlink()
    if missing == "snap/db":
        (etcd / "member/snap").rmdir()
    done = read(etcd)
    assert done.returncode != 0 and not done.stdout
