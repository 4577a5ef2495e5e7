"""The report of a failed run: its file name and its text."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.run.redaction import redacted, secret_values


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An ``operation`` that failed on a ``host``, and its ``error``; empty if the run's output has more."""

    host: str
    operation: str
    error: str = ""


def file_name(*, cluster_name: str, now: datetime) -> str:
    """Return the name of the report's file, from the cluster and the time of the failure in UTC."""
    return f"{cluster_name}-failure-{now.astimezone(UTC):%Y%m%dT%H%M%SZ}.log"


def report(
    *,
    now: datetime,
    deploy: str,
    versions: Mapping[str, str],
    options: ClusterOptions,
    topology: Topology,
    failures: Sequence[Failure],
    output: Iterable[str],
    machines: Mapping[str, str],
    secrets: Iterable[str] = (),
) -> str:
    """Return the text of the report, with secrets redacted.

    ``output`` is the last lines that the run printed, ``machines`` the diagnostics by host, and ``secrets``
    those that are known by value, in addition to those in the options and in the nodes' kubelet fields.
    """
    roles = {"control plane": topology.control_planes, "worker": topology.workers}
    sections = {
        "Run": [
            f"{deploy} failed at {now.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
            *(f"{name} {version}" for name, version in versions.items()),
        ],
        "Failed": [
            line
            for failure in failures
            for line in (
                f"{failure.host}: {failure.operation}",
                *(f"    {line}" for line in failure.error.splitlines()),
            )
        ],
        "Nodes": [
            f"{role} {node.name}: host {node.host}, node_ip {node.ip}"
            for role, nodes in roles.items()
            for node in nodes
        ],
        "Options": [
            f"{name} = {value!r}" if isinstance(value, str) else f"{name} = {value}"
            for name, value in options
        ],
        "Last output of the run": list(output),
        **{f"Machine {host}": diagnostics.splitlines() for host, diagnostics in machines.items()},
    }
    text = "\n\n".join("\n".join((f"==== {title} ====", *lines)) for title, lines in sections.items())
    introduction = (
        "Diagnostics of a failed run. Secrets are redacted on a best-effort basis: values that the run knows, and "
        "text that looks like\na password, token or key. Review this file before you share it: it may still "
        "contain a secret in another form."
    )
    own = {"nodes": [node.kubelet_configuration for node in topology.nodes]}
    known = {*secrets, *secret_values(options.model_dump()), *secret_values(own)}
    return redacted(f"{introduction}\n\n{text}\n", known=known)
