"""Containers that act as clients outside a cluster."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.lab import containers
from tests.lab.docker import docker
from tests.lab.layout import LABEL

_KIND = "client"
_NAME_LABEL = f"{LABEL}.{_KIND}"


@contextmanager
def client(*, name: str, network: str, script: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a shell script, which may use curl, in a container on a docker network; yield its ID.

    ``name`` must differ from those of other clusters' clients, which run beside it.
    """
    labels = {LABEL: _KIND, _NAME_LABEL: name}
    # A killed run may have left a client of the same name.
    containers.remove(labels=labels)
    (image, *_) = docker("image", "ls", "--quiet", f"{LABEL}/host").split()
    container = docker(
        *("run", "--detach", f"--network={network}", "--entrypoint=sh"),
        *(f"--label={key}={value}" for key, value in labels.items()),
        *(f"--env={key}={value}" for key, value in environment.items()),
        *(image, "-c", script),
    ).strip()
    try:
        yield container
    finally:
        containers.remove(labels=labels)
