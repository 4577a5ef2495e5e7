"""Routes on the machine that docker runs on, while hosts are up.

Blackholes for the clusters' own subnets: a packet for a pod or Service address that nobody owns would follow the
machine's default route and leave it: a closed Service port then looks open, and traffic goes where it must not.
And the route of each cluster's ``load_balancer_range`` to a node of it, which is the work of a user's router.
"""

from collections.abc import Mapping

from tests.lab.docker import docker

SUBNETS = ("10.244.0.0/16", "10.96.0.0/12")
"""kubeadm's usual pod subnet and its default service subnet."""

# Routes carry the number of who made them: the kernel itself keeps the record of which are the lab's.
_PROTOCOL = 213
# Of two routes to the same subnet the one with the lower metric counts, so that a route of the user's always wins.
_METRIC = 2130000000


def add(*, image: str) -> None:
    """Have the blackholes; those that are there stay."""
    _ip(image=image, commands=[f"route replace blackhole {subnet} {_mark()}" for subnet in SUBNETS])


def lead(*, image: str, ranges: Mapping[str, str]) -> None:
    """Have a route for each range, to the address of the node that it is mapped to."""
    _ip(
        image=image,
        commands=[f"route replace {subnet} via {node} {_mark()}" for subnet, node in ranges.items()],
    )


def remove_led(*, image: str, ranges: Mapping[str, str]) -> None:
    """Remove what ``lead`` made."""
    _ip(image=image, commands=[f"route flush exact {subnet} proto {_PROTOCOL}" for subnet in ranges])


def remove(*, image: str) -> None:
    """Remove the lab's routes and no other."""
    _ip(image=image, commands=[f"route flush proto {_PROTOCOL}"])


def _mark() -> str:
    return f"proto {_PROTOCOL} metric {_METRIC}"


def _ip(*, image: str, commands: list[str]) -> None:
    """Run ip in a container with the machine's network: needs no root here, and finds the machine of a remote docker."""
    docker(
        *("run", "--rm", "--interactive", "--network=host", "--cap-add=NET_ADMIN", "--entrypoint=ip", image),
        *("-batch", "-"),
        input="\n".join(commands),
    )
