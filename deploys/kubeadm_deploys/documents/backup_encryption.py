"""How a backup is encrypted: in the age format, for recipients or with a passphrase.

For recipients it is a plain age file: ``age --decrypt --identity KEY FILE | tar --extract``. With a passphrase
it begins with an armored age file, which the passphrase opens and which has the private key of the rest:
pyrage encrypts with a passphrase only what fits into memory. Source: age-encryption.org/v1.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import gevent
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.model.errors import InputError

_ARMOR_BEGIN, _ARMOR_END = b"-----BEGIN AGE ENCRYPTED FILE-----", b"-----END AGE ENCRYPTED FILE-----\n"
_AGE = b"age-encryption.org/v1\n"
_LONGEST_KEY = 4096

_TOO_MUCH_WORK = "Excessive work"
_TRIES, _PAUSE = 20, 1
"""How often a passphrase is tried on a busy machine, and the seconds between."""

DAMAGED = "is damaged ({}); use another backup"


class BackupError(DeployError):
    """A backup cannot be written or read; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Protection:
    """How a backup is encrypted: for ``recipients`` (age or SSH public keys) or a passphrase, or not at all."""

    recipients: tuple[str, ...] = ()
    passphrase: str = field(default="", repr=False)
    plain: bool = False

    def check(self) -> None:
        """Check that exactly one way is chosen and can be used.

        Raises:
            InputError: it is not; the message says what to set.
        """
        chosen = [
            *(["backup_recipients"] if self.recipients else []),
            *(["BACKUP_PASSPHRASE"] if self.passphrase else []),
            *(["plain=true"] if self.plain else []),
        ]
        if not chosen:
            raise InputError(
                [
                    "backup_recipients: is empty, and BACKUP_PASSPHRASE is not set; a backup contains all keys "
                    "and Secrets of the cluster: set one of them, or add --data plain=true to write it "
                    "unencrypted"
                ]
            )
        if len(chosen) > 1:
            raise InputError([f"{chosen[0]}: is set together with {chosen[1]}; choose one of them"])
        if not self.plain:
            _age()
        for recipient in self.recipients:
            _recipient(recipient)


@dataclass(frozen=True, kw_only=True)
class BackupKey:
    """What opens a backup: its passphrase, or the file of a private key (``identity``); both may be empty."""

    passphrase: str = field(default="", repr=False)
    identity: str = ""

    @property
    def path(self) -> Path | None:
        """The file of the private key, None without one."""
        return Path(self.identity) if self.identity else None


@contextmanager
def sealed(file: BinaryIO, protection: Protection) -> Iterator[BinaryIO]:
    """Yield what encrypts into a file."""
    if protection.plain:
        yield file
        return
    age = _age()
    recipients = [_recipient(text) for text in protection.recipients]
    if protection.passphrase:
        key = age.x25519.Identity.generate()
        file.write(age.passphrase.encrypt(str(key).encode(), protection.passphrase, armored=True))
        recipients = [key.to_public()]

    def encrypt(plain: BinaryIO) -> None:
        try:
            age.encrypt_io(plain, file, recipients)
        except age.EncryptError as error:
            # It wraps the error of the file.
            raise OSError(str(error)) from None

    with _thread(encrypt, mode="rb") as sink:
        yield sink


@contextmanager
def opened(file: BinaryIO, *, passphrase: str, identity: Path | None) -> Iterator[BinaryIO]:
    """Yield what decrypts a file."""
    begins = file.read(len(_ARMOR_BEGIN))
    file.seek(0)
    if begins == _ARMOR_BEGIN:
        identities = [_key_of(file, passphrase)]
    elif begins.startswith(_AGE):
        identities = [_identity(identity)]
    else:
        yield file
        return
    age = _age()

    def decrypt(plain: BinaryIO) -> None:
        try:
            age.decrypt_io(file, plain, identities)
        except age.DecryptError as error:
            raise BackupError(
                f"cannot be decrypted ({error}); name the private key of one of its recipients with --data "
                "identity=FILE"
                if identity
                else DAMAGED.format(error)
            ) from None
        except BrokenPipeError:
            # The reader has stopped before the end, with an error of its own.
            pass
        except OSError as error:
            raise BackupError(DAMAGED.format(error)) from None

    with _thread(decrypt, mode="wb") as source:
        yield source


def _key_of(file: BinaryIO, passphrase: str) -> Any:
    """Return the private key at the beginning of a file, and leave the file after it."""
    age = _age()
    if not passphrase:
        raise BackupError("is encrypted with a passphrase; set BACKUP_PASSPHRASE to it")
    start = file.read(_LONGEST_KEY)
    armored, end, _ = start.partition(_ARMOR_END)
    if not end:
        raise BackupError(DAMAGED.format("its key is incomplete"))
    file.seek(len(armored) + len(end))
    try:
        return age.x25519.Identity.from_str(_decrypted(armored + end, passphrase).decode())
    except age.DecryptError as error:
        raise BackupError(
            "cannot be decrypted: to open its passphrase takes this machine too long; run this on a faster machine, or "
            "when it has less to do"
            if _TOO_MUCH_WORK in str(error)
            else f"cannot be decrypted ({error}); BACKUP_PASSPHRASE is another one, or the file is damaged"
        ) from None
    except (age.IdentityError, ValueError) as error:
        raise BackupError(DAMAGED.format(error)) from None


def _decrypted(armored: bytes, passphrase: str) -> bytes:
    """Decrypt what a passphrase opens.

    age refuses what would take the machine more than some 16 seconds, to which end it measures the machine anew each
    time, within milliseconds: on a busy machine, a process that has to wait just then looks far too slow.
    """
    age = _age()
    for _ in range(_TRIES - 1):
        try:
            return bytes(age.passphrase.decrypt(armored, passphrase))
        except age.DecryptError as error:
            if _TOO_MUCH_WORK not in str(error):
                raise
        gevent.sleep(_PAUSE)
    return bytes(age.passphrase.decrypt(armored, passphrase))


def _identity(path: Path | None) -> Any:
    age = _age()
    if path is None:
        raise BackupError(
            "is encrypted for recipients; name the file of a private key of theirs with --data identity=FILE"
        )
    try:
        content = path.expanduser().read_bytes()
        keys = [
            line
            for line in content.decode(errors="replace").splitlines()
            if line.startswith("AGE-SECRET-KEY-")
        ]
        return age.x25519.Identity.from_str(keys[0]) if keys else age.ssh.Identity.from_buffer(content)
    except (OSError, age.IdentityError) as error:
        raise BackupError(
            f"the private key in {path} cannot be used ({error}); name that of a recipient"
        ) from None


def _recipient(text: str) -> Any:
    age = _age()
    try:
        return (age.ssh if text.startswith("ssh-") else age.x25519).Recipient.from_str(text)
    except age.RecipientError as error:
        raise InputError(
            [f"backup_recipients: {text!r} is not a public key ({error}); write one of age (age1...) or SSH"]
        ) from None


def _age() -> Any:
    try:
        import pyrage
    except ModuleNotFoundError:
        raise InputError(
            ["pyrage: this Python package is missing; run pip install 'kubeadm-deploys[backup]'"]
        ) from None
    return pyrage


@contextmanager
def _thread(work: Callable[[BinaryIO], None], *, mode: str) -> Iterator[BinaryIO]:
    """Yield one end of a pipe, while a thread works at the other one, which it opens with ``mode``.

    A thread of the operating system: pyrage must not be interrupted by pyinfra's greenlets, and calls back.

    Raises:
        Exception: what ``work`` raised; it is the cause of any error at this end.
    """
    ends = os.pipe()
    theirs, ours = ends if mode == "rb" else reversed(ends)

    def run() -> Exception | None:
        try:
            with open(theirs, mode) as end:
                work(cast(BinaryIO, end))
        except Exception as error:
            # Raised at the other end below. gevent would print it too, with its traceback.
            return error
        return None

    running = gevent.get_hub().threadpool.spawn(run)
    try:
        with open(ours, "wb" if mode == "rb" else "rb") as end:
            yield end
    except Exception:
        # If the work failed, this end has only seen its consequence: a closed pipe, or an early end.
        if failure := running.get():
            raise failure from None
        raise
    finally:
        running.wait()
    if failure := running.get():
        raise failure
