"""Decide how a cluster is restored from a backup, and why it is not.

Nothing here contacts a machine. The record of a restore is the first line of a file on every control plane; it
exists from before the first change until the restored API serves, so that the next run continues.
"""

import base64
import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.documents.backup_file import Backup
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_settings import ClusterSettings, ClusterSettingsState
from kubeadm_deploys.facts.kubeadm_node import (
    FROM_DISK,
    MANIFESTS,
    KubeadmNodeState,
)
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import shared_pki


@dataclass(frozen=True, kw_only=True)
class RestoreRecord:
    """A restore that has begun: from which ``backup``, when it began (UTC), and the seed's name.

    ``backup`` is the SHA-256 of the file; in a restore from a disk, ``disk:`` and the revision of the data there.
    """

    backup: str
    began: str
    seed: str

    @property
    def line(self) -> str:
        """The record as it is on the machines."""
        return f"{self.backup} {self.began} {self.seed}"

    @property
    def from_disk(self) -> bool:
        """Whether it is a restore from a disk."""
        return self.backup.startswith(FROM_DISK)

    @property
    def revision(self) -> int:
        """That of the data, in a restore from a disk."""
        return int(self.backup.removeprefix(FROM_DISK))

    @property
    def token(self) -> str:
        """A text from which etcd makes its cluster ID: different for each restore, also of the same backup."""
        return f"restored-{self.backup[:16]}-{self.began}"

    @classmethod
    def of_line(cls, line: str) -> "RestoreRecord | None":
        """Parse a record; None if it is not one."""
        words = line.split()
        return cls(backup=words[0], began=words[1], seed=words[2]) if len(words) == 3 else None


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A restore onto the control plane ``seed``, as the ``record`` says.

    ``found`` is the record that was on the machines when this was decided, None without one.
    """

    seed: Node
    record: RestoreRecord
    found: RestoreRecord | None = None

    def refuse_another(self, planned: "Begun") -> None:
        """Refuse to go on with what was planned, if this was found since.

        A restore that another run has begun meanwhile may have the only new data, also if it is of the same backup.

        Raises:
            DeployError: it is not the same restore.
        """
        if (self.seed, self.record.backup, self.found) != (
            planned.seed,
            planned.record.backup,
            planned.found,
        ):
            raise DeployError(
                "the machines have changed since this run was prepared; no changes were made; run it again"
            )


@dataclass(frozen=True, kw_only=True)
class Restore(Begun):
    """A restore from a ``backup``.

    ``settings`` are the cluster's in the backup, and ``options`` have its releases. ``other_etcd`` is the image of etcd on
    the seed, whose control plane is made anew because of it, empty if it is that of the backup.
    """

    backup: Backup
    settings: ClusterSettingsState
    options: ClusterOptions
    other_etcd: str = ""

    @property
    def next_step(self) -> str:
        """What to do when the restore has ended."""
        return after_restore(self.backup) or (
            "run deploys/cluster.py, which changes nothing if the cluster is as the inventory says"
        )

    @property
    def ca_certificate(self) -> str:
        """The cluster's CA certificate."""
        return self.backup.parts["pki/ca.crt"].decode()

    @property
    def shared_pki(self) -> str:
        """The certificates and keys that all control planes share, for ``shared_pki.write_command``."""
        return "".join(
            f"{name} {base64.b64encode(self.backup.parts[f'pki/{name}']).decode()}\n"
            for name in shared_pki.FILES
        )

    @property
    def files(self) -> dict[str, bytes]:
        """The files that arguments of static pods name, by their paths on the machine."""
        return {
            name.removeprefix("files"): content
            for name, content in self.backup.parts.items()
            if name.startswith("files/")
        }


def settings_of(backup: Backup) -> ClusterSettingsState:
    """Return what the cluster in a backup was created with.

    An upgrade that had not ended when the backup was made is left out: ``upgrade.py`` finishes it after the restore.

    Raises:
        ValueError: the backup does not say.
    """
    settings = _settings(backup)
    if settings is None:
        raise ValueError("it has no configuration of kubeadm")
    return replace(settings, record=settings.record.with_upgrade(None))


def after_restore(backup: Backup) -> str:
    """Return what to do after a restore from a backup that was made during an upgrade, empty for another one.

    The restored cluster knows of the upgrade. ``cluster.py`` refuses until it has ended, and it needs every node of
    the inventory.
    """
    settings = _settings(backup)
    if settings is None or settings.record.upgrade is None:
        return ""
    return (
        "the backup was made during an upgrade; end it with deploys/upgrade.py, and then run deploys/cluster.py; take a "
        "machine that is not a node out of the inventory until the upgrade has ended"
    )


def _settings(backup: Backup) -> ClusterSettingsState | None:
    objects = base64.b64encode(backup.parts["config-maps.json"]).decode()
    return ClusterSettings().process([f"objects {objects}"])


def configuration_in(backup: Backup, name: str, key: str) -> dict[str, Any]:
    """Return the YAML document under a key of a ConfigMap in a backup."""
    items = json.loads(backup.parts["config-maps.json"])["items"]
    (data,) = [item["data"] for item in items if item["metadata"]["name"] == name]
    return dict(yaml.safe_load(data[key]))


def lacking(backup: Backup) -> list[str]:
    """Return the names of the files that a restore needs and the backup lacks."""
    wanted = [f"pki/{name}" for name in shared_pki.FILES]
    wanted += ["config-maps.json", *(f"manifests/{name}.yaml" for name in MANIFESTS)]
    return [name for name in wanted if name not in backup.parts]


def record_in(
    topology: Topology, found: Mapping[str, KubeadmNodeState], *, healthy: Collection[Node] = ()
) -> RestoreRecord | None:
    """Return the record of the restore with which this run goes on, None without one: the seed's own if it has one.

    If a ``healthy`` control plane does not have it, there is nothing to go on with: the restore ended without the
    machine that has the record, or had not stopped the cluster yet.
    """
    records = {
        node.name: record
        for node in topology.control_planes
        if node.host in found and (record := RestoreRecord.of_line(found[node.host].restoring))
    }
    own = [record for name, record in records.items() if record.seed == name]
    record = next(iter([*own, *records.values()]), None)
    return record if all(records.get(node.name) == record for node in healthy) else None


def choose_seed(
    topology: Topology,
    *,
    found: Mapping[str, KubeadmNodeState],
    record: RestoreRecord | None,
    etcd_image: str,
) -> Node:
    """Return the control plane on which the cluster is restored; the others join it.

    That of the record, unless it is no longer in the inventory; else the first one that is whole, because its
    kubelet and its pods need not stop; else the first one. ``etcd_image`` is that of the backup.
    """
    nodes = topology.control_planes
    recorded = [node for node in nodes if record and node.name == record.seed]
    whole = [node for node in nodes if is_whole(found[node.host], etcd_image=etcd_image)]
    return next(iter([*recorded, *whole, *nodes]))


def etcd_image_of(backup: Backup) -> str:
    """Return the image of etcd in a backup.

    Raises:
        ValueError: the manifest cannot be parsed.
    """
    try:
        (container,) = yaml.safe_load(backup.parts["manifests/etcd.yaml"])["spec"]["containers"]
        return str(container["image"])
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"its manifest of etcd cannot be parsed: {error}") from None


def is_same_etcd(one: str, other: str) -> bool:
    """Return whether two images of etcd have the same minor release, or the same name if they do not show it.

    An older minor release does not start with the data of a newer one, and does not join its cluster. An upgrade of
    Kubernetes replaces etcd first, so that an interrupted one leaves a newer etcd than its kubeadm joins others with.
    """

    return (etcd_minor(one) or one) == (etcd_minor(other) or other)


def etcd_minor(image: str) -> tuple[int, int] | None:
    """Return the minor release that an image of etcd shows in its tag, like ``(3, 6)``; None if it shows none."""
    match = re.search(r":v?(\d+)\.(\d+)\.[^:/]*$", image)
    return (int(match[1]), int(match[2])) if match else None


def is_whole(found: KubeadmNodeState, *, etcd_image: str) -> bool:
    """Return whether only the data of a control plane has to be replaced.

    It has all of kubeadm's files, and an etcd of the same minor release as the backup's ``etcd_image``.
    """
    return (
        found.has_joined
        and is_same_etcd(found.etcd_image, etcd_image)
        and {"admin.conf", "pki/ca.key", "pki/etcd/ca.crt"} <= found.files
        and all(f"manifests/{name}.yaml" in found.files or name in found.set_aside for name in MANIFESTS)
    )


def revision_bump(revision: int, *, now: int) -> int:
    """Return by how much etcd's revisions are raised, from the backup's ``revision`` and the seconds since 1970.

    Clients must never see a revision go back, also not when the same backup is restored a second time. Time is ahead of
    every earlier revision: no etcd makes a thousand of them a second for years.
    """
    return max(10**9, now * 1000 - revision)


def differing_nodes(topology: Topology, *, backup: Backup) -> Iterator[str]:
    """Yield which nodes are only in the backup, and which are only in the inventory."""
    listed, known = {node.name for node in topology.nodes}, set(backup.manifest.nodes)
    if lost := sorted(known - listed):
        yield f"only in the backup: {', '.join(lost)}"
    if new := sorted(listed - known):
        yield f"only in the inventory: {', '.join(new)}"


def lost_nodes(
    members: ClusterMembersState,
    *,
    topology: Topology,
    machine_ids: Mapping[str, str],
    known: Collection[str],
    seed: Node,
) -> list[str]:
    """Return the Node objects of control planes that no longer exist: their machines were lost or replaced.

    ``machine_ids`` are those of the inventory's control planes by host, ``known`` the names of members of etcd, as it was
    before.
    """
    own = {node.name: machine_ids[node.host] for node in topology.control_planes}
    workers = {node.name for node in topology.workers}
    return sorted(
        name
        for name, node in members.nodes.items()
        if (node.control_plane or name in known)
        # The seed's kubelet takes its object over.
        and name not in workers | {seed.name}
        and own.get(name) != node.machine_id
    )
