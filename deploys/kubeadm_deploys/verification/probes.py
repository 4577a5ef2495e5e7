"""One connection from one pod, opened by agnhost inside it.

agnhost's server connects on request and returns the response (``dial``); its command ``connect`` reports why
a connection failed. Both are called through the API server, so no other tool is needed.
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
"""Number of connections, all of which must succeed, so that a path that drops some fails the test."""

_REFUSALS = ("TIMEOUT", "REFUSED", "DNS", "OTHER", "UNKNOWN")


@dataclass(frozen=True, kw_only=True)
class Pod:
    """A pod of the suites on one node. On the host network ``ip`` is the node's address."""

    namespace: str
    name: str
    node: str
    ip: str
    http_port: int
    udp_port: int
    settled_by: float

    @property
    def settling_time(self) -> float:
        """Seconds to wait for a connection: long while the pod is new, short once its network should work.

        On a broken network most tests fail, and a full wait in each of them would take an hour.
        """
        return max(SHORTEST_WAIT, self.settled_by - time.monotonic())


@dataclass(frozen=True, kw_only=True)
class Dialled:
    """The results of a number of connections."""

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
    """Let a pod open ``tries`` connections to a host, each with one request."""
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
    """Let a pod dial until all ``tries`` connections are answered, and return the responses."""

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
    """Open a TCP connection from a pod to ``host:port``; return agnhost's reason if it fails, else "".

    Any other error (the pod was deleted, its node does not answer) fails the check: a broken exec must never be
    taken for a blocked connection.
    """
    command = ("/agnhost", "connect", f"--timeout={CONNECT_TIMEOUT}s", target)
    answer = cluster.kubectl("exec", f"--namespace={source.namespace}", source.name, "--", *command)
    if answer.status == 0:
        return ""
    verdict = answer.stderr.partition("\n")[0]
    assert verdict.startswith(_REFUSALS), (
        f"{source.name} on {source.node} could not test {target}: {answer.stderr}"
    )
    return verdict
