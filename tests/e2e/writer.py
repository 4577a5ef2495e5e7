"""An API client that reads and writes all the time, and records which writes were acknowledged."""

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
_SECONDS = 120
"""Time within which a client must work again: more than etcd and every health check need together."""

# Each write has a new key, so that every acknowledged write can be checked afterwards. One process makes both
# requests, each with a connection of its own; it makes the second one only if the API has acknowledged the write.
_SCRIPT = """
ca=$(mktemp)
printf %s "$CA" | base64 -d > "$ca"
set -- --silent --fail --max-time 5 --cacert "$ca" --header "Authorization: Bearer $TOKEN" $RESOLVE \\
  --http1.1 --header 'Connection: close'
n=0
while :; do
  n=$((n + 1))
  seen=$(curl --fail-early "$@" --output /dev/null --write-out '%{exitcode}\\n' --request PATCH \\
    --header 'Content-Type: application/merge-patch+json' --data "{\\"data\\": {\\"$n\\": \\"\\"}}" "$URL" --next "$@" "$URL")
  case $seen in 0*)
    echo "wrote $n"
    case $seen in *"\\"$n\\":"*) echo "read $(date +%s.%N)" ;; esac ;;
  esac
  sleep 0.1
done
"""


@dataclass(frozen=True)
class Writer:
    """A running client; ``lines`` returns its output so far."""

    name: str
    lines: Callable[[], list[str]]

    def acknowledged(self) -> set[str]:
        """Return the keys of the writes that the API acknowledged."""
        return {value for kind, value in self._events() if kind == "wrote"}

    def moments(self) -> list[float]:
        """Return when writes were read back, in seconds since the epoch."""
        return [float(value) for kind, value in self._events() if kind == "read"]

    def works_on(self, *, times: int = 5) -> None:
        """Wait until the client has written and read this many more times."""
        since, deadline = time.time(), time.monotonic() + _SECONDS
        while sum(moment > since for moment in self.moments()) < times:
            assert time.monotonic() < deadline, f"{self.name} has not written again within {_SECONDS} s"
            time.sleep(0.5)

    def longest_gap(self, *, since: float) -> float:
        """Return the longest time in seconds, from ``since`` on, without a write that was read back."""
        moments = [moment for moment in self.moments() if moment > since]
        return max(later - earlier for earlier, later in itertools.pairwise([since, *moments]))

    def _events(self) -> list[tuple[str, str]]:
        # The last line may be incomplete.
        pairs = (line.split() for line in self.lines())
        return [(pair[0], pair[1]) for pair in pairs if len(pair) == 2]


def lost_writes(cluster: Cluster, writer: Writer) -> set[str]:
    """Return the acknowledged writes that are missing in the API."""
    acknowledged = writer.acknowledged()
    config_map = json.loads(cluster.kubectl("get", "configmap", writer.name, "--output=json"))
    return acknowledged - set(config_map["data"])


@contextmanager
def outside(cluster: Cluster, *, name: str, network: str, address: str) -> Iterator[Writer]:
    """Run a client in a container that is not a node; it reaches the API at ``address``."""
    environment = _prepare(cluster, name=name)
    endpoint = urlsplit(environment["URL"])
    resolve = f"--resolve {endpoint.hostname}:{endpoint.port}:{address}"
    with client(
        name=f"{cluster.name}-{name}",
        network=network,
        script=_SCRIPT,
        environment={**environment, "RESOLVE": resolve},
    ) as container:
        yield Writer(name=name, lines=lambda: docker("logs", container).splitlines())


@contextmanager
def in_a_pod(cluster: Cluster, *, name: str, node: str) -> Iterator[Writer]:
    """Run a client in a pod on a node's network, which resolves the endpoint's name as the node does."""
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
    """Create the object that the client writes to, and its permissions; return the client's environment."""
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
