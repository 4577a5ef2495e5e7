"""Keys against gpg's own answers."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubeadm_deploys import openpgp
from tests.gpg_keys import GpgKey, new_key


@pytest.fixture(scope="module", params=["rsa2048", "ed25519"])
def gpg_key(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpgKey]:
    """A new key that never expires."""
    with new_key(tmp_path_factory.mktemp("gnupg"), kind=request.param) as key:
        yield key


def as_new_format(key: bytes) -> bytes:
    """The same packets with the headers of the newer format, which gpg does not write for keys."""
    return b"".join(
        bytes([0xC0 | tag, 255]) + len(body).to_bytes(4) + body for tag, body in openpgp._packets(key)
    )


def test_dearmor_and_fingerprint_agree_with_gpg(gpg_key: GpgKey) -> None:
    assert openpgp.dearmor(gpg_key.armoured) == gpg_key.binary
    assert openpgp.fingerprint(gpg_key.binary) == gpg_key.fingerprint


def test_new_packet_format_is_read_too(gpg_key: GpgKey) -> None:
    assert openpgp.fingerprint(as_new_format(gpg_key.binary)) == gpg_key.fingerprint


def test_a_key_without_an_expiry_never_expires(gpg_key: GpgKey) -> None:
    assert gpg_key.expiry is None
    assert openpgp.expiry(gpg_key.binary) is None


@pytest.mark.parametrize("kind", ["rsa2048", "ed25519"])
def test_expiry_agrees_with_gpg(kind: str, tmp_path: Path) -> None:
    with new_key(tmp_path, kind=kind, made=datetime(2024, 2, 1, tzinfo=UTC), valid="1y") as key:
        assert key.expiry is not None and key.expiry.year == 2025
        assert openpgp.expiry(key.binary) == key.expiry
        assert openpgp.expiry(as_new_format(key.binary)) == key.expiry
        longer = key.renewed(at=datetime(2024, 6, 1, tzinfo=UTC), valid="4y")
        assert openpgp.expiry(longer.binary) == datetime(2028, 5, 31, tzinfo=UTC)
        endless = key.renewed(at=datetime(2024, 7, 1, tzinfo=UTC), valid="never")
        assert openpgp.expiry(endless.binary) is None


def test_a_truncated_key_is_refused(gpg_key: GpgKey) -> None:
    for read in (openpgp.fingerprint, openpgp.expiry):
        with pytest.raises(ValueError, match="truncated"):
            read(gpg_key.binary[:20])


def test_no_cut_or_bent_key_ends_in_anything_but_a_value_error(gpg_key: GpgKey) -> None:
    binary = gpg_key.binary
    cut = [binary[:length] for length in range(len(binary))]
    bent = [binary[:place] + b"\xff" + binary[place + 1 :] for place in range(len(binary))]
    for key in (*cut, *bent):
        try:
            openpgp.expiry(key)
        except ValueError:
            continue


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>404</html>",
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n-----END PGP PUBLIC KEY BLOCK-----",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an armoured"):
        openpgp.dearmor(text)


def test_a_keyring_that_holds_no_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="OpenPGP"):
        openpgp.fingerprint(base64.b64encode(b"nothing of the kind"))
