"""Read how far kubeadm got on a machine, and to which cluster the machine belongs."""

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

from kubeadm_deploys.remote import lines
from kubeadm_deploys.scripts import script

MANIFESTS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
"""The static pods of a control plane, by the names of their files in /etc/kubernetes/manifests."""

KUBEADM_UNIT = "kubeadm-deploys-kubeadm.service"
"""The transient unit in which a run's kubeadm runs; it continues if the operator's connection ends."""

KUBEADM_SECONDS = 1200
"""How long kubeadm may take: longer than all its own time-outs together."""

SAVED_ETCD = "/var/lib/etcd/kubeadm-deploys-saved"
"""Where old etcd data is kept: below etcd's folder, which may be a separate filesystem."""

RESTORE_FOLDER = "/etc/kubernetes/kubeadm-deploys-restore"
"""What a restore from a backup needs until it has ended: its record, and the manifests that it set aside.

Nothing else could tell a half-done restore from a cluster that was lost, or from none at all.
"""

SET_ASIDE = f"{RESTORE_FOLDER}/manifests"
"""Where the manifests are while a restore has stopped etcd and the API server."""

FROM_DISK = "disk:"
"""Begins the record of a restore from a disk."""

_CONTROL_PLANE_FILES = frozenset(
    {"admin.conf", "super-admin.conf", "pki/ca.key", "pki/etcd/ca.crt", "etcd"}
    | {f"manifests/{name}.yaml" for name in MANIFESTS}
)
"""Files that kubeadm creates only on control planes; people copy some, most often admin.conf."""


class NodeState(Enum):
    """What a machine is in the cluster.

    On a ``PARTIAL`` machine kubeadm did not finish. ``UNKNOWN`` means that the files do not show whether the
    machine is a member, and the cluster's API does not answer.
    """

    ABSENT = "absent"
    PARTIAL = "partial"
    MEMBER = "member"
    FOREIGN = "foreign"
    UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class KubeadmNodeState:
    """Which of kubeadm's ``files`` exist, and the cluster's CA certificate (PEM, empty without one).

    ``backups`` maps the manifest that kubeadm was replacing when it was killed to its backup's path.
    ``half_certificate`` is whether the API server has the key of a new certificate, but not yet the certificate.
    ``client_certificate`` is the kubelet's certificate for the API (PEM, empty if there is none yet).
    ``rotating`` is whether the kubelet's kubeconfig uses the certificate that the kubelet renews itself:
    ``kubeadm init`` switches to it in its last phase but one, a join at its end. ``server`` is the API's URL
    in that kubeconfig, ``cluster_name`` the name in admin.conf, ``admin`` the SHA-256 sums of admin.conf's
    credentials by key. ``api`` is the status of this machine's API server: "ok", what is not ready, or empty
    without a manifest. ``units`` are this package's systemd units, ``kubeadm_runs`` whether a run's kubeadm
    is running now, and ``saved_etcd`` whether old etcd data is kept.

    ``restoring`` is the record of a restore from a backup that has not ended, empty without one.
    ``set_aside`` are the static pods whose manifests it set aside, and ``unpacked`` is whether the data of the
    backup is in place, or about to be. ``etcd_cluster`` is the ID of the etcd cluster that this machine's
    etcd serves, empty if it does not answer or has no leader. ``etcd_image`` is the image in etcd's manifest, which may
    be set aside.
    """

    files: frozenset[str] = frozenset()
    backups: dict[str, str] = field(default_factory=dict, hash=False)
    half_certificate: bool = False
    rotating: bool = False
    ca_certificate: str = ""
    client_certificate: str = ""
    server: str = ""
    cluster_name: str = ""
    admin: Mapping[str, str] = field(default_factory=dict, hash=False)
    api: str = ""
    machine_id: str = ""
    units: frozenset[str] = frozenset()
    kubeadm_runs: bool = False
    saved_etcd: bool = False
    restoring: str = ""
    set_aside: frozenset[str] = frozenset()
    unpacked: bool = False
    etcd_cluster: str = ""
    etcd_image: str = ""

    @property
    def is_control_plane(self) -> bool:
        """Whether an API server should run here; one file does not decide: a manifest may be missing."""
        if "manifests/kube-apiserver.yaml" in self.files or "kube-apiserver" in self.backups:
            return True
        return len(self.files & _CONTROL_PLANE_FILES) > 1

    @property
    def is_worker(self) -> bool:
        """Whether its files are those of a joined worker; an init creates a CA before kubelet.conf."""
        return "kubelet.conf" in self.files and "pki/ca.key" not in self.files and not self.is_control_plane

    @property
    def missing_manifests(self) -> tuple[str, ...]:
        """The static pods whose manifest is missing."""
        return tuple(name for name in MANIFESTS if f"manifests/{name}.yaml" not in self.files)

    @property
    def has_joined(self) -> bool:
        """Whether kubeadm's files are those of a finished init or join."""
        return "kubelet.conf" in self.files and self.rotating and "bootstrap-kubelet.conf" not in self.files

    @property
    def has_cluster(self) -> bool:
        """Whether this control plane may hold a cluster's data, which cleaning would destroy."""
        return self.is_control_plane and ("etcd" in self.files or self.has_joined or self.api == "ok")

    @property
    def has_etcd_of_others(self) -> bool:
        """Whether there is etcd data that kubeadm did not create: kubeadm creates a CA first.

        Cleaning removes the CA after the data, so an interrupted cleaning does not look like this.
        """
        return self.files == {"etcd"} and not self.ca_certificate


class KubeadmNode(FactBase[KubeadmNodeState]):
    """Read kubeadm's traces on a machine in one command, without secrets."""

    @override
    def command(self) -> StringCommand:
        return script("read-kubeadm-node", KUBEADM_UNIT, SAVED_ETCD, RESTORE_FOLDER, *MANIFESTS)

    @override
    def process(self, output: list[str]) -> KubeadmNodeState:
        values = lines.parse(output)
        return KubeadmNodeState(
            files=frozenset(lines.by_prefix(values, "have:")),
            backups=lines.by_prefix(values, "backup:"),
            half_certificate="half-certificate" in values,
            rotating="rotating" in values,
            ca_certificate=base64.b64decode(values.get("ca", "")).decode(),
            client_certificate=base64.b64decode(values.get("client", "")).decode(),
            server=values.get("server", ""),
            cluster_name=values.get("cluster-name", "").strip("\"'"),
            admin=lines.by_prefix(values, "admin:"),
            api=values.get("api", ""),
            machine_id=values.get("machine-id", ""),
            units=frozenset(lines.by_prefix(values, "unit:")),
            kubeadm_runs="kubeadm-runs" in values,
            saved_etcd="saved-etcd" in values,
            restoring=values.get("restoring", ""),
            set_aside=frozenset(lines.by_prefix(values, "aside:")),
            unpacked="unpacked" in values,
            etcd_cluster=values.get("etcd-cluster", ""),
            etcd_image=values.get("etcd-image", ""),
        )


def node_state(found: KubeadmNodeState, *, cluster_ca: str = "") -> NodeState:
    """Return what a machine is, from its files alone; ``membership_state`` also uses what the cluster reports.

    ``cluster_ca`` is the CA certificate of the cluster that it should belong to. Without one, as on the first
    control plane, the machine itself defines the cluster.
    """
    if not (found.files or found.ca_certificate or found.client_certificate or found.backups):
        return NodeState.ABSENT
    if is_of_another_cluster(found, cluster_ca=cluster_ca) or found.has_etcd_of_others:
        return NodeState.FOREIGN
    return NodeState.MEMBER if found.has_joined else NodeState.PARTIAL


def is_of_another_cluster(found: KubeadmNodeState, *, cluster_ca: str) -> bool:
    """Return whether a machine's CA, or its kubelet certificate's issuer, differs from the cluster's CA."""
    if not cluster_ca:
        return False
    if found.ca_certificate and not is_same_ca(found.ca_certificate, cluster_ca):
        return True
    return bool(found.client_certificate) and not _is_issued(found.client_certificate, ca=cluster_ca)


def is_same_ca(one: str, other: str) -> bool:
    """Return whether two PEM texts share a certificate; people add comments and further certificates."""
    return not certificates(one).isdisjoint(certificates(other))


@lru_cache(maxsize=1024)
def certificates(pem: str) -> frozenset[bytes]:
    """Return the certificates of a PEM text as DER, or the text itself if it cannot be parsed."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return frozenset({pem.strip().encode()})
    return frozenset(certificate.public_bytes(Encoding.DER) for certificate in found)


# With hundreds of machines, a run compares the same few texts thousands of times.
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
