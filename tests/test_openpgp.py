"""Keys against gpg's own answers."""

import base64
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys import openpgp


@pytest.fixture(scope="module", params=["rsa2048", "ed25519"])
def gpg_key(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, bytes, str]:
    """A new key as gpg sees it: armoured, binary, fingerprint."""
    home = tmp_path_factory.mktemp("gnupg")
    home.chmod(0o700)

    def gpg(*arguments: str) -> bytes:
        return subprocess.run(
            ["gpg", "--homedir", str(home), "--batch", "--passphrase", "", *arguments],
            check=True,
            capture_output=True,
        ).stdout

    gpg("--quick-generate-key", "test", request.param, "sign", "never")
    listing = gpg("--with-colons", "--fingerprint").decode()
    fingerprint = next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr"))
    return gpg("--armor", "--export").decode(), gpg("--export"), fingerprint


def test_dearmor_and_fingerprint_agree_with_gpg(gpg_key: tuple[str, bytes, str]) -> None:
    armoured, binary, fingerprint = gpg_key
    assert openpgp.dearmor(armoured) == binary
    assert openpgp.fingerprint(binary) == fingerprint


def test_new_packet_format_is_read_too(gpg_key: tuple[str, bytes, str]) -> None:
    _, binary, fingerprint = gpg_key
    tag, body = openpgp._first_packet(binary)
    as_new_format = bytes([0xC0 | tag, 255]) + len(body).to_bytes(4) + body
    assert openpgp.fingerprint(as_new_format) == fingerprint


def test_a_truncated_key_is_refused(gpg_key: tuple[str, bytes, str]) -> None:
    _, binary, _ = gpg_key
    with pytest.raises(ValueError, match="truncated"):
        openpgp.fingerprint(binary[:20])


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
