"""As much of OpenPGP (RFC 9580) as an apt keyring needs: armour and fingerprints.

gpg does the same, but plain Debian does not have it, and the check must come before the key is on the machine.
"""

import base64
import binascii
import hashlib

_BEGIN = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_END = "-----END PGP PUBLIC KEY BLOCK-----"
_PUBLIC_KEY_PACKET = 6


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
    tag, body = _first_packet(key)
    if tag != _PUBLIC_KEY_PACKET or body[:1] != b"\x04":
        raise ValueError("not a version 4 OpenPGP public key")
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2) + body).hexdigest().upper()


def _first_packet(data: bytes) -> tuple[int, bytes]:
    """Tag and body of the first packet, in the old or the new format of packet headers."""
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
    body = data[start : start + length]
    if len(body) != length:
        raise ValueError("a truncated OpenPGP packet")
    return tag, body
