"""A client of the API that reads and writes all the time, and keeps count of what was acknowledged."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.e2e.clients import client
from tests.e2e.conftest import Cluster
from tests.lab.docker import docker

AGNHOST = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"
_SECONDS = 60
"""In which a client must have come back: more than etcd and every health check need together."""

# A new key for each write, so that each one that was acknowledged can be looked for afterwards.
_SCRIPT = """
ca=$(mktemp)
printf %s "$CA" | base64 -d > "$ca"
ask() { curl --silent --fail --max-time 5 --cacert "$ca" --header "Authorization: Bearer $TOKEN" $RESOLVE "$@" "$URL"; }
n=0
while :; do
  n=$((n + 1))
  if ask --output /dev/null --request PATCH --header 'Content-Type: application/merge-patch+json' \
      --data "{\\"data\\": {\\"$n\\": \\"\\"}}"; then
    echo "wrote $n"
    if ask | grep -q "\\"$n\\":"; then echo "read $(date +%s.%N)"; fi
  fi
  sleep 0.1
done
"""


@dataclass(frozen=True)
class Writer:
    """A client that runs; ``lines`` is what it has printed so far."""

    name: str
    lines: Callable[[], list[str]]

    def acknowledged(self) -> set[str]:
        """The keys of the writes that the API acknowledged."""
        return {value for kind, value in self._events() if kind == "wrote"}

    def moments(self) -> list[float]:
        """When a write had been read again, in seconds since the epoch."""
        return [float(value) for kind, value in self._events() if kind == "read"]

    def works_on(self, *, times: int = 5) -> None:
        """Wait until it has written and read a number of times from now on."""
        since, deadline = time.time(), time.monotonic() + _SECONDS
        while sum(moment > since for moment in self.moments()) < times:
            assert time.monotonic() < deadline, f"{self.name} has not written again within {_SECONDS} s"
            time.sleep(0.5)

    def longest_gap(self, *, since: float) -> float:
        """The longest time in seconds without a write and its reading, from a moment on that it had worked until."""
        moments = [moment for moment in self.moments() if moment > since]
        return max(later - earlier for earlier, later in itertools.pairwise([since, *moments]))

    def _events(self) -> list[tuple[str, str]]:
        # The last line may not be whole yet.
        pairs = (line.split() for line in self.lines())
        return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def lost_writes(cluster: Cluster, writer: Writer) -> set[str]:
    """Writes that were acknowledged and are not there."""
    acknowledged = writer.acknowledged()
    found = json.loads(cluster.kubectl("get", "configmap", writer.name, "--output=json"))
    return acknowledged - set(found["data"])


@contextmanager
def outside(cluster: Cluster, *, name: str, network: str, address: str) -> Iterator[Writer]:
    """A client in a container that is no node, in one of docker's networks, which finds the API at ``address``."""
    environment = _prepare(cluster, name=name)
    endpoint = urlsplit(environment["URL"])
    resolve = f"--resolve {endpoint.hostname}:{endpoint.port}:{address}"
    with client(
        name=name, network=network, script=_SCRIPT, environment={**environment, "RESOLVE": resolve}
    ) as container:
        yield Writer(name=name, lines=lambda: docker("logs", container).splitlines())


@contextmanager
def in_a_pod(cluster: Cluster, *, name: str, node: str) -> Iterator[Writer]:
    """A client in a pod on a node's network, where the endpoint's name is known as the node knows it."""
    environment = _prepare(cluster, name=name)
    container = {
        "name": "writer",
        "image": AGNHOST,
        "command": ["sh", "-c", _SCRIPT],
        "env": [{"name": key, "value": value} for key, value in environment.items()],
    }
    spec = {
        "nodeName": node,
        "hostNetwork": True,
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    cluster.apply(pod)
    cluster.kubectl("wait", f"pod/{name}", "--for=condition=Ready", "--timeout=60s")
    try:
        yield Writer(name=name, lines=lambda: cluster.kubectl("logs", name).splitlines())
    finally:
        cluster.kubectl("delete", "pod", name, "--wait=false")


def _prepare(cluster: Cluster, *, name: str) -> dict[str, str]:
    """Make the object that the client writes to, and what it needs for that; gives its environment."""
    metadata = {"name": name, "namespace": "default"}
    subject = {"kind": "ServiceAccount", **metadata}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"}
    cluster.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata},
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "subjects": [subject],
            "roleRef": role,
        },
    )
    ca = cluster.shell(cluster.control_plane, "base64 -w 0 /etc/kubernetes/pki/ca.crt")
    return {
        "URL": f"https://api.{cluster.name}.internal:6443/api/v1/namespaces/default/configmaps/{name}",
        "CA": ca,
        "TOKEN": cluster.kubectl("create", "token", name, "--duration=2h"),
    }
