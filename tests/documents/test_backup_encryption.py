"""A passphrase that takes a machine long, or seems to, because the machine is busy."""

import base64
import re
from pathlib import Path

import pyrage
import pytest

from kubeadm_deploys.documents import backup_encryption
from kubeadm_deploys.documents.backup_encryption import BackupError, Protection, opened, sealed

BEGIN, END = b"-----BEGIN AGE ENCRYPTED FILE-----\n", b"-----END AGE ENCRYPTED FILE-----\n"


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_encryption, "_PAUSE", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    with path.open("wb") as file, sealed(file, Protection(passphrase="secret")) as sink:
        sink.write(b"content")
    return path


def content(path: Path) -> bytes:
    with path.open("rb") as file, opened(file, passphrase="secret", identity=None) as plain:
        return plain.read()


def test_a_passphrase_is_tried_again_if_the_machine_seemed_too_slow(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decrypt = pyrage.passphrase.decrypt
    seemed = iter([True, True, False])

    def busy(*arguments: object) -> bytes:
        if next(seemed):
            raise pyrage.DecryptError(
                "Excessive work parameter for passphrase.\nDecryption would take around 32 seconds."
            )
        return bytes(decrypt(*arguments))

    monkeypatch.setattr(pyrage.passphrase, "decrypt", busy)
    assert content(path) == b"content"


def test_a_passphrase_that_takes_too_long_is_not_called_wrong(path: Path) -> None:
    whole = path.read_bytes()
    armored, _, rest = whole.removeprefix(BEGIN).partition(END)
    # The last word of the line is the binary logarithm of the work: this much takes any machine days.
    age = re.sub(rb"(-> scrypt \S+) \d+\n", rb"\1 40\n", base64.b64decode(armored))
    lines = base64.b64encode(age)
    split = b"\n".join(lines[at : at + 64] for at in range(0, len(lines), 64))
    path.write_bytes(BEGIN + split + b"\n" + END + rest)
    with pytest.raises(BackupError, match="faster machine") as raised:
        content(path)
    assert "BACKUP_PASSPHRASE" not in str(raised.value)
