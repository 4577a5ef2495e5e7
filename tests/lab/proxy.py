"""tinyproxy in a container, as the only way out for machines behind a firewall."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.lab import containers, layout
from tests.lab.docker import docker, ensure_network
from tests.lab.images import Recipe, have
from tests.lab.layout import LABEL

KIND = "proxy"
PORT = 3128
MIRROR_NAME = "mirror.outside.test"
"""A name of the lab's mirror that only the proxy can resolve."""

_NAME = f"{LABEL}-{KIND}"


@contextmanager
def forward_proxy(*, user: str, password: str) -> Iterator[str]:
    """Run a proxy for this user; yield its host and port.

    Only one can run per machine: one that a killed run left behind is removed.
    """
    containers.remove(labels={LABEL: KIND})
    ensure_network()
    image = have(Recipe(kind="forward-proxy", debian=13, folder=Path(__file__).parent / "forward_proxy"))
    docker(
        *("create", f"--name={_NAME}", f"--network={layout.NETWORK}", f"--ip={layout.PROXY_ADDRESS}"),
        *(f"--label={LABEL}={KIND}", f"--add-host={MIRROR_NAME}:{layout.MIRROR_ADDRESS}"),
        *("--entrypoint=tinyproxy", image, "-d", "-c", "/root/tinyproxy.conf"),
    )
    configuration = (
        f"Port {PORT}\nTimeout 600\nMaxClients 100\nLogLevel Connect\nBasicAuth {user} {password}\n"
    )
    containers.put(name=_NAME, files={"/root/tinyproxy.conf": configuration})
    try:
        docker("start", _NAME)
        yield f"{layout.PROXY_ADDRESS}:{PORT}"
    finally:
        containers.remove(labels={LABEL: KIND})
