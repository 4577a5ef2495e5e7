"""Read what a status report shows besides what other sections read."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cryptography import x509
from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.documents import node_kubelet
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.etcd import etcdctl
from kubeadm_deploys.model.labels_and_taints import CONTROL_PLANE_TAINT
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import ClusterFact
from kubeadm_deploys.scripts import script

CORDONED_BY = "kubeadm-deploys/cordoned-by"
"""The annotation of a Node object that a run of this package has cordoned, and will uncordon."""


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """A certificate on a machine: its ``path`` below /etc/kubernetes, and its validity.

    ``ca`` is whether it is a certificate authority's.
    """

    path: str
    begins: datetime
    ends: datetime
    ca: bool = False


@dataclass(frozen=True, kw_only=True)
class HostStatusState:
    """A machine's operating system, running kernel, reason for a reboot (empty without one) and certificates.

    ``kubelet_files`` are the sha256 of the files with its kubelet's own fields, by path.
    """

    os: str = ""
    kernel: str = ""
    reboot: str = ""
    certificates: tuple[Certificate, ...] = ()
    kubelet_files: Mapping[str, str] = field(default_factory=dict, hash=False)


class HostStatus(FactBase[HostStatusState]):
    """Read a machine's system and certificates, without private keys."""

    @override
    def command(self) -> StringCommand:
        return script("read-status", *node_kubelet.PATHS)

    @override
    def process(self, output: list[str]) -> HostStatusState:
        values = lines.parse(output)
        return HostStatusState(
            os=values.get("os", ""),
            kernel=values.get("kernel", ""),
            reboot=values.get("reboot", ""),
            certificates=tuple(
                certificate
                for path, encoded in lines.by_prefix(values, "certificate:").items()
                for certificate in _certificates(path, base64.b64decode(encoded))
            ),
            kubelet_files=lines.files(values),
        )


@dataclass(frozen=True, kw_only=True)
class NodeStatusState:
    """A Node object: whether it is ready and cordoned, and what its kubelet reports.

    ``claimed`` is whether this package has cordoned it, ``dedicated`` whether it has the taint that keeps
    ordinary pods away from control planes.
    """

    name: str
    control_plane: bool
    ready: bool
    cordoned: bool
    kubelet: str
    container_runtime: str
    claimed: bool = False
    dedicated: bool = False


class NodeStatuses(ClusterFact[tuple[NodeStatusState, ...]]):
    """Read all Node objects."""

    @override
    def command(self) -> StringCommand:
        return StringCommand(f"{KUBECTL} get nodes --output json")

    @override
    def process(self, output: list[str]) -> tuple[NodeStatusState, ...]:
        return tuple(_node(item) for item in json.loads("\n".join(output))["items"])


@dataclass(frozen=True, kw_only=True)
class EtcdStatusState:
    """The etcd member of a machine.

    ``leader`` is whether it leads, ``has_leader`` whether it knows of any leader. ``database`` and ``quota`` are
    in bytes; the quota is 0 where etcd does not report it. ``errors`` are etcd's own, like an alarm.
    """

    version: str
    leader: bool
    has_leader: bool
    learner: bool = False
    database: int = 0
    quota: int = 0
    errors: tuple[str, ...] = ()


class EtcdStatus(FactBase[EtcdStatusState]):
    """Read the status of this machine's etcd member; one that was started without a majority does not answer."""

    @override
    def command(self) -> StringCommand:
        return etcdctl("endpoint", "status", "--write-out=json")

    @override
    def process(self, output: list[str]) -> EtcdStatusState:
        # etcd omits empty and false values.
        status = json.loads("".join(output))[0]["Status"]
        leader = status.get("leader", 0)
        return EtcdStatusState(
            version=status["version"],
            leader=leader == status["header"]["member_id"],
            has_leader=leader != 0,
            learner=status.get("isLearner", False),
            database=status.get("dbSize", 0),
            quota=status.get("dbSizeQuota", 0),
            errors=tuple(status.get("errors") or ()),
        )


def _certificates(path: str, pem: bytes) -> Iterator[Certificate]:
    for found in x509.load_pem_x509_certificates(pem):
        constraints = [e.value for e in found.extensions if isinstance(e.value, x509.BasicConstraints)]
        yield Certificate(
            path=path,
            begins=found.not_valid_before_utc,
            ends=found.not_valid_after_utc,
            ca=any(constraint.ca for constraint in constraints),
        )


def _node(item: dict[str, Any]) -> NodeStatusState:
    metadata, status = item["metadata"], item["status"]
    info = status["nodeInfo"]
    return NodeStatusState(
        name=metadata["name"],
        control_plane="node-role.kubernetes.io/control-plane" in metadata.get("labels", {}),
        ready=any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in status["conditions"]
        ),
        cordoned=item["spec"].get("unschedulable", False),
        kubelet=info["kubeletVersion"].removeprefix("v"),
        container_runtime=info["containerRuntimeVersion"].replace("://", " "),
        claimed=CORDONED_BY in metadata.get("annotations", {}),
        dedicated=any(
            f"{taint['key']}:{taint['effect']}" == CONTROL_PLANE_TAINT
            for taint in item["spec"].get("taints", ())
        ),
    )
