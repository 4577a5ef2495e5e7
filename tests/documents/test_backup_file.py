"""The file of a backup: written completely or not at all, and opened only if every byte is right."""

import hashlib
import io
import json
import os
import random
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import pytest

from kubeadm_deploys.documents.backup_encryption import BackupError, Protection
from kubeadm_deploys.documents.backup_file import (
    SNAPSHOT,
    Manifest,
    Part,
    file_name,
    superseded,
    verify_backup,
    write_backup,
)
from kubeadm_deploys.model.errors import InputError

ROOT = Path(__file__).parents[2]

_DATA = random.Random(1).randbytes(3_000_000)
DB = _DATA + hashlib.sha256(_DATA).digest()
"""A snapshot: etcd's data and its checksum. It is larger than a pipe's buffer."""

PARTS = {"pki/ca.key": b"a key\n", "options.json": b"{}\n"}
MANIFEST = Manifest(
    cluster_name="kubernetes",
    made="2026-11-29T20:00:00+00:00",
    by="0.2.0",
    ca="0123456789ab",
    releases={"kubernetes": "1.37.2"},
    members=("cp-1",),
    nodes={"cp-1": "id-1"},
    revision=1234,
    keys=567,
    hash=89,
    parts={**{name: Part.of(content) for name, content in PARTS.items()}, SNAPSHOT: Part.of(DB)},
)

KEY = pyrage.x25519.Identity.generate()
FOR_KEY = Protection(recipients=(str(KEY.to_public()),))
WITH_PASSPHRASE = Protection(passphrase="secret")
PLAIN = Protection(plain=True)
WAYS = [FOR_KEY, WITH_PASSPHRASE, PLAIN]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    made = datetime(2026, 11, 29, 20, 0, tzinfo=UTC)
    return folder / file_name(cluster_name="kubernetes", made=made, ca="0123456789ab")


@pytest.fixture
def identity(tmp_path: Path) -> Path:
    path = tmp_path / "key.txt"
    path.write_text(f"# created: today\n{KEY}\n")
    return path


def write(path: Path, protection: Protection, *, db: bytes = DB, manifest: Manifest = MANIFEST) -> None:
    write_backup(path, protection=protection, manifest=manifest, parts=PARTS, snapshot=io.BytesIO(db))


@pytest.mark.parametrize("protection", WAYS)
def test_what_was_written_is_verified(path: Path, identity: Path, protection: Protection) -> None:
    write(path, protection)
    assert path.name == "kubernetes-0123456789ab-20261129T200000Z.backup"
    assert verify_backup(path, passphrase="secret", identity=identity) == MANIFEST
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert (b"a key" in path.read_bytes()) == protection.plain


def test_a_file_for_recipients_is_a_tar_archive_in_the_age_format(path: Path) -> None:
    write(path, FOR_KEY)
    with tarfile.open(fileobj=io.BytesIO(pyrage.decrypt(path.read_bytes(), [KEY]))) as archive:
        assert archive.getnames() == ["manifest.json", *PARTS, SNAPSHOT]


def test_an_ssh_key_opens_what_was_encrypted_for_it(path: Path, tmp_path: Path) -> None:
    key = tmp_path / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    write(path, Protection(recipients=(key.with_suffix(".pub").read_text().strip(),)))
    assert verify_backup(path, passphrase="", identity=key) == MANIFEST


# A byte of each part of the file: the key of a passphrase or the header, the archive, the snapshot, the end.
# Each attempt with a passphrase takes a second.
@pytest.mark.parametrize(
    ("protection", "at"),
    [
        (WITH_PASSPHRASE, 300),
        (WITH_PASSPHRASE, 2_000_000),
        *((FOR_KEY, at) for at in (30, 300, 2000, 1_500_000, -10_600)),
    ],
)
def test_a_flipped_byte_is_recognised(path: Path, identity: Path, protection: Protection, at: int) -> None:
    write(path, protection)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(BackupError, match=r"damaged|cannot be decrypted"):
        verify_backup(path, passphrase="secret", identity=identity)


@pytest.mark.parametrize(
    ("protection", "length"),
    [
        (WITH_PASSPHRASE, 300),
        *((protection, length) for protection in (FOR_KEY, PLAIN) for length in (700, 5_000, 2_000_000)),
    ],
)
def test_a_truncated_file_is_recognised(
    path: Path, identity: Path, protection: Protection, length: int
) -> None:
    write(path, protection)
    os.truncate(path, length)
    with pytest.raises(BackupError, match="is damaged"):
        verify_backup(path, passphrase="secret", identity=identity)


@pytest.mark.parametrize("what", [b"a key", DB[1_000_000:1_000_020]], ids=["key", "snapshot"])
def test_damage_to_an_unencrypted_file_is_recognised(path: Path, what: bytes) -> None:
    write(path, PLAIN)
    path.write_bytes(path.read_bytes().replace(what, bytes(len(what))))
    with pytest.raises(BackupError, match="is damaged"):
        verify_backup(path, passphrase="", identity=None)


def test_a_snapshot_without_its_checksum_is_recognised(path: Path) -> None:
    copied = _DATA
    write(
        path,
        PLAIN,
        db=copied,
        manifest=replace(MANIFEST, parts={**MANIFEST.parts, SNAPSHOT: Part.of(copied)}),
    )
    with pytest.raises(BackupError, match="the checksum at the end of etcd's snapshot is wrong"):
        verify_backup(path, passphrase="", identity=None)


@pytest.mark.parametrize(
    ("protection", "passphrase", "key", "error"),
    [
        (WITH_PASSPHRASE, "wrong", None, "BACKUP_PASSPHRASE is another one"),
        (WITH_PASSPHRASE, "", None, "set BACKUP_PASSPHRASE"),
        (FOR_KEY, "secret", None, "with --data identity=FILE"),
        (FOR_KEY, "", str(pyrage.x25519.Identity.generate()), "private key of one of its recipients"),
        (FOR_KEY, "", "no key", "cannot be used"),
    ],
    ids=["wrong passphrase", "no passphrase", "no key", "another key", "not a key"],
)
def test_what_does_not_open_a_file_is_named(
    path: Path, tmp_path: Path, protection: Protection, passphrase: str, key: str | None, error: str
) -> None:
    write(path, protection)
    identity = tmp_path / "key" if key else None
    if identity and key:
        identity.write_text(key)
    with pytest.raises(BackupError, match=error) as raised:
        verify_backup(path, passphrase=passphrase, identity=identity)
    assert str(path) in str(raised.value)


def test_a_newer_format_and_other_files_are_refused(path: Path) -> None:
    write(path, PLAIN)
    path.write_bytes(path.read_bytes().replace(b'"format": 1', b'"format": 2'))
    with pytest.raises(BackupError, match="its format is 2, and this release"):
        verify_backup(path, passphrase="", identity=None)
    path.write_bytes(b"")
    with pytest.raises(BackupError, match="is damaged"):
        verify_backup(path, passphrase="", identity=None)
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("other"))
    with pytest.raises(BackupError, match="is not a backup of this package"):
        verify_backup(path, passphrase="", identity=None)
    with pytest.raises(BackupError, match="cannot be read"):
        verify_backup(path.parent / "none", passphrase="", identity=None)


class _Ends:
    """A snapshot whose machine goes away."""

    def read(self, size: int, /) -> bytes:
        raise BackupError("the connection was lost")


@pytest.mark.parametrize("protection", [FOR_KEY, PLAIN])
def test_a_backup_that_fails_leaves_nothing(path: Path, protection: Protection) -> None:
    with pytest.raises(BackupError, match="the connection was lost"):
        write_backup(path, protection=protection, manifest=MANIFEST, parts=PARTS, snapshot=_Ends())
    assert list(path.parent.iterdir()) == []
    with pytest.raises(BackupError, match="damaged on its way"):
        write(path, protection, db=bytes(len(DB)))
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("protection", WAYS)
def test_a_full_disk_is_an_error(path: Path, protection: Protection, monkeypatch: pytest.MonkeyPatch) -> None:
    # A real file that takes no data.
    fdopen: Callable[..., object] = os.fdopen

    def full(descriptor: int, mode: str) -> object:
        os.close(descriptor)
        return fdopen(os.open("/dev/full", os.O_WRONLY), mode)

    monkeypatch.setattr("kubeadm_deploys.documents.backup_file.os.fdopen", full)
    with pytest.raises(BackupError, match=r"cannot be written .*No space left on device"):
        write(path, protection)
    assert list(path.parent.iterdir()) == []


def test_an_existing_file_is_not_overwritten_and_what_killed_runs_left_is_removed(path: Path) -> None:
    (path.parent / ".kubernetes-0123456789ab.backup.x1").write_text("half")
    (path.parent / ".other-0123456789ab.backup.x1").write_text("half")
    write(path, PLAIN)
    assert {file.name for file in path.parent.iterdir()} == {path.name, ".other-0123456789ab.backup.x1"}
    with pytest.raises(BackupError, match="exists and was not overwritten"):
        write(path, PLAIN)


def test_only_older_backups_of_the_same_cluster_are_superseded(path: Path) -> None:
    older, oldest = (path.with_name(path.name.replace("1129T", f"112{day}T")) for day in (8, 7))
    for other in (
        path,
        older,
        oldest,
        # Another cluster, an earlier cluster of that name, and a file that the user renamed.
        path.with_name("a-kubernetes-0123456789ab-20261101T000000Z.backup"),
        path.with_name("kubernetes-ffffffffffff-20261101T000000Z.backup"),
        path.with_name("kubernetes-0123456789ab-20261101T000000Z.backup.keep"),
    ):
        other.write_text("")
    assert superseded(path, keep=1) == [oldest, older]
    assert superseded(path, keep=2) == [oldest]
    assert superseded(path, keep=3) == []


@pytest.mark.parametrize(
    ("protection", "error"),
    [
        (Protection(), "BACKUP_PASSPHRASE is not set"),
        (Protection(passphrase="a", plain=True), "BACKUP_PASSPHRASE: is set together with plain=true"),
        (replace(FOR_KEY, passphrase="a"), "backup_recipients: is set together with BACKUP_PASSPHRASE"),
        (Protection(recipients=("age1qqqq",)), "'age1qqqq' is not a public key"),
    ],
)
def test_it_must_be_clear_how_to_encrypt(protection: Protection, error: str) -> None:
    with pytest.raises(InputError, match=error):
        protection.check()


def test_a_passphrase_is_not_shown() -> None:
    assert "secret" not in repr(WITH_PASSPHRASE)


def test_without_the_extra_only_encryption_is_missing() -> None:
    code = (
        "import sys; sys.modules['pyrage'] = None\n"
        "from kubeadm_deploys.documents.backup_encryption import Protection\n"
        "Protection(plain=True).check()\n"
        "Protection(passphrase='a').check()"
    )
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{ROOT / 'deploys'}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stderr.splitlines()[-1].endswith(
        "pyrage: this Python package is missing; run pip install 'kubeadm-deploys[backup]'"
    )


def test_a_manifest_is_read_as_it_was_written() -> None:
    assert Manifest.of_text(MANIFEST.text().encode()) == MANIFEST
    damaged = json.loads(MANIFEST.text())
    del damaged["parts"]
    with pytest.raises(ValueError, match="parts"):
        Manifest.of_text(json.dumps(damaged).encode())
