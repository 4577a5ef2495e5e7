"""Routes on the machine that docker runs on, while hosts exist.

Blackholes for the clusters' subnets: without them, packets to an unused pod or Service address follow the
machine's default route and leave it, so that a closed Service port looks open.
And a route from each cluster's ``service_load_balancer_cidr`` to one of its nodes, as a user's router has.
"""

from collections.abc import Mapping

from tests.lab.docker import docker

SUBNETS = ("10.244.0.0/16", "10.96.0.0/12")
"""kubeadm's usual pod subnet and its default service subnet."""

# The protocol number marks the lab's routes in the kernel, so that no other record is needed.
_PROTOCOL = 213
# The route with the lower metric wins, so a user's own route to the same subnet takes precedence.
_METRIC = 2130000000


def add(*, image: str) -> None:
    """Add the blackholes that are missing."""
    _ip(image=image, commands=[f"route replace blackhole {subnet} {_mark()}" for subnet in SUBNETS])


def lead(*, image: str, ranges: Mapping[str, str]) -> None:
    """Add or replace a route for each range, to the address of its node."""
    _ip(
        image=image,
        commands=[f"route replace {subnet} via {node} {_mark()}" for subnet, node in ranges.items()],
    )


def remove_led(*, image: str, ranges: Mapping[str, str]) -> None:
    """Remove the routes that ``lead`` added."""
    _ip(image=image, commands=[f"route flush exact {subnet} proto {_PROTOCOL}" for subnet in ranges])


def remove(*, image: str) -> None:
    """Remove the lab's routes only."""
    _ip(image=image, commands=[f"route flush proto {_PROTOCOL}"])


def _mark() -> str:
    return f"proto {_PROTOCOL} metric {_METRIC}"


def _ip(*, image: str, commands: list[str]) -> None:
    """Run ip in a container with the machine's network: needs no root, and works with a remote docker."""
    docker(
        *("run", "--rm", "--interactive", "--network=host", "--cap-add=NET_ADMIN", "--entrypoint=ip", image),
        *("-batch", "-"),
        input="\n".join(commands),
    )
