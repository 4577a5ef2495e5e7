"""Signed apt repositories in the flat layout that pkgs.k8s.io has, and the key that signs them."""

import gzip
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.lab import layout
from tests.lab.mirror.commands import run

_IDENTITY = "kubeadm-deploys lab <lab@kubeadm-deploys.invalid>"


def publish(*, folder: Path, packages: Iterable[Path]) -> None:
    """Make `folder` a flat repository of `packages`: `deb [signed-by=KEY] URL/ /`, its key at `URL/Release.key`.

    The packages lie in one folder per architecture, as on pkgs.k8s.io.
    """
    for package in sorted(packages):
        architecture = run("dpkg-deb", "--field", str(package), "Architecture").strip()
        (folder / architecture).mkdir(parents=True, exist_ok=True)
        shutil.copy(package, folder / architecture / package.name)
    index = run("apt-ftparchive", "packages", ".", cwd=folder).replace("\nFilename: ./", "\nFilename: ")
    (folder / "Packages").write_text(index)
    (folder / "Packages.gz").write_bytes(gzip.compress(index.encode(), mtime=0))
    # apt-ftparchive would list an existing Release in the new one, with the wrong checksum.
    (folder / "Release").unlink(missing_ok=True)
    release = run(
        "apt-ftparchive",
        "-o",
        "APT::FTPArchive::Release::Origin=kubeadm-deploys lab",
        "release",
        ".",
        cwd=folder,
    )
    (folder / "Release").write_text(release)
    _sign(folder)
    (folder / "Release.key").write_text(public_key())


def public_key() -> str:
    """The lab's public key, armoured."""
    with _keyring() as gpg:
        return run(*gpg, "--armor", "--export")


@cache
def key_fingerprint() -> str:
    """Fingerprint of the lab's key: 40 hexadecimal digits, as gpg prints it without blanks."""
    with _keyring() as gpg:
        listed = run(*gpg, "--with-colons", "--list-keys")
    return next(line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:"))


def _sign(folder: Path) -> None:
    with _keyring() as gpg:
        run(*gpg, "--yes", "--clearsign", "--output", "InRelease", "Release", cwd=folder)
        run(*gpg, "--yes", "--armor", "--detach-sign", "--output", "Release.gpg", "Release", cwd=folder)


@contextmanager
def _keyring() -> Iterator[tuple[str, ...]]:
    """The gpg command with the lab's key in a keyring of its own, gone with its agent afterwards.

    The key is kept as one exported file and not as a GnuPG home: an agent's socket path may have 107 bytes,
    which a cache folder can exceed, and an agent would stay behind.
    """
    key = layout.cache_folder() / "mirror" / "apt-key.asc"
    with tempfile.TemporaryDirectory(prefix="gnupg-") as home:
        gpg = (
            "gpg",
            "--homedir",
            home,
            "--batch",
            "--quiet",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "",
        )
        try:
            if not key.exists():
                _make_key(gpg=gpg, key=key)
            else:
                run(*gpg, "--import", str(key))
            yield gpg
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False, capture_output=True)


def _make_key(*, gpg: tuple[str, ...], key: Path) -> None:
    """Make the key once; clients that trust it must go on trusting what is published later."""
    run(*gpg, "--quick-generate-key", _IDENTITY, "rsa3072", "sign", "never")
    key.parent.mkdir(parents=True, exist_ok=True)
    partial = key.with_suffix(".partial")
    partial.touch(mode=0o600)
    partial.write_text(run(*gpg, "--armor", "--export-secret-keys"))
    partial.rename(key)
