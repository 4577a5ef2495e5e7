"""Decide how a cluster is restored from a backup, and why it is not.

Nothing here contacts a machine. The record of a restore is the first line of a file on every control plane; it
exists from before the first change until the restored API serves, so that the next run continues.
"""

import base64
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from kubeadm_deploys.cluster.api_leader import ApiLeader, fingerprint
from kubeadm_deploys.cluster.membership import ETCD_DATA
from kubeadm_deploys.documents.backup_file import SNAPSHOT, Backup
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_settings import ClusterSettings, ClusterSettingsState
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import (
    MANIFESTS,
    KubeadmNodeState,
    NodeState,
    is_of_another_cluster,
    is_same_ca,
    node_state,
)
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import shared_pki

SPARE = 256 << 20
"""Bytes that stay free on the disk of etcd: a full disk would stop it."""


@dataclass(frozen=True, kw_only=True)
class RestoreRecord:
    """A restore that has begun: the ``backup`` (SHA-256 of the file), when it began (UTC), and the seed's name."""

    backup: str
    began: str
    seed: str

    @property
    def line(self) -> str:
        """The record as it is on the machines."""
        return f"{self.backup} {self.began} {self.seed}"

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
class Restore:
    """What a run restores: the ``backup``, onto the ``seed``, as the ``record`` says.

    ``settings`` are the cluster's in the backup, and ``options`` have its releases.
    """

    backup: Backup
    settings: ClusterSettingsState
    options: ClusterOptions
    seed: Node
    record: RestoreRecord

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
    objects = base64.b64encode(backup.parts["config-maps.json"]).decode()
    settings = ClusterSettings().process([f"objects {objects}"])
    if settings is None:
        raise ValueError("it has no configuration of kubeadm")
    return replace(settings, record=settings.record.with_upgrade(None))


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
    topology: Topology, *, found: Mapping[str, KubeadmNodeState], record: RestoreRecord | None
) -> Node:
    """Return the control plane on which the cluster is restored; the others join it.

    That of the record, unless it is no longer in the inventory; else the first one that is whole, because its
    kubelet and its pods need not stop; else the first one.
    """
    nodes = topology.control_planes
    recorded = [node for node in nodes if record and node.name == record.seed]
    whole = [node for node in nodes if is_whole(found[node.host])]
    return next(iter([*recorded, *whole, *nodes]))


def is_whole(found: KubeadmNodeState) -> bool:
    """Return whether a control plane has all of kubeadm's files, so that only its data has to be replaced."""
    return (
        found.has_joined
        and {"admin.conf", "pki/ca.key", "pki/etcd/ca.crt"} <= found.files
        and all(f"manifests/{name}.yaml" in found.files or name in found.set_aside for name in MANIFESTS)
    )


def restore_problems(
    backup: Backup,
    *,
    options: ClusterOptions,
    topology: Topology,
    active: Collection[str],
    found: Mapping[str, KubeadmNodeState],
    machines: Mapping[str, MachineState],
    api_leader: ApiLeader,
    record: RestoreRecord | None,
    kubeconfig_ca: str | None,
    force: bool,
    restart: bool,
) -> Iterator[str]:
    """Yield why a cluster is not restored, each reason as a sentence with its fix.

    ``active`` are the hosts of this run, ``found`` and ``machines`` what was read on them.
    """
    name, has = options.cluster_name, backup.manifest.cluster_name
    if has != name:
        yield (
            f"backup: {backup.path} is of the cluster {has!r}, but cluster_name is {name!r}; name a backup of "
            "this cluster, or the inventory of that one"
        )
        return
    if missing := lacking(backup):
        yield f"backup: {backup.path} lacks {', '.join(missing)}; use another backup"
        return
    for node in topology.control_planes:
        if node.host not in active:
            yield (
                f"{node.host}: cannot be reached, and its etcd may still serve the old data; start it; if it is lost, "
                "make sure that it stays off, and take it out of the inventory"
            )
    ca = backup.parts["pki/ca.crt"].decode()
    if kubeconfig_ca and not is_same_ca(kubeconfig_ca, ca):
        yield (
            f"kubeconfig: {options.kubeconfig_path} has another CA certificate ({fingerprint(kubeconfig_ca)}) than "
            f"the backup ({fingerprint(ca)}); name a backup of this cluster, or move that file away"
        )
    for node in topology.nodes:
        if node.host in found:
            yield from _machine_problems(
                found[node.host],
                machines[node.host],
                backup=backup,
                node=node,
                control_plane=node in topology.control_planes,
                ca=ca,
            )
    yield from _state_problems(backup, api_leader=api_leader, record=record, force=force, restart=restart)


def _machine_problems(
    found: KubeadmNodeState,
    machine: MachineState,
    *,
    backup: Backup,
    node: Node,
    control_plane: bool,
    ca: str,
) -> Iterator[str]:
    if is_of_another_cluster(found, cluster_ca=ca):
        yield (
            f"{node.host}: is a node of another cluster: its CA certificate differs from that of the backup; take it "
            "out of the inventory; if its cluster is gone for good, clean it with deploys/reset.py"
        )
        return
    if found.has_etcd_of_others and not found.restoring:
        yield f"{node.host}: {ETCD_DATA[0]}; {ETCD_DATA[1]}"
        return
    if not control_plane and found.is_control_plane:
        yield (
            f"{node.host}: is a control plane, but in the group workers, so its etcd would go on with the old data; "
            "put it into the group control_plane"
        )
    if control_plane and found.is_worker:
        yield f"{node.host}: is a worker of the cluster; put it into the group workers"
    release = backup.manifest.releases["kubernetes"]
    kubelet = machine.kubelet.partition("-")[0]
    if not kubelet or node_state(found) is NodeState.ABSENT:
        return
    if control_plane and kubelet != release:
        yield (
            f"{node.host}: has Kubernetes {kubelet}, but the backup was made with {release}; restore onto new "
            "machines, or clean this one first: deploys/reset.py --limit HOST --data confirm=CLUSTER_NAME --data force=true"
        )
    elif control_plane and machine.api_server not in ("", release):
        # An upgrade replaces the static pods of all control planes before the first kubelet.
        yield (
            f"{node.host}: has an API server of Kubernetes {machine.api_server}, but the backup was made with {release}; restore "
            "onto new machines, or clean this one first: deploys/reset.py --limit HOST --data confirm=CLUSTER_NAME --data "
            "force=true"
        )
    elif not control_plane and _minor(kubelet) > _minor(release):
        yield (
            f"{node.host}: has a kubelet of Kubernetes {kubelet}, which is newer than the backup's API server "
            f"({release}); clean it first: deploys/reset.py --limit HOST --data confirm=CLUSTER_NAME --data force=true"
        )


def _minor(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in release.split(".")[:2])


def _state_problems(
    backup: Backup, *, api_leader: ApiLeader, record: RestoreRecord | None, force: bool, restart: bool
) -> Iterator[str]:
    if record:
        if record.backup != backup.sha256 and not restart:
            yield (
                f"a restore from another backup began at {record.began} and has not ended; finish it with that file, "
                "or begin again with this one: --data restart=true"
            )
    elif api_leader.healthy and not force:
        yield (
            f"the cluster works ({', '.join(node.name for node in api_leader.healthy)}); a restore gives up everything "
            f"that was written since {backup.manifest.made}; to do it, add --data force=true; if this backup has just been "
            "restored, deploys/cluster.py joins the nodes that are missing"
        )


def revision_bump(revision: int, *, now: int) -> int:
    """Return by how much etcd's revisions are raised, from the backup's ``revision`` and the seconds since 1970.

    Clients must never see a revision go back, also not when the same backup is restored a second time. Time is ahead of
    every earlier revision: no etcd makes a thousand of them a second for years.
    """
    return max(10**9, now * 1000 - revision)


def disk_problem(seed: Node, *, machine: MachineState, found: KubeadmNodeState, backup: Backup) -> str:
    """Return that the seed's disk has no room for the snapshot and what is made of it, empty if it has."""
    disk = machine.disks.get("/var/lib/etcd")
    needed = 2 * backup.manifest.parts[SNAPSHOT].size + SPARE
    if disk is None or disk.free >= needed or found.unpacked:
        return ""
    return (
        f"{seed.host}: the disk of /var/lib/etcd has {disk.free >> 20} MiB free, and the restore needs "
        f"{needed >> 20} MiB beside the old data, which is kept; free some space there, or mount a bigger disk"
    )


def unreadable_secrets(backup: Backup) -> str:
    """Return that kubeadm would not start an API server that can decrypt the backup's Secrets, empty if it would."""
    argument = "encryption-provider-config"
    if f"--{argument}=".encode() not in backup.parts["manifests/kube-apiserver.yaml"]:
        return ""
    if argument.encode() in backup.parts["config-maps.json"]:
        return ""
    return (
        f"the API server of the backup had the argument --{argument}, which is not in kubeadm's configuration, so that "
        "a new one could not read the Secrets; restore onto a machine that still has the manifest, or make backups with "
        "the argument in the ConfigMap kubeadm-config"
    )


def unlisted_problem(etcd: tuple[EtcdMember, ...], *, topology: Topology, healthy: Collection[str]) -> str:
    """Return that control planes outside the inventory serve the old data, empty if none does.

    ``healthy`` are the addresses of the members that answer.
    """
    known = {node.ip for node in topology.control_planes}
    others = sorted(
        member.name or member.peer_ip
        for member in etcd
        if member.peer_ip in healthy and member.peer_ip not in known
    )
    if not others:
        return ""
    return (
        f"{', '.join(others)}: control planes of the cluster that are not in the inventory serve the data that the "
        "restore gives up; add them to the inventory, or stop them for good"
    )


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
    backup: Backup,
    seed: Node,
) -> list[str]:
    """Return the Node objects of control planes that no longer exist: their machines were lost or replaced.

    ``machine_ids`` are those of the inventory's control planes by host.
    """
    own = {node.name: machine_ids[node.host] for node in topology.control_planes}
    workers = {node.name for node in topology.workers}
    return sorted(
        name
        for name, node in members.nodes.items()
        if (node.control_plane or name in backup.manifest.members)
        # The seed's kubelet takes its object over.
        and name not in workers | {seed.name}
        and own.get(name) != node.machine_id
    )
