"""The key of the Kubernetes apt repository: only the pinned one gets into the keyring, and nothing else.

The keys are created with gpg, and gpgv shows what apt would accept.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kubeadm_deploys.documents.apt_key import pinned_key
from kubeadm_deploys.facts.downloads import DownloadsState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.model.findings import Finding
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.preflight.download_checks import download_findings
from kubeadm_deploys.preflight.machine_checks import CandidateNode
from kubeadm_deploys.sections.kube_packages import KubePackagesState, key_is_right
from tests.support.gpg_keys import GpgKey, apt_accepts, new_key

MADE = datetime(2022, 1, 1, tzinfo=UTC)
EXPIRED = datetime(2023, 1, 1, tzinfo=UTC)
RENEWED = datetime(2022, 12, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module", params=["rsa2048", "ed25519"])
def key(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpgKey]:
    """A key from 2022 that never expires."""
    with new_key(tmp_path_factory.mktemp("gnupg"), kind=request.param, made=MADE) as made:
        yield made


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GpgKey]:
    """Another key with a subkey, whose owner can put files on the mirror."""
    with new_key(tmp_path_factory.mktemp("stranger"), made=MADE) as made:
        yield made.with_subkey()


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[GpgKey]:
    with new_key(tmp_path / "gnupg", made=MADE, valid="1y") as made:
        yield made


def accepted(data: bytes, key: GpgKey, *, now: datetime = NOW) -> bytes:
    return pinned_key(data, fingerprint=key.fingerprint, now=now)


def refusal(data: bytes, key: GpgKey, *, now: datetime = NOW) -> str:
    with pytest.raises(ValueError) as refused:
        accepted(data, key, now=now)
    # pysequoia's errors contain a stack backtrace.
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_the_pinned_key_is_accepted_armoured_or_binary_and_apt_can_use_it(
    key: GpgKey, stranger: GpgKey, tmp_path: Path
) -> None:
    assert accepted(key.armoured.encode(), key) == accepted(key.binary, key)
    keyring = accepted(key.armoured.encode(), key)
    assert apt_accepts(keyring, signature=key.signature(b"Release"), data=b"Release", folder=tmp_path)
    theirs = stranger.signature(b"Release")
    assert not apt_accepts(keyring, signature=theirs, data=b"Release", folder=tmp_path)


def test_a_second_primary_key_is_refused_in_any_position(
    key: GpgKey, stranger: GpgKey, tmp_path: Path
) -> None:
    both = key.binary + stranger.binary
    # apt would accept what is refused here.
    assert apt_accepts(both, signature=stranger.signature(b"x"), data=b"x", folder=tmp_path)
    for data in (both, (key.armoured + stranger.armoured).encode()):
        assert refusal(data, key) == (
            f"is one of 2 primary keys in the same file ({key.fingerprint}, {stranger.fingerprint}), "
            f"but only {key.fingerprint} is accepted"
        )
    for data in (stranger.binary + key.binary, (stranger.armoured + key.armoured).encode()):
        assert f"({stranger.fingerprint}, {key.fingerprint})" in refusal(data, key)


def test_another_key_is_refused(key: GpgKey, stranger: GpgKey) -> None:
    assert refusal(stranger.binary, key) == (
        f"has the fingerprint {stranger.fingerprint}, expected {key.fingerprint}"
    )


def test_subkeys_of_the_pinned_key_are_accepted(tmp_path: Path) -> None:
    with new_key(tmp_path / "gnupg") as made:
        key = made.with_subkey()
        keyring = accepted(key.armoured.encode(), key, now=datetime.now(UTC))
        (subkey,) = key.subkeys
        with pytest.raises(ValueError, match=f"has the fingerprint {key.fingerprint}, expected {subkey}"):
            pinned_key(key.binary, fingerprint=subkey, now=NOW)
        signature = key.signature(b"Release", by=subkey)
        assert apt_accepts(keyring, signature=signature, data=b"Release", folder=tmp_path)


def test_surrounding_text_and_private_keys_do_not_reach_the_keyring(key: GpgKey) -> None:
    keyring = accepted(key.binary, key)
    assert accepted(f"served by mirror\n{key.armoured}<!-- mirror -->".encode(), key) == keyring
    assert accepted(key.private(), key) == keyring


def test_apt_does_not_accept_a_subkey_that_the_pinned_key_has_not_signed(
    key: GpgKey, stranger: GpgKey, tmp_path: Path
) -> None:
    # gpg writes primary key, user ID, signature, subkey and its signature, which is the stranger's.
    subkey = stranger.binary[_primary_length(stranger) :]
    (fingerprint,) = stranger.subkeys
    signature = stranger.signature(b"Release", by=fingerprint)
    assert apt_accepts(stranger.binary, signature=signature, data=b"Release", folder=tmp_path)
    keyring = accepted(key.binary + subkey, key)
    assert not apt_accepts(keyring, signature=signature, data=b"Release", folder=tmp_path)


def _primary_length(key: GpgKey) -> int:
    """Return the bytes before the first subkey, whose packet starts with tag 14 and a one-octet length."""
    return key.binary.index(bytes([0x80 | 14 << 2, 51, 4]))


def test_an_expired_key_is_refused_until_it_is_renewed(expired: GpgKey) -> None:
    assert expired.expiry == EXPIRED
    assert refusal(expired.binary, expired, now=EXPIRED) == "expired on 2023-01-01"
    assert accepted(expired.binary, expired, now=EXPIRED - timedelta(seconds=1))
    renewed = expired.renewed(at=RENEWED, valid="1y")
    assert accepted(renewed.binary, expired, now=EXPIRED)
    assert refusal(renewed.binary, expired) == "expired on 2023-12-01"
    endless = expired.renewed(at=RENEWED + timedelta(days=1), valid="never")
    assert accepted(endless.binary, expired)


def test_a_revoked_key_is_refused(tmp_path: Path) -> None:
    with new_key(tmp_path / "gnupg") as key:
        assert refusal(key.revoked().binary, key) == "was revoked"


def test_a_key_with_only_a_sha1_signature_is_refused_with_the_reason(tmp_path: Path) -> None:
    with new_key(tmp_path / "gnupg", kind="rsa2048", digest="SHA1") as key:
        assert "SHA1 is not considered secure" in refusal(key.binary, key)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>404</html>",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!!!\n-----END PGP PUBLIC KEY BLOCK-----",
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n",
        "Schlüssel".encode(),
    ],
)
def test_data_that_is_not_a_key_is_refused(data: bytes, key: GpgKey) -> None:
    assert refusal(data, key).startswith("is not an OpenPGP public key (")


def test_a_damaged_key_only_raises_a_value_error(key: GpgKey) -> None:
    cut = [key.binary[:length] for length in range(len(key.binary))]
    changed = [key.binary[:place] + b"\xff" + key.binary[place + 1 :] for place in range(len(key.binary))]
    for data in (*cut, *changed):
        try:
            accepted(data, key)
        except ValueError:
            continue


# What preflight reports, and which keyrings on a machine are accepted.


def options(key: GpgKey) -> ClusterOptions:
    return ClusterOptions(kubernetes_apt_key_fingerprint=key.fingerprint)


def findings(published: str, options: ClusterOptions) -> list[Finding]:
    candidate = CandidateNode(
        node=Node(host="worker-1", name="worker-1", address="10.0.0.3", ip="10.0.0.3"),
        control_plane=False,
        state=NodeState.ABSENT,
        kubeadm=KubeadmNodeState(),
        machine=MachineState(),
        downloads=DownloadsState(published_key=published),
    )
    return list(download_findings(candidate, options=options))


def is_right(keyring: bytes, key: GpgKey) -> bool:
    return key_is_right(found=KubePackagesState(keyring=keyring), options=options(key))


def test_an_expired_key_stops_the_run_and_a_renewed_one_does_not(expired: GpgKey) -> None:
    (finding,) = findings(expired.armoured, options(expired))
    assert finding.check == "apt-key"
    assert finding.found == "gets a key of the apt repository that expired on 2023-01-01"
    assert "\n" not in finding.sentence
    renewed = expired.renewed(at=RENEWED, valid="never")
    assert findings(renewed.armoured, options(expired)) == []


def test_another_key_and_a_second_one_stop_the_run(key: GpgKey, stranger: GpgKey) -> None:
    (another,) = findings(stranger.armoured, options(key))
    (second,) = findings(key.armoured + stranger.armoured, options(key))
    for finding in (another, second):
        assert key.fingerprint in finding.found and stranger.fingerprint in finding.found


def test_data_that_is_not_a_key_stops_the_run(key: GpgKey) -> None:
    (finding,) = findings("<html>moved</html>", options(key))
    assert finding.found == (
        "gets a key of the apt repository that is not an OpenPGP public key (unexpected EOF)"
    )


def test_an_expired_key_on_a_machine_is_fetched_again(expired: GpgKey) -> None:
    assert not is_right(expired.binary, expired)
    assert is_right(expired.renewed(at=RENEWED, valid="never").binary, expired)


def test_a_keyring_with_a_second_key_is_replaced(key: GpgKey, stranger: GpgKey) -> None:
    assert is_right(key.binary, key)
    assert not is_right(key.binary + stranger.binary, key)
    assert not is_right(b"", key)


def test_a_key_can_be_read_in_a_greenlet(key: GpgKey, tmp_path: Path) -> None:
    """pyinfra's deploys run in greenlets, where a library that walks its stack crashes the process."""
    path = tmp_path / "key"
    path.write_bytes(key.armoured.encode())
    script = f"""
import gevent
from datetime import UTC, datetime
from pathlib import Path
from kubeadm_deploys.documents.apt_key import pinned_key
data = Path({str(path)!r}).read_bytes()
def read():
    # After a switch, the stack below this greenlet belongs to another one.
    gevent.sleep(0.01)
    return pinned_key(data, fingerprint={key.fingerprint!r}, now=datetime(2026, 6, 1, tzinfo=UTC))
reading = gevent.spawn(read)
gevent.joinall([reading, gevent.spawn(gevent.sleep, 0.05)])
print(len(reading.value))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "RUST_BACKTRACE": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, int(done.stdout)) == (
        0,
        len(pinned_key(key.armoured.encode(), fingerprint=key.fingerprint, now=NOW)),
    )


def test_a_refused_key_prints_no_traceback(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="is not an OpenPGP public key"):
        pinned_key(b"", fingerprint="A" * 40, now=NOW)
    assert capfd.readouterr() == ("", "")
