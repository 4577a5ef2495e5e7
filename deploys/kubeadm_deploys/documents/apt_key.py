"""The key of an apt repository, accepted only if it is the pinned one, alone in its file, and still valid.

apt accepts signatures of any key in a keyring, so a fingerprint protects nothing if the keyring has other
keys. gpg could read keys too, but plain Debian does not include it, and the check must come before the key is
on the machine.
"""

from datetime import datetime

import gevent
from pysequoia import Cert


def pinned_key(data: bytes, *, fingerprint: str, now: datetime) -> bytes:
    """Return the binary form of the only key in ``data``, written from the parsed key.

    Anything around the key in ``data``, and private keys, are left out, so a keyring never contains what was
    not checked. Subkeys belong to their key: apt's verifiers accept those that the primary key has signed.

    Args:
        data: a file with public keys, binary or armoured
        fingerprint: of the primary key that is accepted, in upper-case hexadecimal digits

    Raises:
        ValueError: the key is not accepted; the message continues "the key" or "a key that".
    """
    # Run it in a thread, not on the stack of a pyinfra greenlet: with RUST_BACKTRACE set, the library walks
    # its stack when it reports an error, which crosses into the stack of another greenlet (seen: a
    # segmentation fault).
    accepted: bytes | ValueError = gevent.get_hub().threadpool.apply(_attempt, (data, fingerprint, now))
    if isinstance(accepted, ValueError):
        raise accepted
    return accepted


def _attempt(data: bytes, fingerprint: str, now: datetime) -> bytes | ValueError:
    # gevent prints exceptions of its threads, although it also raises them in the caller.
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
            f"but only {fingerprint} is accepted"
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
    """Return the innermost cause, which pysequoia prints last, before a stack backtrace."""
    causes = str(error).partition("\n\nStack backtrace:")[0].strip().splitlines()
    return causes[-1].strip().removeprefix("1: ").rstrip(".") if causes else "unreadable"
