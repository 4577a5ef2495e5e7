"""What the answers to all readings share."""

import base64

from tests.simulation.world import World

Lines = list[str]


class Answers:
    """A world whose machines answer."""

    def __init__(self, world: World) -> None:
        self.world = world


def encoded(text: str) -> str:
    return base64.b64encode(text.encode(errors="surrogateescape")).decode()


def authority_of(config: str) -> str:
    """Return the CA certificate of a kubeconfig in the file's encoding."""
    return encoded(config[config.index("-----BEGIN") :].strip() + "\n")


def image_in(text: str) -> str:
    """Return the image in a static pod's manifest, empty without one."""
    return text.rpartition("image: ")[2].partition("\n")[0]
