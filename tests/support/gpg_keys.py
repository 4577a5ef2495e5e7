"""Make keys with gpg, and read what gpg reports about them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class GpgKey:
    """The only primary key of a gpg home: armoured, binary, and as gpg reads it."""

    home: Path
    armoured: str
    binary: bytes
    fingerprint: str
    subkeys: tuple[str, ...]
    """Fingerprints."""
    expiry: datetime | None

    def renewed(self, *, at: datetime, valid: str) -> "GpgKey":
        """Return the same key with another expiry, set at a later moment."""
        _gpg(self.home, "--quick-set-expire", self.fingerprint, valid, at=at)
        return _read(self.home)

    def with_subkey(self) -> "GpgKey":
        """Return the same key with a signing subkey."""
        _gpg(self.home, "--quick-add-key", self.fingerprint, "ed25519", "sign", "never")
        return _read(self.home)

    def revoked(self) -> "GpgKey":
        """Return the same key, revoked with the revocation certificate that gpg stored."""
        certificate = (self.home / f"openpgp-revocs.d/{self.fingerprint}.rev").read_text()
        # gpg puts a colon before it, against use by accident.
        usable = certificate.replace(":-----BEGIN", "-----BEGIN")
        _gpg(self.home, "--import", stdin=usable.encode())
        return _read(self.home)

    def private(self) -> bytes:
        """Return the armoured private key."""
        return _gpg(self.home, "--armor", "--export-secret-keys")

    def signature(self, data: bytes, *, by: str | None = None) -> bytes:
        """Return a detached signature by the (sub)key with the fingerprint ``by``."""
        return _gpg(self.home, "--local-user", f"{by or self.fingerprint}!", "--detach-sign", stdin=data)


@contextmanager
def new_key(
    home: Path,
    *,
    kind: str = "ed25519",
    made: datetime | None = None,
    valid: str = "never",
    digest: str = "SHA512",
) -> Iterator[GpgKey]:
    """Yield a key in an empty folder; ``valid`` is in gpg's notation, like ``1y``, counted from ``made``.

    ``digest`` is the hash of the key's self-signature.
    """
    home.mkdir(exist_ok=True)
    home.chmod(0o700)
    try:
        _gpg(
            home,
            "--cert-digest-algo",
            digest,
            "--quick-generate-key",
            "test",
            kind,
            "sign",
            valid,
            at=made,
        )
        yield _read(home)
    finally:
        # gpg starts an agent per home, which would outlive the tests.
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)


def apt_accepts(keyring: bytes, *, signature: bytes, data: bytes, folder: Path) -> bool:
    """Return whether gpgv, which apt verifies with, accepts a detached signature by a key of this keyring."""
    for name, content in {"keyring": keyring, "signature": signature, "data": data}.items():
        (folder / name).write_bytes(content)
    command = ["gpgv", "--homedir", str(folder), "--keyring", str(folder / "keyring")]
    verified = subprocess.run(
        [*command, str(folder / "signature"), str(folder / "data")], capture_output=True
    )
    return verified.returncode == 0


def _read(home: Path) -> GpgKey:
    rows = [
        row.split(":")
        for row in _gpg(home, "--with-colons", "--fingerprint", "--with-subkey-fingerprint")
        .decode()
        .splitlines()
    ]
    expiry = next(row[6] for row in rows if row[0] == "pub")
    fingerprint, *subkeys = (row[9] for row in rows if row[0] == "fpr")
    return GpgKey(
        home=home,
        armoured=_gpg(home, "--armor", "--export").decode(),
        binary=_gpg(home, "--export"),
        fingerprint=fingerprint,
        subkeys=tuple(subkeys),
        expiry=datetime.fromtimestamp(int(expiry), tz=UTC) if expiry else None,
    )


def _gpg(home: Path, *arguments: str, at: datetime | None = None, stdin: bytes = b"") -> bytes:
    moment = ("--faked-system-time", at.strftime("%Y%m%dT%H%M%S!")) if at else ()
    return subprocess.run(
        [
            "gpg",
            "--homedir",
            str(home),
            "--batch",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
            *moment,
            *arguments,
        ],
        check=True,
        capture_output=True,
        input=stdin,
    ).stdout
