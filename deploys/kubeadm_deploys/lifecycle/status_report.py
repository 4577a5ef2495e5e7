"""The status of a cluster as values, as a table and as JSON."""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kubeadm_deploys.documents import node_kubelet
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.node_status import Certificate, EtcdStatusState, HostStatusState, NodeStatusState
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.text_table import aligned
from kubeadm_deploys.remote.reading import NotRead

_LEAF_ENDS_WITHIN = timedelta(days=30)
_CA_ENDS_WITHIN = timedelta(days=365)

_FULL = 0.8
"""Share of its quota that etcd's database may fill before a person has to act; at the quota, etcd is read-only."""


@dataclass(frozen=True, kw_only=True)
class NodeRow:
    """A node of the inventory or of the cluster; values that could not be read are empty.

    ``host`` is pyinfra's name of the machine, empty if the node is not in the inventory. ``ready`` and
    ``cordoned`` are None if the API does not answer, or has no such node. ``reboot`` is the reason for a reboot.
    """

    name: str
    host: str = ""
    role: str
    ready: bool | None = None
    cordoned: bool | None = None
    kubernetes: str = ""
    container_runtime: str = ""
    os: str = ""
    kernel: str = ""
    reboot: str = ""


@dataclass(frozen=True, kw_only=True)
class ControlPlaneRow:
    """A control plane's API server ("ok", or why it is not ready) and etcd member.

    ``etcd`` is ``leader``, ``member``, ``learner`` or empty if it does not answer; ``database`` and ``quota`` are
    in bytes.
    """

    name: str
    api_server: str
    etcd: str = ""
    etcd_version: str = ""
    database: int = 0
    quota: int = 0


@dataclass(frozen=True, kw_only=True)
class CertificateRow:
    """A certificate on a node, by its path below /etc/kubernetes, with its end."""

    node: str
    path: str
    ends: datetime


@dataclass(frozen=True, kw_only=True)
class ClusterStatus:
    """The status of a cluster.

    ``differences`` are sentences about options that differ from the cluster, ``newer`` one about newer releases
    that this package knows, empty without any. ``attention`` are sentences about what needs attention.
    """

    cluster: str
    api_answers: bool
    nodes: tuple[NodeRow, ...]
    control_planes: tuple[ControlPlaneRow, ...]
    certificates: tuple[CertificateRow, ...]
    differences: tuple[str, ...]
    newer: str
    attention: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Readings:
    """What was read: of machines by host, and the cluster's nodes, None if the API does not answer."""

    hosts: Mapping[str, HostStatusState | NotRead]
    kubeadm: Mapping[str, KubeadmNodeState | NotRead]
    etcd: Mapping[str, EtcdStatusState | NotRead]
    nodes: tuple[NodeStatusState, ...] | None


def cluster_status(
    topology: Topology,
    readings: Readings,
    *,
    cluster: str,
    now: datetime,
    problems: Sequence[str] = (),
    differences: Sequence[str] = (),
    newer: str = "",
) -> ClusterStatus:
    """Return the status; ``problems`` are further sentences about what needs attention."""
    nodes = {node.name: node for node in readings.nodes or ()}
    strays = nodes.keys() - {node.name for node in topology.nodes}
    return ClusterStatus(
        cluster=cluster,
        api_answers=readings.nodes is not None,
        nodes=(
            *(
                _node_row(
                    node.name,
                    host=node.host,
                    control_plane=node in topology.control_planes,
                    found=nodes.get(node.name),
                    machine=readings.hosts.get(node.host),
                )
                for node in topology.nodes
            ),
            *(
                _node_row(name, control_plane=nodes[name].control_plane, found=nodes[name])
                for name in sorted(strays)
            ),
        ),
        control_planes=tuple(
            _control_plane_row(node.name, readings.kubeadm.get(node.host), readings.etcd.get(node.host))
            for node in topology.control_planes
        ),
        certificates=tuple(
            CertificateRow(node=node.name, path=certificate.path, ends=certificate.ends)
            for node in topology.nodes
            for certificate in sorted(_certificates(readings.hosts.get(node.host)), key=lambda one: one.ends)
        ),
        differences=(*differences, *_kubelet_differences(topology, readings)),
        newer=newer,
        attention=(
            *_host_problems(topology, readings),
            *problems,
            *_node_problems(topology, nodes=nodes if readings.nodes is not None else None),
            *_control_plane_problems(topology, readings),
            *_certificate_problems(topology, readings, now=now),
        ),
    )


def document(status: ClusterStatus) -> str:
    """Return the status as a JSON document; times are in UTC and ISO 8601."""

    def plain(value: Any) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat(timespec="seconds")
        raise TypeError(type(value))

    return json.dumps(dataclasses.asdict(status), indent=2, default=plain)


def text(status: ClusterStatus, *, now: datetime) -> Iterator[str]:
    """Yield the lines of a report for people."""
    answer = "the API answers" if status.api_answers else "the API does not answer"
    yield f"Cluster {status.cluster}: {answer}"
    yield ""
    yield from _columns(
        ("NODE", "ROLE", "STATUS", "KUBERNETES", "CONTAINER RUNTIME", "OS", "KERNEL"),
        (
            (
                node.name,
                node.role,
                _words(node, status),
                node.kubernetes,
                node.container_runtime,
                node.os,
                node.kernel,
            )
            for node in status.nodes
        ),
    )
    yield ""
    yield from _columns(
        ("CONTROL PLANE", "API SERVER", "ETCD", "ETCD RELEASE", "DATABASE"),
        (
            (row.name, row.api_server, row.etcd or "no answer", row.etcd_version, _size(row))
            for row in status.control_planes
        ),
    )
    first: dict[str, CertificateRow] = {}
    for certificate in status.certificates:
        first.setdefault(certificate.node, certificate)
    if first:
        yield ""
        yield from _columns(
            ("NODE", "FIRST CERTIFICATE TO EXPIRE", "ON", "IN"),
            (
                (row.node, row.path, f"{row.ends:%Y-%m-%d}", f"{(row.ends - now).days} days")
                for row in first.values()
            ),
        )
    for title, sentences in (
        ("Differences between the options and the cluster", status.differences),
        ("Newer releases", [status.newer] if status.newer else []),
        ("Needs attention", status.attention),
    ):
        if sentences:
            yield ""
            yield f"{title}:"
            yield from (f"  - {sentence}" for sentence in sentences)


def _node_row(
    name: str,
    *,
    host: str = "",
    control_plane: bool,
    found: NodeStatusState | None,
    machine: HostStatusState | NotRead | None = None,
) -> NodeRow:
    system = machine if isinstance(machine, HostStatusState) else HostStatusState()
    return NodeRow(
        name=name,
        host=host,
        role="control plane" if control_plane else "worker",
        ready=found.ready if found else None,
        cordoned=found.cordoned if found else None,
        kubernetes=found.kubelet if found else "",
        container_runtime=found.container_runtime if found else "",
        os=system.os,
        kernel=system.kernel,
        reboot=system.reboot,
    )


def _control_plane_row(
    name: str, kubeadm: KubeadmNodeState | NotRead | None, etcd: EtcdStatusState | NotRead | None
) -> ControlPlaneRow:
    api_server = (kubeadm.api or "not installed") if isinstance(kubeadm, KubeadmNodeState) else "no answer"
    if not isinstance(etcd, EtcdStatusState):
        return ControlPlaneRow(name=name, api_server=api_server)
    return ControlPlaneRow(
        name=name,
        api_server=api_server,
        etcd="leader" if etcd.leader else "learner" if etcd.learner else "member",
        etcd_version=etcd.version,
        database=etcd.database,
        quota=etcd.quota,
    )


def _kubelet_differences(topology: Topology, readings: Readings) -> Iterator[str]:
    """Yield the nodes whose kubelets have other fields of their own than the inventory says."""
    members = {node.name for node in readings.nodes or ()}
    for node in topology.nodes:
        found = readings.hosts.get(node.host)
        if (
            node.name in members
            and isinstance(found, HostStatusState)
            and node_kubelet.differ(node.kubelet_configuration, found=found.kubelet_files)
        ):
            yield f"node_kubelet_configuration of {node.name}: differs from its kubelet's; cluster.py changes it"


def _host_problems(topology: Topology, readings: Readings) -> Iterator[str]:
    for node in topology.nodes:
        # With --limit, of the other machines only the control planes are read.
        found = [readings.hosts.get(node.host), readings.kubeadm.get(node.host)]
        if reasons := [answer.reason for answer in found if isinstance(answer, NotRead)]:
            yield f"{node.name}: the machine could not be read ({reasons[0]})"


def _node_problems(topology: Topology, *, nodes: Mapping[str, NodeStatusState] | None) -> Iterator[str]:
    if nodes is None:
        return
    names = {node.name for node in topology.nodes}
    for name in sorted(names - nodes.keys()):
        yield f"{name}: not in the cluster; run deploys/cluster.py, which joins it, or remove it from the inventory"
    for name in sorted(nodes.keys() - names):
        yield f"{name}: not in the inventory; add it, or run deploys/remove_node.py"
    for name, node in nodes.items():
        if not node.ready:
            yield f"{name}: NotReady; look at the kubelet on it with 'journalctl --unit kubelet'"


def _control_plane_problems(topology: Topology, readings: Readings) -> Iterator[str]:
    for node in topology.control_planes:
        kubeadm, etcd = readings.kubeadm.get(node.host), readings.etcd.get(node.host)
        if not isinstance(kubeadm, KubeadmNodeState):
            continue
        if kubeadm.is_control_plane and kubeadm.api != "ok":
            yield (
                f"{node.name}: the API server is {kubeadm.api or 'not running'}; look at its log with 'crictl logs'"
            )
        if kubeadm.is_control_plane and isinstance(etcd, NotRead):
            yield f"{node.name}: etcd does not answer ({etcd.reason}); look at its log with 'crictl logs'"
        if not isinstance(etcd, EtcdStatusState):
            continue
        if not etcd.has_leader:
            yield f"{node.name}: etcd has no leader, so it has lost its majority or cannot reach the other members"
        if etcd.learner:
            yield f"{node.name}: its etcd member is a learner without a vote; run deploys/cluster.py, which finishes the join"
        if etcd.quota and etcd.database > _FULL * etcd.quota:
            yield (
                f"{node.name}: etcd's database fills {etcd.database / etcd.quota:.0%} of its quota; at 100 % the "
                "cluster becomes read-only; delete objects, then defragment the member"
            )
        for error in etcd.errors:
            yield f"{node.name}: etcd reports {error.strip()}"


def _certificate_problems(topology: Topology, readings: Readings, *, now: datetime) -> Iterator[str]:
    for node in topology.nodes:
        for certificate in _certificates(readings.hosts.get(node.host)):
            left = certificate.ends - now
            # Some clusters have certificates that live for hours; most of that time is not a problem.
            limit = _CA_ENDS_WITHIN if certificate.ca else _LEAF_ENDS_WITHIN
            if left < min(limit, (certificate.ends - certificate.begins) / 5):
                verb = "expires" if left > timedelta() else "expired"
                yield (
                    f"{node.name}: the certificate in {certificate.path} {verb} on {certificate.ends:%Y-%m-%d}; "
                    f"{_renewal(certificate)}"
                )


def _renewal(certificate: Certificate) -> str:
    if certificate.ca:
        return "replace it (Kubernetes documentation, 'Manual Rotation of CA Certificates')"
    if certificate.path == "kubelet.conf":
        return (
            "the kubelet renews it while it reaches the API; look at its log with 'journalctl --unit kubelet'"
        )
    return "renew it with 'kubeadm certs renew', and restart the control plane's pods"


def _certificates(found: HostStatusState | NotRead | None) -> tuple[Certificate, ...]:
    return found.certificates if isinstance(found, HostStatusState) else ()


def _words(node: NodeRow, status: ClusterStatus) -> str:
    missing = "not in the cluster" if status.api_answers else "unknown"
    ready = {True: "Ready", False: "NotReady", None: missing}[node.ready]
    marks = (
        ("cordoned", node.cordoned),
        ("reboot needed", node.reboot),
        ("not in the inventory", not node.host),
    )
    return ", ".join([ready, *(words for words, applies in marks if applies)])


def _size(row: ControlPlaneRow) -> str:
    megabytes = f"{row.database / 1e6:.0f} MB" if row.etcd else ""
    return f"{megabytes} of {row.quota / 1e6:.0f} MB" if row.quota else megabytes


def _columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    return aligned([head, *([cell or "-" for cell in row] for row in rows)])
