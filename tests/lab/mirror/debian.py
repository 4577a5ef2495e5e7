"""The part of Debian that clusters need, for hosts that reach no Debian mirror."""

import re
import tempfile
from pathlib import Path

from tests.lab.docker import docker
from tests.lab.images import CODENAMES, base_image
from tests.lab.layout import LABEL
from tests.lab.mirror import apt

PACKAGES = (
    *("conntrack", "ebtables", "ethtool", "ipset", "iptables", "nftables", "socat"),
    *("curl", "gpg", "rsync", "wget"),
    *("haproxy", "openssh-server"),
)
"""What Kubernetes and these deploys install; what they depend on and recommend comes along."""


def build(folder: Path) -> None:
    """Publish the packages of every release in a flat repository each: `folder`/bookworm, `folder`/trixie.

    A package that a base image has already is left out unless it has to be upgraded; apt in a container of that image
    decides, because it knows best.
    """
    for debian, codename in CODENAMES.items():
        with tempfile.TemporaryDirectory(prefix="debs-") as archives:
            _download(image=base_image(debian=debian), archives=Path(archives))
            apt.publish(folder=folder / codename, packages=Path(archives).rglob("*.deb"))


def _download(*, image: str, archives: Path) -> None:
    # Where Docker Hub's image forgets what apt downloads, it does so after an installation only.
    script = f"apt-get -q update && apt-get -q install --yes --download-only {' '.join(PACKAGES)}"
    # The machine's own network: docker's may not reach the machine's apt source.
    container = docker(
        *("create", "--network=host", f"--label={LABEL}=mirror", "--entrypoint=sh", image, "-c", script)
    ).strip()
    try:
        docker("start", "--attach", container)
        docker("cp", f"{container}:/var/cache/apt/archives", str(archives))
        for package in archives.rglob("*%3a*.deb"):
            # apt keeps the epoch in the name, with an escaped colon that it would not find again on a server.
            package.rename(package.with_name(re.sub(r"_\d+%3a", "_", package.name)))
    finally:
        docker("rm", "--force", container)
