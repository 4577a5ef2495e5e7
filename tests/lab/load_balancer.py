"""haproxy in a container, as an external load balancer for a cluster's API servers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.lab import containers, layout
from tests.lab.docker import docker
from tests.lab.hetzner import docker_haproxy
from tests.lab.hetzner.docker_images import appliance_image
from tests.lab.layout import LABEL

KIND = "load-balancer"
_NAME = f"{LABEL}-{KIND}"
_PORT = 6443

# A failure is detected after two seconds, like with fast health checks of a cloud.
_SERVICE = {
    "protocol": "tcp",
    "listen_port": _PORT,
    "destination_port": _PORT,
    "proxyprotocol": False,
    "health_check": {
        "protocol": "http",
        "port": _PORT,
        "interval": 1,
        "timeout": 1,
        "retries": 2,
        "http": {"path": "/readyz", "tls": True, "status_codes": ["200"]},
    },
}


@contextmanager
def load_balancer(*, targets: Sequence[str]) -> Iterator[str]:
    """Run a load balancer for the API servers at these addresses; yield its address.

    Only one can run per machine: one that a killed run left behind is removed.
    """
    _remove()
    docker(
        *("create", f"--name={_NAME}", f"--network={layout.NETWORK}", f"--ip={layout.LOAD_BALANCER_ADDRESS}"),
        f"--label={LABEL}={KIND}",
        *("--entrypoint=load-balancer", appliance_image()),
    )
    try:
        configuration = docker_haproxy.configuration(services=[_SERVICE], targets=targets)
        containers.put(name=_NAME, files={docker_haproxy.CONFIGURATION_FILE: configuration})
        docker("start", _NAME)
        docker("exec", _NAME, "await-load-balancer")
        yield layout.LOAD_BALANCER_ADDRESS
    finally:
        _remove()


def _remove() -> None:
    containers.remove(labels={LABEL: KIND})
