"""Images of servers, and of the appliance with load balancer and firewall."""

import functools
import threading
from pathlib import Path

from tests.lab import mirror
from tests.lab.hetzner.backend import BackendError
from tests.lab.images import Recipe, have, host_image
from tests.lab.mirror import apt

DEBIAN = {"debian-12": 12, "debian-13": 13}
"""Debian releases by the names of Hetzner's images."""

_RECIPES = Path(__file__).parent / "image"
_building = threading.Lock()


def server_image(*, name: str) -> str:
    """Return the tag of the image for Hetzner's image `name`; build it if it is missing."""
    if name not in DEBIAN:
        raise BackendError(f"image {name!r} does not run in docker: use {' or '.join(DEBIAN)}")
    with _building:
        return _server_image(debian=DEBIAN[name])


def appliance_image() -> str:
    """Return the tag of the image with haproxy and nftables; build it if it is missing."""
    with _building:
        return have(Recipe(kind="appliance", debian=13, folder=_RECIPES / "appliance"))


@functools.cache
def _server_image(*, debian: int) -> str:
    # Based on the host image without a mirror key: the mirror has neither sshd nor cloud-init.
    recipe = Recipe(
        kind="server",
        debian=debian,
        folder=_RECIPES / "server",
        base=host_image(debian=debian),
        mirror_key=apt.public_key() if mirror.settings() else None,
    )
    return have(recipe)
