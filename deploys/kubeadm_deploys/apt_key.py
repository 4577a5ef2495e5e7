"""The key of an apt repository: accepted only when it is the pinned one, alone in its file and still valid.

apt takes the signature of any key in a keyring, so a fingerprint protects nothing unless it is the only one there.
gpg reads keys too, but plain Debian does not have it, and the check must come before the key is on the machine.
"""

from datetime import datetime

import gevent
from pysequoia import Cert


def pinned_key(data: bytes, *, fingerprint: str, now: datetime) -> bytes:
    """The binary form of the only key in ``data``, made anew from what was read.

    What stands around the key in ``data``, or is private, is not in it: a keyring never holds what was not checked.
    Subkeys belong to their key: apt's verifiers accept those that the primary key has signed.

    Args:
        data: a file with public keys, binary or armoured
        fingerprint: of the primary key that is accepted, in upper-case hexadecimal digits

    Raises:
        ValueError: it is not acceptable; the message goes on after "the key" or "a key that".
    """
    # Not on the stack of one of pyinfra's greenlets: with RUST_BACKTRACE set the library looks up its stack when a key
    # has something to complain about, and what is above a greenlet's is another one's (seen: a segmentation fault).
    accepted: bytes | ValueError = gevent.get_hub().threadpool.apply(_attempt, (data, fingerprint, now))
    if isinstance(accepted, ValueError):
        raise accepted
    return accepted


def _attempt(data: bytes, fingerprint: str, now: datetime) -> bytes | ValueError:
    # gevent prints what a thread raises, although it raises it here as well.
    try:
        return _pinned_key(data, fingerprint, now)
    except ValueError as error:
        return error


def _pinned_key(data: bytes, fingerprint: str, now: datetime) -> bytes:
    try:
        keys = Cert.split_bytes(data)
    except RuntimeError as error:
        raise ValueError(f"is not an OpenPGP public key ({_cause(error)})") from None
    if not keys:
        raise ValueError("is not an OpenPGP public key (it is empty)")
    found = [key.fingerprint.upper() for key in keys]
    if len(keys) > 1:
        raise ValueError(
            f"is one of {len(keys)} primary keys in the same file ({', '.join(found)}), "
            f"where only {fingerprint} is accepted"
        )
    if found != [fingerprint]:
        raise ValueError(f"has the fingerprint {found[0]}, expected {fingerprint}")
    (key,) = keys
    if key.is_revoked:
        raise ValueError("was revoked")
    try:
        expiry = key.expiration
    except RuntimeError as error:
        raise ValueError(f"has no valid signature of its own ({_cause(error)})") from None
    if expiry and expiry <= now:
        raise ValueError(f"expired on {expiry:%Y-%m-%d}")
    return bytes(key)


def _cause(error: RuntimeError) -> str:
    """The innermost cause, which pysequoia writes last before a stack backtrace."""
    causes = str(error).partition("\n\nStack backtrace:")[0].strip().splitlines()
    return causes[-1].strip().removeprefix("1: ").rstrip(".") if causes else "unreadable"
