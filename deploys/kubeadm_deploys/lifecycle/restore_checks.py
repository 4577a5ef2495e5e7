"""Say why a cluster is not restored from a backup, from what was read. Nothing here contacts a machine."""

from collections.abc import Collection, Iterator, Mapping

from kubeadm_deploys.cluster.api_leader import ApiLeader, fingerprint
from kubeadm_deploys.cluster.live_options import option_releases
from kubeadm_deploys.cluster.membership import ETCD_DATA
from kubeadm_deploys.documents.backup_file import SNAPSHOT, Backup
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import (
    KubeadmNodeState,
    NodeState,
    is_of_another_cluster,
    is_same_ca,
    node_state,
)
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.lifecycle.restore_plan import (
    RestoreRecord,
    after_restore,
    configuration_in,
    etcd_minor,
    lacking,
)
from kubeadm_deploys.model.artifacts import ETCD_MINORS
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions

CLEAN_FIRST = (
    "clean this machine first, which ends its pods and deletes its data; before, copy /var/lib/etcd elsewhere if it may "
    "be the last copy: deploys/reset.py --limit HOST --data confirm=CLUSTER_NAME --data force=true"
)
"""The fix for a machine that has other releases than the backup."""

_SPARE = 256 << 20
"""Bytes that stay free on the disk of etcd: a full disk would stop it."""


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
    yield from unreached_problems(topology, active=active)
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


def unreached_problems(topology: Topology, *, active: Collection[str]) -> Iterator[str]:
    """Yield which control planes are not among the ``active`` hosts of this run."""
    for node in topology.control_planes:
        if node.host not in active:
            yield (
                f"{node.host}: cannot be reached, and its etcd may still serve the old data; start it; if it is lost, "
                "make sure that it stays off, and take it out of the inventory"
            )


def _machine_problems(
    found: KubeadmNodeState,
    machine: MachineState,
    *,
    backup: Backup,
    node: Node,
    control_plane: bool,
    ca: str,
) -> Iterator[str]:
    if unfit := unfit_problem(found, node=node, control_plane=control_plane, ca=ca):
        yield unfit
        return
    release = backup.manifest.releases["kubernetes"]
    kubelet = machine.kubelet.partition("-")[0]
    if not kubelet or node_state(found) is NodeState.ABSENT:
        return
    if control_plane and kubelet != release:
        yield (
            f"{node.host}: has Kubernetes {kubelet}, but the backup was made with {release}; restore onto new "
            f"machines, or {CLEAN_FIRST}"
        )
    elif control_plane and machine.api_server not in ("", release):
        # An upgrade replaces the static pods of all control planes before the first kubelet.
        yield (
            f"{node.host}: has an API server of Kubernetes {machine.api_server}, but the backup was made with {release}; restore "
            f"onto new machines, or {CLEAN_FIRST}"
        )


def unfit_problem(found: KubeadmNodeState, *, node: Node, control_plane: bool, ca: str) -> str:
    """Return why a machine has no place in a restored cluster with this CA certificate, empty if it has.

    Other control planes are cleaned.
    """
    if is_of_another_cluster(found, cluster_ca=ca):
        return (
            f"{node.host}: is a node of another cluster: its CA certificate differs from that of the cluster that is "
            "restored; take it out of the inventory; if its cluster is gone for good, clean it with deploys/reset.py"
        )
    if found.has_etcd_of_others and not found.restoring:
        return f"{node.host}: {ETCD_DATA[0]}; {ETCD_DATA[1]}"
    if not control_plane and found.is_control_plane:
        return (
            f"{node.host}: is a control plane, but in the group workers, so its etcd would go on with the old data; "
            "put it into the group control_plane"
        )
    if control_plane and found.is_worker:
        return f"{node.host}: is a worker of the cluster; put it into the group workers"
    return ""


def _state_problems(
    backup: Backup, *, api_leader: ApiLeader, record: RestoreRecord | None, force: bool, restart: bool
) -> Iterator[str]:
    if record:
        if record.backup != backup.sha256 and not restart:
            other, way = (
                ("a disk", "--data from=disk") if record.from_disk else ("another backup", "that file")
            )
            yield (
                f"a restore from {other} began at {record.began} and has not ended; finish it with {way}, or begin again with "
                "this backup: --data restart=true"
            )
    elif api_leader.healthy and not force:
        yield (
            f"the cluster works ({', '.join(node.name for node in api_leader.healthy)}); a restore gives up everything "
            f"that was written since {backup.manifest.made}; to do it, add --data force=true; if this backup has just been "
            f"restored: {after_restore(backup) or 'deploys/cluster.py joins the nodes that are missing'}"
        )


def release_problems(
    topology: Topology,
    *,
    found: Mapping[str, KubeadmNodeState],
    machines: Mapping[str, MachineState],
    releases: Mapping[str, Mapping[str, str]],
    options: ClusterOptions,
) -> Iterator[str]:
    """Yield which nodes have releases that a restore would replace, on all of them at once and under running pods.

    ``releases`` are those of the container runtime that were found, by component and host, ``options`` have those
    of the backup. A new release of the cluster's is brought to its nodes one by one, by an upgrade.
    """
    for node in topology.nodes:
        if node.host not in found or node_state(found[node.host]) is NodeState.ABSENT:
            continue
        wanted = option_releases(options)
        has = dict(releases[node.host])
        # That of control planes is compared with the backup first.
        if node in topology.workers and (kubelet := machines[node.host].kubelet.partition("-")[0]):
            wanted |= {"kubelet": str(options.kubernetes_version)}
            has |= {"kubelet": kubelet}
        differing = [
            f"{name} {release} (the restore would install {wanted[name]})"
            for name, release in has.items()
            if release != wanted[name]
        ]
        if differing:
            yield (
                f"{node.host}: has {', '.join(differing)}, which would change under running pods; use a backup that was made "
                f"with these releases, or {CLEAN_FIRST}"
            )


def disk_problem(seed: Node, *, machine: MachineState, found: KubeadmNodeState, backup: Backup) -> str:
    """Return that the seed's disk has no room for the snapshot and what is made of it, empty if it has."""
    disk = machine.disks.get("/var/lib/etcd")
    needed = 2 * backup.manifest.parts[SNAPSHOT].size + _SPARE
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


def older_etcd(backup: Backup, *, etcd_image: str) -> str:
    """Return that kubeadm would install an etcd that does not start with the backup's data, empty if it would not.

    An upgrade replaces etcd before the API server, and a backup may have been made in between. ``etcd_image`` is that of
    the backup.
    """
    release = backup.manifest.releases["kubernetes"]
    installed = ETCD_MINORS.get(".".join(release.split(".")[:2]))
    needed = etcd_minor(etcd_image)
    etcd = configuration_in(backup, "kubeadm-config", "ClusterConfiguration").get("etcd") or {}
    # kubeadm's own choice is replaced by a tag in its configuration.
    if (etcd.get("local") or {}).get("imageTag") or not (installed and needed) or installed >= needed:
        return ""
    return (
        f"backup: {backup.path} was made while an upgrade was between etcd and the API server: its etcd is {etcd_image}, and "
        f"kubeadm {release} installs etcd {installed[0]}.{installed[1]}, which does not start with this data; use the backup "
        "that was made before the upgrade, or restore onto a control plane that still has that etcd and all of kubeadm's files"
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
