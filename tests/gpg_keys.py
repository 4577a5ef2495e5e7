"""Keys as gpg makes them, and what gpg itself says about them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class GpgKey:
    """The only key of a gpg home: armoured, binary, and gpg's own reading of it."""

    home: Path
    armoured: str
    binary: bytes
    fingerprint: str
    expiry: datetime | None

    def renewed(self, *, at: datetime, valid: str) -> "GpgKey":
        """The same key with another expiry, set at a later moment."""
        _gpg(self.home, "--quick-set-expire", self.fingerprint, valid, at=at)
        return _read(self.home)


@contextmanager
def new_key(
    home: Path, *, kind: str = "ed25519", made: datetime | None = None, valid: str = "never"
) -> Iterator[GpgKey]:
    """A key in an empty folder; ``valid`` is gpg's notation, like ``1y``, counted from when it was ``made``."""
    home.chmod(0o700)
    try:
        _gpg(home, "--quick-generate-key", "test", kind, "sign", valid, at=made)
        yield _read(home)
    finally:
        # gpg starts an agent for each home, which would outlive the tests.
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)


def _read(home: Path) -> GpgKey:
    rows = [row.split(":") for row in _gpg(home, "--with-colons", "--fingerprint").decode().splitlines()]
    expiry = next(row[6] for row in rows if row[0] == "pub")
    return GpgKey(
        home=home,
        armoured=_gpg(home, "--armor", "--export").decode(),
        binary=_gpg(home, "--export"),
        fingerprint=next(row[9] for row in rows if row[0] == "fpr"),
        expiry=datetime.fromtimestamp(int(expiry), tz=UTC) if expiry else None,
    )


def _gpg(home: Path, *arguments: str, at: datetime | None = None) -> bytes:
    moment = ("--faked-system-time", at.strftime("%Y%m%dT%H%M%S!")) if at else ()
    return subprocess.run(
        ["gpg", "--homedir", str(home), "--batch", "--passphrase", "", *moment, *arguments],
        check=True,
        capture_output=True,
    ).stdout
