"""The file of a backup: a tar archive with a manifest, encrypted as ``backup_encryption`` says.

Source: etcdutl's snapshot/v3_snapshot.go for the checksum at the end of a snapshot.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from kubeadm_deploys.documents.backup_encryption import DAMAGED, BackupError, Protection, opened, sealed
from kubeadm_deploys.model.errors import shortened

FORMAT = 1
"""The format that this release writes, and the newest that it reads."""

MANIFEST = "manifest.json"
SNAPSHOT = "etcd.db"

_PIECE = 1 << 18
_CHECKSUM = hashlib.sha256().digest_size


class Source(Protocol):
    """Where the snapshot is read from."""

    def read(self, size: int, /) -> bytes:
        """Return this many bytes, fewer at the end."""
        ...


@dataclass(frozen=True, kw_only=True)
class Part:
    """The size in bytes and the SHA-256 of a file in the archive."""

    size: int
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> "Part":
        """Return the size and the checksum of a content."""
        return cls(size=len(content), sha256=hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a backup contains, and of which cluster.

    ``made`` is the time in UTC as ISO 8601, ``by`` the release of this package, ``ca`` the SHA-256 of the
    cluster's CA certificate. ``releases`` are those of its components. ``members`` are the names of etcd's
    members, ``nodes`` the machine IDs of its nodes. ``revision`` is etcd's, ``keys`` the number of its keys and
    ``hash`` what etcdutl computes over them. ``parts`` are all other files of the archive.
    """

    cluster_name: str
    made: str
    by: str
    ca: str
    releases: Mapping[str, str]
    members: tuple[str, ...]
    nodes: Mapping[str, str]
    revision: int
    keys: int
    hash: int
    parts: Mapping[str, Part]

    def text(self) -> str:
        """Return the manifest as JSON."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2) + "\n"

    @classmethod
    def of_text(cls, text: bytes) -> "Manifest":
        """Parse the manifest.

        Raises:
            BackupError: it is of a newer format.
            ValueError: it cannot be parsed.
        """
        found = json.loads(text)
        try:
            number = found.pop("format")
            if number > FORMAT:
                raise BackupError(
                    f"its format is {number}, and this release of kubeadm-deploys reads formats up to {FORMAT}; "
                    "use the release that wrote it, or a newer one"
                )
            parts = {str(name): Part(**part) for name, part in found.pop("parts").items()}
            return cls(**{**found, "members": tuple(found["members"]), "parts": parts})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(str(error)) from None


def file_name(*, cluster_name: str, made: datetime, ca: str) -> str:
    """Return the name of a new backup; ``ca`` is the start of the CA certificate's SHA-256."""
    return f"{cluster_name}-{ca}-{made.astimezone(UTC):%Y%m%dT%H%M%SZ}.backup"


def superseded(path: Path, *, keep: int) -> list[Path]:
    """Return the backups of the same cluster in the folder of a new one, without the ``keep`` newest."""
    pattern = re.compile(rf"{re.escape(_cluster_of(path))}-\d{{8}}T\d{{6}}Z\.backup")
    found = sorted(other for other in path.parent.iterdir() if pattern.fullmatch(other.name))
    return found[: max(len(found) - keep, 0)]


def _cluster_of(path: Path) -> str:
    return path.name.rpartition("-")[0]


def write_backup(
    path: Path, *, protection: Protection, manifest: Manifest, parts: Mapping[str, bytes], snapshot: Source
) -> None:
    """Write a backup with mode 0600; the file appears under its name when it is complete.

    ``parts`` are the files besides the snapshot, whose sizes and checksums the manifest has.

    Raises:
        BackupError: the file exists or cannot be written, or the snapshot is not that of the manifest.
    """
    if path.exists():
        raise BackupError(f"{path}: exists and was not overwritten; run it again")
    _remove_partial(path)
    partial = ""
    try:
        descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=_partial(path))
        with os.fdopen(descriptor, "wb") as file:
            with sealed(file, protection) as sink, tarfile.open(fileobj=sink, mode="w|") as archive:
                for name, content in {MANIFEST: manifest.text().encode(), **parts}.items():
                    archive.addfile(_entry(name, len(content)), io.BytesIO(content))
                checked = _Checked(snapshot)
                archive.addfile(_entry(SNAPSHOT, manifest.parts[SNAPSHOT].size), checked)  # type: ignore[arg-type]
                if checked.sha256 != manifest.parts[SNAPSHOT].sha256:
                    raise BackupError(
                        "the snapshot was damaged on its way; no backup was written; run it again"
                    )
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise BackupError(
            f"{path}: cannot be written ({error.strerror or error}); no backup was written; choose another "
            "folder with --data folder=DIR, or free some space"
        ) from None
    finally:
        # Ctrl-C included: nothing that may contain secrets must remain.
        if partial:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(partial)


def _partial(path: Path) -> str:
    return f".{_cluster_of(path)}.backup."


def _remove_partial(path: Path) -> None:
    """Remove what killed runs have left of this cluster's backups: no other run is writing one."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f"{_partial(path)}*"):
            left.unlink()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = size, 0o600
    return entry


class _Checked:
    """Computes the checksum of what is read, and of everything before a snapshot's own checksum."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._all = hashlib.sha256()
        self._before = hashlib.sha256()
        self._last = b""

    def read(self, size: int) -> bytes:
        piece = self._source.read(size)
        self._all.update(piece)
        last = self._last + piece
        self._before.update(last[:-_CHECKSUM])
        self._last = last[-_CHECKSUM:]
        return piece

    @property
    def sha256(self) -> str:
        return self._all.hexdigest()

    @property
    def ends_with_its_checksum(self) -> bool:
        return self._last == self._before.digest()


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A backup that was checked: its manifest, its files except the snapshot, and the SHA-256 of the file itself."""

    path: Path
    sha256: str
    manifest: Manifest
    parts: Mapping[str, bytes] = field(repr=False)


def verify_backup(path: Path, *, passphrase: str, identity: Path | None) -> Manifest:
    """Decrypt a backup, check every file in it and the snapshot's own checksum; nothing is written.

    ``identity`` is the file of an age or SSH private key, for a backup that was encrypted for recipients.

    Raises:
        BackupError: the file cannot be read or decrypted, is damaged, or is of a newer format.
    """
    return read_backup(path, passphrase=passphrase, identity=identity).manifest


def read_backup(path: Path, *, passphrase: str, identity: Path | None) -> Backup:
    """Check a backup like ``verify_backup``, and return all of it except the snapshot.

    Raises:
        BackupError: like ``verify_backup``.
    """
    with _opened(path, passphrase=passphrase, identity=identity) as (source, sha256):
        manifest, parts = _verified(source)
    return Backup(path=path, sha256=sha256, manifest=manifest, parts=parts)


def copy_snapshot(
    path: Path, *, passphrase: str, identity: Path | None, write: Callable[[bytes], object]
) -> None:
    """Pass the snapshot of a backup to a function, piece by piece; who gets it checks its SHA-256.

    Raises:
        BackupError: like ``verify_backup``.
        OSError: what ``write`` raised.
    """
    try:
        with (
            _opened(path, passphrase=passphrase, identity=identity) as (source, _),
            _errors_of_archive(),
            tarfile.open(fileobj=source, mode="r|") as archive,
        ):
            for entry in archive:
                content = archive.extractfile(entry) if entry.name == SNAPSHOT else None
                while content and (piece := content.read(_PIECE)):
                    _write(write, piece)
            _read_to_the_end(source)
    except _NotWritten as error:
        raise error.reason from None


class _NotWritten(Exception):
    """An error that is not the backup's."""

    def __init__(self, reason: OSError) -> None:
        self.reason = reason


def _write(write: Callable[[bytes], object], piece: bytes) -> None:
    try:
        write(piece)
    except OSError as error:
        raise _NotWritten(error) from None


@contextlib.contextmanager
def _opened(path: Path, *, passphrase: str, identity: Path | None) -> Iterator[tuple[BinaryIO, str]]:
    """Yield what decrypts a backup, and the SHA-256 of the file."""
    try:
        with open(path, "rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            with opened(file, passphrase=passphrase, identity=identity) as source:
                yield source, sha256
    except BackupError as error:
        raise BackupError(f"{path}: {error}") from None
    except OSError as error:
        raise BackupError(f"{path}: cannot be read ({error.strerror or error})") from None


@contextlib.contextmanager
def _errors_of_archive() -> Iterator[None]:
    try:
        yield
    # A plain file may be damaged in any way.
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise BackupError(DAMAGED.format(shortened(str(error)))) from None


def _read_to_the_end(source: BinaryIO) -> None:
    while source.read(_PIECE):
        pass


def _verified(source: BinaryIO) -> tuple[Manifest, dict[str, bytes]]:
    found: dict[str, Part] = {}
    parts: dict[str, bytes] = {}
    manifest = None
    with _errors_of_archive():
        with tarfile.open(fileobj=source, mode="r|") as archive:
            for entry in archive:
                content = archive.extractfile(entry)
                if content is None:
                    raise ValueError(f"{entry.name} is not a file")
                if manifest is None:
                    if entry.name != MANIFEST:
                        raise BackupError("is not a backup of this package")
                    manifest = Manifest.of_text(content.read())
                    continue
                if entry.name != SNAPSHOT:
                    parts[entry.name] = content.read()
                    found[entry.name] = Part.of(parts[entry.name])
                    continue
                checked, size = _Checked(content), 0
                while piece := checked.read(_PIECE):
                    size += len(piece)
                found[entry.name] = Part(size=size, sha256=checked.sha256)
                if not checked.ends_with_its_checksum:
                    raise ValueError("the checksum at the end of etcd's snapshot is wrong")
        _read_to_the_end(source)
    if manifest is None:
        raise BackupError("is not a backup of this package")
    wrong = sorted(
        name for name in found.keys() | manifest.parts.keys() if found.get(name) != manifest.parts.get(name)
    )
    if wrong or SNAPSHOT not in found:
        raise BackupError(DAMAGED.format(", ".join(wrong or [SNAPSHOT])))
    return manifest, parts
