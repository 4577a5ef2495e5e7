"""As much of OpenPGP (RFC 9580) as an apt keyring needs: armour, fingerprints and when a key expires.

gpg does the same, but plain Debian does not have it, and the check must come before the key is on the machine.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime

_BEGIN = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = "-----END PGP PUBLIC KEY BLOCK-----"
_PUBLIC_KEY_PACKET = 6
_SIGNATURE_PACKET = 2
_SUBKEY_PACKET = 14

_SIGNATURES_ABOUT_THE_KEY = (0x10, 0x11, 0x12, 0x13, 0x1F)
"""Types of signatures that certify a user ID, and of one directly on the key."""

_SIGNED_AT = 2
_EXPIRES_AFTER = 9
"""Types of subpackets."""


def dearmor(text: str) -> bytes:
    """The binary form of an armoured public key.

    Raises:
        ValueError: when the text is not an armoured public key.
    """
    lines = [line.strip() for line in text.strip().splitlines()]
    if not lines or lines[0] != _BEGIN or lines[-1] != _END or "" not in lines:
        raise ValueError("not an armoured OpenPGP public key")
    # Headers end at the first empty line; a line that begins with "=" is the optional checksum.
    body = [line for line in lines[lines.index("") + 1 : -1] if line and not line.startswith("=")]
    try:
        return base64.b64decode("".join(body), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not an armoured OpenPGP public key ({error})") from None


def fingerprint(key: bytes) -> str:
    """The fingerprint of a binary version 4 public key: 40 upper-case hexadecimal digits.

    Raises:
        ValueError: when the bytes do not begin with such a key.
    """
    body = _public_key(key)
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2) + body).hexdigest().upper()


def expiry(key: bytes) -> datetime | None:
    """When a binary version 4 public key ceases to be valid, by its latest signature; None for never.

    Signatures are read, not verified: the fingerprint says whose key it is, and apt verifies.

    Raises:
        ValueError: when the bytes do not begin with such a key.
    """
    created = int.from_bytes(_public_key(key)[1:5])
    latest, seconds = -1, 0
    for tag, body in _packets(key):
        if tag == _SUBKEY_PACKET:
            break
        is_read = tag == _SIGNATURE_PACKET and len(body) > 6 and body[0] == 4
        if is_read and body[1] in _SIGNATURES_ABOUT_THE_KEY:
            said = dict(_subpackets(body[6 : 6 + int.from_bytes(body[4:6])]))
            if said.get(_SIGNED_AT, 0) >= latest:
                latest, seconds = said.get(_SIGNED_AT, 0), said.get(_EXPIRES_AFTER, 0)
    return datetime.fromtimestamp(created + seconds, tz=UTC) if seconds else None


def _public_key(key: bytes) -> bytes:
    tag, body = next(_packets(key), (0, b""))
    if tag != _PUBLIC_KEY_PACKET or body[:1] != b"\x04":
        raise ValueError("not a version 4 OpenPGP public key")
    return body


def _packets(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and body of each packet, in the old or the new format of packet headers."""
    while data:
        tag, start, length = _header(data)
        body, data = data[start : start + length], data[start + length :]
        if len(body) != length:
            raise ValueError("a truncated OpenPGP packet")
        yield tag, body


def _header(data: bytes) -> tuple[int, int, int]:
    """Tag of the first packet, where its body begins, and how long that is."""
    if len(data) < 3 or not data[0] & 0x80:
        raise ValueError("not an OpenPGP packet")
    if data[0] & 0x40:
        tag, start, length = data[0] & 0x3F, 2, data[1]
        if 192 <= length < 224:
            start, length = 3, ((length - 192) << 8) + data[2] + 192
        elif length == 255:
            start, length = 6, int.from_bytes(data[2:6])
    else:
        tag, width = (data[0] >> 2) & 0x0F, 1 << (data[0] & 0x03)
        start, length = 1 + width, int.from_bytes(data[1 : 1 + width])
    return tag, start, length


def _subpackets(data: bytes) -> Iterator[tuple[int, int]]:
    """Type and value of each subpacket, read as a number; those asked for are four octets."""
    while data:
        start, length = 1, data[0]
        if 192 <= length < 255:
            start, length = 2, ((length - 192) << 8) + int.from_bytes(data[1:2]) + 192
        elif length == 255:
            start, length = 5, int.from_bytes(data[1:5])
        subpacket, data = data[start : start + length], data[start + length :]
        # The highest bit says that the subpacket is critical.
        if subpacket:
            yield subpacket[0] & 0x7F, int.from_bytes(subpacket[1:5])
