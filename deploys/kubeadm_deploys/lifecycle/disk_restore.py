"""Restore a cluster that has lost etcd's majority from the disk of a control plane that is left, without a backup.

The database of that member becomes the data of a new etcd cluster with one member, as the snapshot of a backup does. etcd is
ended before the database is copied, which then has every write that this member knew to be acknowledged: as much as
``etcd --force-new-cluster`` keeps, but with another cluster ID, by which machines of before are recognised.

Source: etcd's operations guide, "Disaster recovery"; etcd's server/etcdserver/bootstrap.go.
"""

import time
from collections.abc import Collection, Generator
from datetime import UTC, datetime
from functools import partial

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand

from kubeadm_deploys.cluster.cleaning import clean_command
from kubeadm_deploys.cluster.leader import active_hosts, ask_planned_leader
from kubeadm_deploys.cluster.members import restored_cluster
from kubeadm_deploys.facts.kubeadm_node import (
    FROM_DISK,
    MANIFESTS,
    RESTORE_FOLDER,
    SAVED_ETCD,
    SET_ASIDE,
    KubeadmNode,
    NodeState,
    node_state,
)
from kubeadm_deploys.facts.own_etcd import OwnEtcd, OwnEtcdState
from kubeadm_deploys.lifecycle.disk_restore_plan import (
    DiskRestore,
    described,
    disk_problems,
    has_old_etcd,
    survivors,
)
from kubeadm_deploys.lifecycle.restore import refuse_unconfirmed_restore
from kubeadm_deploys.lifecycle.restore_checks import unreached_problems
from kubeadm_deploys.lifecycle.restore_plan import RestoreRecord, record_in, revision_bump
from kubeadm_deploys.lifecycle.restore_steps import (
    WORK,
    control_planes_stopped,
    delete_lost_nodes,
    run_on,
    seed_of,
)
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.nodes import API_PORT, Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.barrier import barrier
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.preflight.check import other_cluster_findings, refuse, refuse_all
from kubeadm_deploys.remote.reading import NotRead, ask, in_parallel, read
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.run.locking import check_under_lock
from kubeadm_deploys.scripts import script
from kubeadm_deploys.sections.api_endpoint import (
    install_api_endpoint,
    remove_other_api_endpoints,
    resolve_api_endpoint,
)


@deploy("Restore from a disk")
def restore_from_disk(
    *,
    options: ClusterOptions,
    topology: Topology,
    source: str,
    path: str,
    others: Collection[str],
    confirmation: object,
) -> None:
    """Make the newest data that is left on a control plane the cluster's, and clean the other control planes.

    + source: "disk"
    + path: of a backup, which must not be named together with it
    + others: the names of other data that was given, which mean nothing here
    + confirmation: the cluster's name, as the operator gave it

    Raises:
        InputError: the source is another one, data was given that means nothing here, the cluster's name is missing, or
            the run is limited to some hosts.
        DeployError: lists every reason why the cluster is not restored.
    """
    if source != "disk" or path:
        raise InputError(
            [
                "from: only 'disk' is known, and not together with a backup; name either from=disk or backup=FILE"
            ]
        )
    if others:
        raise InputError(
            [
                f"{name}: means nothing with from=disk, which never gives up data that is served or newer; leave it out"
                for name in others
            ]
        )
    refuse_unconfirmed_restore(
        options, confirmation=confirmation, loses="writes that only the lost control planes had"
    )
    state = host.state
    find = partial(_find, state, options=options, topology=topology)
    restore, words = part(state, Decisions).once("restore", find)
    part(state, Decisions).once("what is restored", lambda: logger.info(f"--> {words}"))
    check_under_lock(lambda: find()[0].refuse_another(restore), key="restore")
    node = topology.node(host.name)
    if node in topology.workers and read(host, KubeadmNode).has_joined:
        # As long as the seed does not serve, a lost control plane may come back.
        install_api_endpoint(options=options, topology=topology)
    barrier(name="The workers look for the API on the control planes of the inventory")
    if host.name == restore.seed.host:
        control_planes_stopped(name="Stop the control planes", restore=restore, topology=topology)
        disk_restored(name=f"Restore etcd on {restore.seed.name}", restore=restore)
        disk_restore_ended(name="Clean the other control planes", restore=restore, topology=topology)
    barrier(name="The restored API answers")


def lead_workers(*, options: ClusterOptions, topology: Topology) -> None:
    """Resolve the API's name on this machine to the restored cluster, if it is a worker; call it when the API answers."""
    if topology.node(host.name) in topology.workers and read(host, KubeadmNode).has_joined:
        resolve_api_endpoint(options=options, topology=topology)
        remove_other_api_endpoints(options=options, topology=topology)


def _find(state: State, *, options: ClusterOptions, topology: Topology) -> tuple[DiskRestore, str]:
    """Decide from which disk the cluster is restored, and say what is lost; refuse with every reason why it is not."""
    active = active_hosts(state)
    refuse_all(list(unreached_problems(topology, active=active)))
    nodes = topology.control_planes
    hosts = [inventory.get_host(node.host) for node in nodes]
    machines = [inventory.get_host(name) for name in active]
    found = in_parallel(lambda machine: read(machine, KubeadmNode), machines)
    api_leader = ask_planned_leader(state, topology)
    refuse(other_cluster_findings(api_leader, None, options=options))
    begun = record_in(topology, found, healthy=api_leader.healthy)
    running = [machine for machine in hosts if has_old_etcd(found[machine.name])]
    etcd = in_parallel(_ask_etcd, running)
    refuse_all(
        list(
            disk_problems(
                topology,
                found=found,
                etcd=etcd,
                api_leader=api_leader,
                record=begun,
            )
        )
    )
    able = [] if begun else survivors(topology, found=found, etcd=etcd)
    seed = next(node for node in nodes if node.name == begun.seed) if begun else able[0][0]
    record = begun or RestoreRecord(
        backup=f"{FROM_DISK}{able[0][1].revision}",
        began=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
        seed=seed.name,
    )
    restore = DiskRestore(seed=seed, record=record, found=begun, image=found[seed.host].etcd_image)
    return restore, described(able, restore=restore)


def _ask_etcd(machine: Host) -> OwnEtcdState | NotRead:
    try:
        return ask(machine, OwnEtcd)
    except NotRead as error:
        return error


@operation()
@fails_clearly
def disk_restored(*, restore: DiskRestore) -> Generator[FunctionCommand, None, None]:
    """Make the seed's own database the data of a new etcd cluster, keep the old data, and wait until the API answers.

    + restore: what is restored
    """
    yield calling(_restore, restore)


@operation()
@fails_clearly
def disk_restore_ended(*, restore: DiskRestore, topology: Topology) -> Generator[FunctionCommand, None, None]:
    """Clean the other control planes, delete the Node objects of those that were lost, and remove the record.

    + restore: what is restored
    + topology: the cluster
    """
    yield calling(_end, restore, topology)


def _restore(state: State, host: Host, restore: DiskRestore) -> bool:
    run = partial(run_on, host, seed_of(restore))
    seed, record = restore.seed, restore.record
    bump = revision_bump(record.revision, now=int(time.time()))
    commands = (
        script("copy-database", RESTORE_FOLDER, WORK),
        script(
            "unpack-snapshot",
            *(RESTORE_FOLDER, WORK, f"{SAVED_ETCD}/{record.began}", restore.image, seed.name),
            *(f"https://{seed.ip}:2380", record.token, str(bump), "--skip-hash-check"),
        ),
        script("start-static-pods", SET_ASIDE, *MANIFESTS),
        script("wait-for-api", f"{seed.ip}:{API_PORT}"),
    )
    return all(run(command) for command in commands)


def _end(state: State, host: Host, restore: DiskRestore, topology: Topology) -> bool:
    saved = f"{SAVED_ETCD}/{restore.record.began}"

    def cleaned(machine: Host) -> bool:
        found = ask(machine, KubeadmNode)
        done = node_state(found) is NodeState.ABSENT or run_on(host, machine, clean_command(saved=saved))
        return done and run_on(host, machine, script("end-restore", RESTORE_FOLDER, WORK))

    others: list[Node] = [node for node in topology.control_planes if node != restore.seed]
    if not all(in_parallel(cleaned, [inventory.get_host(node.host) for node in others]).values()):
        return False
    if not delete_lost_nodes(host, restore, topology):
        return False
    if not run_on(host, seed_of(restore), script("end-restore", RESTORE_FOLDER, WORK)):
        return False
    restored_cluster(state)
    logger.info(
        f"--> Restored from the disk of {restore.seed.name}; etcd's old data is kept on each control plane in {saved} until "
        "deploys/reset.py cleans the machine"
    )
    return True
