"""Images of rented servers, and of what stands around them."""

import functools
import threading
from pathlib import Path

from tests.lab import mirror
from tests.lab.hetzner.backend import BackendError
from tests.lab.images import Recipe, have, host_image
from tests.lab.mirror import apt

DEBIAN = {"debian-12": 12, "debian-13": 13}
"""Releases by the names that Hetzner gives its images."""

_RECIPES = Path(__file__).parent / "image"
_building = threading.Lock()


def server_image(*, name: str) -> str:
    """Tag of the image for Hetzner's image `name`, made if it is not there."""
    if name not in DEBIAN:
        raise BackendError(f"image {name!r} does not run in docker: use {' or '.join(DEBIAN)}")
    with _building:
        return _server_image(debian=DEBIAN[name])


def appliance_image() -> str:
    """Tag of the image with haproxy and nftables, made if it is not there."""
    with _building:
        return have(Recipe(kind="appliance", debian=13, folder=_RECIPES / "appliance"))


@functools.cache
def _server_image(*, debian: int) -> str:
    # On a host that still installs from the machine's apt source: the mirror has neither sshd nor cloud-init.
    recipe = Recipe(
        kind="server",
        debian=debian,
        folder=_RECIPES / "server",
        base=host_image(debian=debian),
        mirror_key=apt.public_key() if mirror.settings() else None,
    )
    return have(recipe)
