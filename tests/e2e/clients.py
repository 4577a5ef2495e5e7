"""Containers that are clients from outside a cluster."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.lab import containers
from tests.lab.docker import docker
from tests.lab.layout import LABEL

_KIND = "client"
_NAME_LABEL = f"{LABEL}.{_KIND}"


@contextmanager
def client(*, name: str, network: str, script: str, environment: Mapping[str, str]) -> Iterator[str]:
    """Run a shell script, which has curl, in a container of one of docker's networks for a while; gives its id."""
    labels = {LABEL: _KIND, _NAME_LABEL: name}
    # One of the same name may be left of a run that was killed.
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
