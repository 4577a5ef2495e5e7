"""The file that helps after a failed run: its name and its text."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.redaction import redacted, secret_values


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An ``operation`` that failed on a ``host``, and what it said; empty when the run's own output says more."""

    host: str
    operation: str
    error: str = ""


def file_name(*, cluster_name: str, now: datetime) -> str:
    """What the report is called: after the cluster and the time of the failure in UTC."""
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
    """The text of the report.

    ``output`` are the last lines that the run printed, ``machines`` what each host that was asked said, ``secrets``
    those that are known by value, beside those in the options.
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
            f"{field.name} = {getattr(options, field.name)!r}" for field in dataclasses.fields(options)
        ],
        "What the run printed last": list(output),
        **{f"Machine {host}": said.splitlines() for host, said in machines.items()},
    }
    text = "\n\n".join("\n".join((f"==== {title} ====", *said)) for title, said in sections.items())
    introduction = (
        "Diagnostics of a failed run. Secrets are taken out on a best-effort basis: values that the run knows, and what "
        "looks like\na password, token or key. Review this file before you share it: a secret in another form may still "
        "be in it."
    )
    known = {*secrets, *secret_values(dataclasses.asdict(options))}
    return redacted(f"{introduction}\n\n{text}\n", known=known)
