"""Blackhole routes for the clusters' own subnets, on the machine that docker runs on, while hosts are up.

A packet for a pod or Service address that nobody owns would follow the machine's default route and leave it: a
closed Service port then looks open, and traffic goes where it must not.
"""

from tests.lab.docker import docker

SUBNETS = ("10.244.0.0/16", "10.96.0.0/12")
"""kubeadm's usual pod subnet and its default service subnet."""

# Routes carry the number of who made them: the kernel itself keeps the record of which are the lab's.
_PROTOCOL = 213
# Of two routes to the same subnet the one with the lower metric counts, so that a route of the user's always wins.
_METRIC = 2130000000


def add(*, image: str) -> None:
    """Have the routes; those that are there stay."""
    _ip(image=image, commands=[f"route replace blackhole {subnet} {_mark()}" for subnet in SUBNETS])


def remove(*, image: str) -> None:
    """Remove the lab's routes and no other."""
    _ip(image=image, commands=[f"route flush type blackhole proto {_PROTOCOL}"])


def _mark() -> str:
    return f"proto {_PROTOCOL} metric {_METRIC}"


def _ip(*, image: str, commands: list[str]) -> None:
    """Run ip in a container with the machine's network: needs no root here, and finds the machine of a remote docker."""
    docker(
        *("run", "--rm", "--interactive", "--network=host", "--cap-add=NET_ADMIN", "--entrypoint=ip", image),
        *("-batch", "-"),
        input="\n".join(commands),
    )
