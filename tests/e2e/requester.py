"""A web application with replicas on several workers, and a client that requests it all the time."""

import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.e2e.clients import client
from tests.e2e.conftest import Cluster
from tests.e2e.writer import AGNHOST
from tests.lab import layout
from tests.lab.docker import docker

APPLICATION = "web"
REPLICAS = 2

_SECONDS = 120

# One process makes all requests, ten per second, each with a connection of its own. It prints what the pod answers, the
# exit code that curl would have, and its error.
_SCRIPT = """
exec curl --silent --no-buffer --fail --max-time 5 --rate 10/s --header 'Connection: close' \\
  --write-out ' %{exitcode} %{errormsg}\\n' "$URL?[1-1000000000]"
"""

_ANSWERED = re.compile(r"\S+ 0 *")


@dataclass(frozen=True)
class Requester:
    """A running client; ``lines`` returns its output so far, one line per request."""

    lines: Callable[[], list[str]]

    def failures(self) -> list[str]:
        """Return the lines of failed requests after the first answer: before it, the Service may be new."""
        lines = itertools.dropwhile(lambda line: not _ANSWERED.fullmatch(line), self.lines())
        return [line for line in lines if not _ANSWERED.fullmatch(line)]

    def works_on(self, *, times: int = 10) -> None:
        """Wait until this many more requests have been answered."""
        before, deadline = self._answered(), time.monotonic() + _SECONDS
        while self._answered() < before + times:
            assert time.monotonic() < deadline, (
                f"not {times} answers within {_SECONDS} s: {self.lines()[-1:]}"
            )
            time.sleep(0.5)

    def _answered(self) -> int:
        return sum(bool(_ANSWERED.fullmatch(line)) for line in self.lines())


def deploy(cluster: Cluster) -> None:
    """Run the application; a pod that is terminated still answers until no traffic is sent to it any more."""
    labels = {"app": APPLICATION}
    container = {
        "name": APPLICATION,
        "image": AGNHOST,
        "args": ["netexec"],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": 10}}},
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    cluster.apply(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": APPLICATION, "namespace": "default"},
            "spec": {"replicas": REPLICAS, "selector": {"matchLabels": labels}, "template": template},
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": APPLICATION, "namespace": "default"},
            "spec": {"type": "NodePort", "selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
    )
    cluster.kubectl("rollout", "status", f"deployment/{APPLICATION}", "--timeout=120s")


def demand(cluster: Cluster, *, available: int) -> None:
    """Set the application's PodDisruptionBudget."""
    cluster.apply(
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": APPLICATION, "namespace": "default"},
            "spec": {"minAvailable": available, "selector": {"matchLabels": {"app": APPLICATION}}},
        }
    )


@contextmanager
def requester(cluster: Cluster, *, through: str) -> Iterator[Requester]:
    """Request the application all the time through the NodePort of a host."""
    port = cluster.kubectl("get", "service", APPLICATION, "--output=jsonpath={.spec.ports[0].nodePort}")
    address = next(host.address for host in cluster.hosts if host.name == through)
    environment = {"URL": f"http://{address}:{port}/hostname"}
    with client(
        name=f"{cluster.name}-requester", network=layout.NETWORK, script=_SCRIPT, environment=environment
    ) as container:
        # The last line may be incomplete.
        yield Requester(lines=lambda: docker("logs", container).rpartition("\n")[0].splitlines())
