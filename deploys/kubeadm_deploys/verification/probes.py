"""One connection from one pod, made by agnhost inside it.

agnhost's server dials on request and says what came back (``dial``); its command ``connect`` says why a
connection failed. Both are asked through the API server, so no tool is needed in the pod or beside it.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from kubeadm_deploys.verification.cluster import Cluster
from kubeadm_deploys.verification.waiting import eventually

CONNECT_TIMEOUT = 2
"""Seconds after which a connection counts as impossible."""

SHORTEST_WAIT = 5.0

TRIES = 3
"""Connections of which every one must succeed: a path that loses some is not in order."""

_REFUSALS = ("TIMEOUT", "REFUSED", "DNS", "OTHER", "UNKNOWN")


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod of the suites on one node. ``ip`` is the node's own address for a pod on the host network."""

    namespace: str
    name: str
    node: str
    ip: str
    http_port: int
    udp_port: int
    settled_by: float

    @property
    def settling_time(self) -> float:
        """Seconds to wait for a connection: long while the pod is new, short once all should be in place.

        On a broken network hardly any test passes, and a full wait in each would take the whole hour.
        """
        return max(SHORTEST_WAIT, self.settled_by - time.monotonic())


@dataclass(frozen=True, kw_only=True)
class Dialled:
    """What came back from a number of connections."""

    responses: Sequence[str]
    errors: Sequence[str]


def dial(
    cluster: Cluster,
    source: Pod,
    *,
    host: str,
    port: int,
    request: str,
    protocol: str = "http",
    tries: int = 1,
) -> Dialled:
    """Let a pod open connections of its own to a host, each with one request."""
    query = urlencode(
        {"host": host, "port": port, "request": request, "protocol": protocol, "tries": tries},
        quote_via=quote,
    )
    pod = f"/api/v1/namespaces/{source.namespace}/pods/{source.name}:{source.http_port}"
    answer = cluster.kubectl("get", f"--raw={pod}/proxy/dial?{query}")
    if answer.status != 0:
        return Dialled(responses=(), errors=(answer.stderr,))
    result = json.loads(answer.stdout)
    return Dialled(responses=result.get("responses", ()), errors=result.get("errors", ()))


def responses(
    cluster: Cluster,
    source: Pod,
    *,
    host: str,
    port: int,
    request: str,
    protocol: str = "http",
    tries: int = TRIES,
    timeout: float | None = None,
) -> list[str]:
    """Let a pod dial until each of a number of connections is answered, and give what came back."""

    def problem(dialled: Dialled) -> str:
        if len(dialled.responses) == tries:
            return ""
        return (
            f"{len(dialled.responses)} of {tries} connections from {source.name} on {source.node} to "
            f"{protocol} {host}:{port} were answered: {'; '.join(dict.fromkeys(dialled.errors))}"
        )

    dialled = eventually(
        lambda: dial(cluster, source, host=host, port=port, request=request, protocol=protocol, tries=tries),
        problem=problem,
        timeout=source.settling_time if timeout is None else timeout,
    )
    return list(dialled.responses)


def refusal(cluster: Cluster, source: Pod, *, target: str) -> str:
    """Open a TCP connection from a pod to ``host:port`` and give agnhost's word for why it failed, or "".

    Anything but agnhost's own verdict (the pod is gone, its node does not answer) is a failure of the
    check: a broken exec must never pass for a blocked connection.
    """
    command = ("/agnhost", "connect", f"--timeout={CONNECT_TIMEOUT}s", target)
    answer = cluster.kubectl("exec", f"--namespace={source.namespace}", source.name, "--", *command)
    if answer.status == 0:
        return ""
    verdict = answer.stderr.partition("\n")[0]
    assert verdict.startswith(_REFUSALS), (
        f"{source.name} on {source.node} could not try {target}: {answer.stderr}"
    )
    return verdict
