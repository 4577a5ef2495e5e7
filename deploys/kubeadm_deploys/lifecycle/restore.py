"""Restore a cluster from a backup: one control plane from its snapshot, which the others then join anew.

Source: etcd's operations guide, "Disaster recovery"; Kubernetes documentation, "Operating etcd clusters".
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pyinfra import host, inventory, logger
from pyinfra.api import State, deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.leader import active_hosts, ask_planned_leader
from kubeadm_deploys.cluster.live_options import follow
from kubeadm_deploys.documents.backup_encryption import BackupError, BackupKey
from kubeadm_deploys.documents.backup_file import Backup, read_backup
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState, NodeState, node_state
from kubeadm_deploys.facts.machine import Machine, MachineState
from kubeadm_deploys.lifecycle import restore_steps
from kubeadm_deploys.lifecycle.restore_checks import (
    disk_problem,
    older_etcd,
    release_problems,
    restore_problems,
    unlisted_problem,
    unreadable_secrets,
)
from kubeadm_deploys.lifecycle.restore_plan import (
    Restore,
    RestoreRecord,
    choose_seed,
    differing_nodes,
    etcd_image_of,
    is_same_etcd,
    is_whole,
    record_in,
    settings_of,
)
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.findings import errors_of, unskipped
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.barrier import barrier
from kubeadm_deploys.preflight.check import candidates_of, kubeconfig_ca, refuse_all
from kubeadm_deploys.preflight.cluster_checks import cluster_findings
from kubeadm_deploys.preflight.conflict_checks import foreign_findings
from kubeadm_deploys.preflight.machine_checks import machine_findings
from kubeadm_deploys.remote.reading import NotRead, ask, in_parallel, read
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.run.locking import check_under_lock
from kubeadm_deploys.sections.container_runtime import installed_releases
from kubeadm_deploys.sections.container_runtime import reading as container_runtime_reading
from kubeadm_deploys.sections.node_kubelet_configuration import check_before_kubeadm


def plan_restore(
    *,
    options: ClusterOptions,
    topology: Topology,
    path: str,
    confirmation: object,
    key: BackupKey,
    force: bool,
    restart: bool,
) -> Restore:
    """Check the backup and the machines, and decide how the cluster is restored. Change nothing.

    + path: the backup
    + confirmation: the cluster's name, as the operator gave it
    + key: what opens the backup
    + force: restore although the cluster works
    + restart: begin again although a restore from another backup has not ended

    Raises:
        InputError: the backup or the cluster's name is missing, or the run is limited to some hosts.
        DeployError: lists every reason why the cluster is not restored.
    """
    if not path:
        raise InputError(
            ["backup: is missing; add --data backup=FILE with a file that deploys/backup.py wrote"]
        )
    refuse_unconfirmed_restore(
        options, confirmation=confirmation, loses="everything that was written since the backup"
    )
    state = host.state
    decisions = part(state, Decisions)
    backup = decisions.once("backup", lambda: _read(path, key=key))
    find = partial(
        _find, state, backup=backup, options=options, topology=topology, force=force, restart=restart
    )
    restore = decisions.once("restore", find)
    decisions.once("what is restored", lambda: _describe(restore, topology=topology))
    check_under_lock(lambda: find().refuse_another(restore), key="restore")
    return restore


@deploy("Restore")
def restore_control_plane(
    *, options: ClusterOptions, topology: Topology, restore: Restore, key: BackupKey
) -> None:
    """Stop etcd everywhere, restore it on the seed, and clean the other control planes, which then can join.

    + options: those of the cluster, see ``Restore.options``
    """
    barrier(name="Wait until every machine is prepared")
    if host.name == restore.seed.host:
        seed = restore.seed
        restore_steps.control_planes_stopped(
            name="Stop the control planes",
            restore=restore,
            topology=topology,
            check=lambda: check_before_kubeadm(
                inventory.get_host(seed.host), seed, options=options, topology=topology
            ),
        )
        restore_steps.etcd_restored(
            name=f"Restore etcd on {restore.seed.name}",
            restore=restore,
            key=key,
        )
        restore_steps.api_serves(
            name=f"Start the control plane of {restore.seed.name}",
            restore=restore,
            options=options,
            topology=topology,
        )
        restore_steps.restore_ended(name="Clean the other control planes", restore=restore, topology=topology)
    barrier(name="The restored API answers")


@deploy("Registration")
def register_workers(*, topology: Topology) -> None:
    """Have the kubelets of workers that are missing in the backup register; call it when they reach the API."""
    node = topology.node(host.name)
    if node in topology.workers:
        restore_steps.registered(name="Register the node", topology=topology, node=node)


def refuse_unconfirmed_restore(options: ClusterOptions, *, confirmation: object, loses: str) -> None:
    """Refuse a restore without the cluster's name, or of some hosts only.

    + confirmation: the cluster's name, as the operator gave it
    + loses: what the restore gives up

    Raises:
        InputError: the name is missing or another one, or the run is limited.
    """
    if str(confirmation) != options.cluster_name:
        raise InputError(
            [
                f"confirm: {'is missing' if confirmation is None else f'{confirmation!r} is not the name of the cluster'}, "
                f"so no changes were made; a restore gives up {loses}; to do it, add --data confirm={options.cluster_name}"
            ]
        )
    if isinstance(host.state.limit_hosts, list):
        raise InputError(["--limit: a restore needs every machine of the inventory; run it without --limit"])


def _read(path: str, *, key: BackupKey) -> Backup:
    try:
        return read_backup(Path(path).expanduser(), passphrase=key.passphrase, identity=key.path)
    except BackupError as error:
        raise DeployError(f"backup: {error}; no changes were made") from None


def _find(
    state: State,
    *,
    backup: Backup,
    options: ClusterOptions,
    topology: Topology,
    force: bool,
    restart: bool,
) -> Restore:
    """Decide how the cluster is restored, and refuse with every reason why it is not."""
    active = active_hosts(state)
    hosts = [inventory.get_host(name) for name in active]
    found = in_parallel(lambda machine: read(machine, KubeadmNode), hosts)
    machines = in_parallel(lambda machine: read(machine, Machine), hosts)
    api_leader = ask_planned_leader(state, topology)
    begun = record_in(topology, found, healthy=api_leader.healthy)
    refuse_all(
        list(
            restore_problems(
                backup,
                options=options,
                topology=topology,
                active=active,
                found=found,
                machines=machines,
                api_leader=api_leader,
                record=begun,
                kubeconfig_ca=kubeconfig_ca(options),
                force=force,
                restart=restart,
            )
        )
    )
    try:
        settings, etcd_image = settings_of(backup), etcd_image_of(backup)
    except ValueError as error:
        raise DeployError(
            f"backup: {backup.path}: {error}; no changes were made; use another backup"
        ) from None
    releases = in_parallel(
        lambda machine: installed_releases(read(machine, container_runtime_reading(options))), hosts
    )
    nodes = {name: has for name, has in releases.items() if node_state(found[name]) is not NodeState.ABSENT}
    following = follow(options, settings=settings, machines=nodes)
    seed = choose_seed(topology, found=found, record=begun, etcd_image=etcd_image)
    problems = [finding.sentence for finding in errors_of(following.findings)]
    problems += release_problems(
        topology, found=found, machines=machines, releases=releases, options=following.options
    )
    problems += _machine_errors(
        following.options, topology=topology, found=found, machines=machines, backup=backup
    )
    problems += filter(
        None,
        (
            disk_problem(seed, machine=machines[seed.host], found=found[seed.host], backup=backup),
            *(
                ()
                if is_whole(found[seed.host], etcd_image=etcd_image)
                else (unreadable_secrets(backup), older_etcd(backup, etcd_image=etcd_image))
            ),
            _ask_unlisted(topology, found=found),
        ),
    )
    refuse_all(problems)
    continues = begun and begun.backup == backup.sha256 and begun.seed == seed.name
    record = (
        begun
        if begun and continues
        else RestoreRecord(backup=backup.sha256, began=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}", seed=seed.name)
    )
    has = found[seed.host].etcd_image
    return Restore(
        backup=backup,
        settings=settings,
        options=following.options,
        seed=seed,
        record=record,
        found=begun,
        other_etcd="" if is_same_etcd(has, etcd_image) else has,
    )


def _machine_errors(
    options: ClusterOptions,
    *,
    topology: Topology,
    found: dict[str, KubeadmNodeState],
    machines: dict[str, MachineState],
    backup: Backup,
) -> Iterator[str]:
    """Yield the errors of preflight's checks that do not need a cluster."""
    candidates = candidates_of(
        topology,
        machines=machines,
        found=found,
        cluster_ca=backup.parts["pki/ca.crt"].decode(),
        members=None,
    )
    findings = [*cluster_findings(candidates, options=options, members=ClusterMembersState())]
    for candidate in candidates:
        findings += foreign_findings(candidate, options=options, topology=topology)
        findings += machine_findings(candidate, options=options)
    for finding in errors_of(unskipped(findings, skipped=options.skip_preflight_checks)):
        # Releases are compared with the backup's.
        if finding.check not in ("kubernetes-version", "another-cluster"):
            yield finding.sentence


def _ask_unlisted(topology: Topology, *, found: dict[str, KubeadmNodeState]) -> str:
    """Return that control planes outside the inventory serve the old data, empty if none is known to."""
    for node in topology.control_planes:
        if found[node.host].etcd_cluster:
            machine = inventory.get_host(node.host)
            with suppress(NotRead):
                etcd, healthy = ask(machine, EtcdMembers), ask(machine, EtcdHealth)
                return unlisted_problem(etcd, topology=topology, healthy=healthy)
    return ""


def _describe(restore: Restore, *, topology: Topology) -> None:
    manifest = restore.backup.manifest
    different = "".join(f"; {words}" for words in differing_nodes(topology, backup=restore.backup))
    anew = (
        f", whose control plane is made anew, because its etcd ({restore.other_etcd}) is not that of the backup"
        if restore.other_etcd
        else ""
    )
    logger.info(
        f"--> Backup of {manifest.made}: Kubernetes {manifest.releases['kubernetes']}, revision {manifest.revision}, "
        f"{manifest.keys} keys; it is restored on {restore.seed.name}{anew}{different}. Volumes, and what is outside the "
        "cluster, do not go back in time"
    )
