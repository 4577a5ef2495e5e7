"""How far kubeadm got on a machine, and which cluster the machine says that it belongs to."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.scripts import script

MANIFESTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
"""The static pods of a control plane, as their files below /etc/kubernetes/manifests are called."""

KUBEADM_UNIT = "kubeadm-deploys-kubeadm.service"
"""The transient unit in which a run's kubeadm is at work; it goes on when the operator's connection ends."""

KUBEADM_SECONDS = 1200
"""How long kubeadm may take: more than the limits of all that it waits for itself."""

SAVED_ETCD = "/var/lib/etcd/kubeadm-deploys-saved"
"""Where data of etcd are kept that had to make way: below etcd's folder, which may be a filesystem of its own."""

_CONTROL_PLANE_FILES = frozenset(
    {"admin.conf", "super-admin.conf", "pki/ca.key", "pki/etcd/ca.crt", "etcd"}
    | {f"manifests/{name}.yaml" for name in MANIFESTS}
)
"""What kubeadm puts on control planes only; a person may have copied one of them, admin.conf most likely."""


class NodeState(Enum):
    """What a machine is in the cluster.

    ``HALF`` is a machine on which kubeadm did not finish. ``UNKNOWN`` is one that only the cluster's API could tell
    from a member, while that does not answer.
    """

    ABSENT = "absent"
    HALF = "half"
    MEMBER = "member"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class KubeadmNodeState:
    """Which of kubeadm's ``files`` are there, and the cluster's CA certificate (PEM, empty without one).

    ``backups`` has the manifest that kubeadm was replacing when it was killed, with the path of its backup.
    ``client_certificate`` is the one with which the kubelet speaks to the API (PEM, empty before it has one).
    ``rotating`` is whether the kubelet's kubeconfig uses the certificate that the kubelet renews itself:
    ``kubeadm init`` changes it to that in its last phase but one, a join ends with it. ``server`` is the API's URL in
    that kubeconfig, ``cluster_name`` the cluster's name in admin.conf, and ``admin`` sha256 of what it holds, by key. ``api`` is what the API server of this machine
    says of itself: "ok", what it lacks, or empty when it has no manifest here. ``local_proxy`` is whether the machine
    has a proxy of its own to the API servers, ``kubeadm_runs`` whether kubeadm of a run is at work at this moment, and
    ``saved_etcd`` whether data of etcd that had to make way are still kept.
    """

    files: frozenset[str] = frozenset()
    backups: dict[str, str] = field(default_factory=dict, hash=False)
    rotating: bool = False
    ca_certificate: str = ""
    client_certificate: str = ""
    server: str = ""
    cluster_name: str = ""
    admin: Mapping[str, str] = field(default_factory=dict, hash=False)
    api: str = ""
    machine_id: str = ""
    local_proxy: bool = False
    kubeadm_runs: bool = False
    saved_etcd: bool = False

    @property
    def is_control_plane(self) -> bool:
        """Whether an API server is to run here. One file does not decide: a manifest may be missing for a moment."""
        if "manifests/kube-apiserver.yaml" in self.files or "kube-apiserver" in self.backups:
            return True
        return len(self.files & _CONTROL_PLANE_FILES) > 1

    @property
    def is_worker(self) -> bool:
        """Whether its files are those of a worker that has joined a cluster: an init makes a CA before kubelet.conf."""
        return "kubelet.conf" in self.files and "pki/ca.key" not in self.files and not self.is_control_plane

    @property
    def missing_manifests(self) -> tuple[str, ...]:
        """The static pods whose manifest is not there."""
        return tuple(name for name in MANIFESTS if f"manifests/{name}.yaml" not in self.files)

    @property
    def has_joined(self) -> bool:
        """Whether kubeadm's files look as they do when it has finished."""
        return "kubelet.conf" in self.files and self.rotating and "bootstrap-kubelet.conf" not in self.files

    @property
    def has_cluster(self) -> bool:
        """Whether this control plane may hold a cluster's data: only without them nothing can be lost here."""
        return self.is_control_plane and ("etcd" in self.files or self.has_joined or self.api == "ok")

    @property
    def has_etcd_of_others(self) -> bool:
        """Whether there are data of an etcd and nothing of kubeadm's: it makes a CA before them.

        Cleaning removes the CA after them, so that what a kill leaves of it is none of this.
        """
        return self.files == {"etcd"} and not self.ca_certificate


class KubeadmNode(FactBase[KubeadmNodeState]):
    """kubeadm's traces on a machine, in one command; nothing secret is read."""

    @override
    def command(self) -> StringCommand:
        return script("read-kubeadm-node", KUBEADM_UNIT, SAVED_ETCD, *MANIFESTS)

    @override
    def process(self, output: list[str]) -> KubeadmNodeState:
        values = lines.parse(output)
        return KubeadmNodeState(
            files=frozenset(lines.by_prefix(values, "have:")),
            backups=lines.by_prefix(values, "backup:"),
            rotating="rotating" in values,
            ca_certificate=base64.b64decode(values.get("ca", "")).decode(),
            client_certificate=base64.b64decode(values.get("client", "")).decode(),
            server=values.get("server", ""),
            cluster_name=values.get("cluster-name", "").strip("\"'"),
            admin=lines.by_prefix(values, "admin:"),
            api=values.get("api", ""),
            machine_id=values.get("machine-id", ""),
            local_proxy="local-proxy" in values,
            kubeadm_runs="kubeadm-runs" in values,
            saved_etcd="saved-etcd" in values,
        )


def node_state(found: KubeadmNodeState, *, cluster_ca: str = "") -> NodeState:
    """Decide from a machine's files alone what it is; ``membership.standing`` asks the cluster as well.

    ``cluster_ca`` is the CA certificate of the cluster that it should belong to; without one, the machine
    itself says which cluster that is (the first control plane).
    """
    if not (found.files or found.ca_certificate or found.client_certificate or found.backups):
        return NodeState.ABSENT
    if is_of_another_cluster(found, cluster_ca=cluster_ca) or found.has_etcd_of_others:
        return NodeState.FOREIGN
    return NodeState.MEMBER if found.has_joined else NodeState.HALF


def is_of_another_cluster(found: KubeadmNodeState, *, cluster_ca: str) -> bool:
    """Whether a machine's CA, or the one that issued its kubelet's certificate, is another one than the cluster's."""
    if not cluster_ca:
        return False
    if found.ca_certificate and not is_same_ca(found.ca_certificate, cluster_ca):
        return True
    return bool(found.client_certificate) and not _is_issued(found.client_certificate, ca=cluster_ca)


def is_same_ca(one: str, other: str) -> bool:
    """Whether two PEM texts have a CA certificate in common: people put comments and further certificates beside it."""
    return not certificates(one).isdisjoint(certificates(other))


@lru_cache(maxsize=1024)
def certificates(pem: str) -> frozenset[bytes]:
    """The certificates of a PEM text; what cannot be understood counts as it is."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return frozenset({pem.strip().encode()})
    return frozenset(each.public_bytes(Encoding.DER) for each in found)


# A run with hundreds of machines compares the same few texts thousands of times.
@lru_cache(maxsize=4096)
def _is_issued(certificate: str, *, ca: str) -> bool:
    try:
        issued = x509.load_pem_x509_certificate(certificate.encode())
        issuers = x509.load_pem_x509_certificates(ca.encode())
    except ValueError:
        return False
    return any(_verifies(issued, issuer) for issuer in issuers)


def _verifies(issued: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        issued.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
