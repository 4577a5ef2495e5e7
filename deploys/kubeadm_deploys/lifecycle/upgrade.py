"""Upgrade a cluster in place, one node at a time, to the releases of the options."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.api_leader import fingerprint
from kubeadm_deploys.cluster.leader import (
    active_hosts,
    ask_control_planes,
    ask_leader,
    ask_lost_quorum,
    ask_planned_leader,
    wait_for_kubeadm,
)
from kubeadm_deploys.cluster.members import ask_planned_members, ask_planned_settings, ask_settings
from kubeadm_deploys.cluster.quorum import QUORUM_FIX
from kubeadm_deploys.cni import cni_of
from kubeadm_deploys.documents.backup_encryption import Protection
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState
from kubeadm_deploys.facts.machine import Machine
from kubeadm_deploys.facts.node_status import EtcdStatus, NodeStatuses
from kubeadm_deploys.facts.upgrade_state import UpgradeState
from kubeadm_deploys.lifecycle.backup import backup_path, write_now
from kubeadm_deploys.lifecycle.upgrade_checks import MachineReadings, Readings, found_releases, refusals
from kubeadm_deploys.lifecycle.upgrade_gates import PlaneReadings, unhealthy
from kubeadm_deploys.lifecycle.upgrade_plan import OwnOptions, Plan, plan_of, target_options, text
from kubeadm_deploys.lifecycle.upgrade_steps import Upgrading, begun, ended, upgraded
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.preflight.check import other_cluster_findings, refuse, with_own_options
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import ask_all, ask_what_is_missing, in_parallel, read
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.run.locking import check_under_lock
from kubeadm_deploys.sections import container_runtime, kube_packages
from kubeadm_deploys.sections.control_plane import find_cluster
from kubeadm_deploys.sections.readiness import cluster_ready, workloads


@dataclass(frozen=True, kw_only=True)
class Backup:
    """The backup before an upgrade: how it is encrypted, and the existing folder on this machine for it."""

    protection: Protection
    folder: str


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A planned upgrade: the host that makes it, and its plan.

    ``pending`` says why it cannot be planned before an interrupted kubeadm has ended, its files are restored, or
    the API answers again; the ``plan`` is None then.
    """

    coordinator: str
    plan: Plan | None = None
    pending: str = ""


@deploy("Upgrade")
def upgrade_cluster(
    *,
    options: ClusterOptions,
    topology: Topology,
    backup: Backup | None,
    drain_timeout: int,
    settle_timeout: int,
    discard_edits: bool = False,
) -> None:
    """Give the cluster the releases of the options, one node at a time; what is done already is skipped.

    + backup: made before the first change; None leaves it out
    + drain_timeout: limit for draining a node, in seconds
    + settle_timeout: limit for waiting until everything is whole again after a step, in seconds
    + discard_edits: lose what people have changed in manifests of static pods

    Raises:
        InputError: it is not clear how to encrypt the backup, or its folder does not exist.
        DeployError: lists every reason why the cluster must not be upgraded now.
        NotRead: a machine or the cluster did not answer.
    """
    state = host.state
    find = partial(_find, state, options=options, topology=topology, discard_edits=discard_edits)
    planned = part(state, Decisions).once(
        "upgrade", lambda: _printed(find(), options=options, backup=backup is not None)
    )
    if backup and (planned.plan is None or planned.plan.steps):
        _check_backup(backup, cluster_name=options.cluster_name)
    check_under_lock(partial(_refuse_changes, find, planned), key="upgrade")
    find_cluster(topology=topology)
    # One host acts for all machines: if it fails, nothing else is upgraded.
    if host.name == planned.coordinator:
        cluster_upgraded(
            name="Upgrade one node after the other",
            options=options,
            topology=topology,
            planned=planned,
            find=find,
            backup=backup,
            drain_timeout=drain_timeout,
            settle_timeout=settle_timeout,
        )
        # Drained nodes have left the DNS pods on one node.
        cluster_ready(
            name="Wait for nodes, network and DNS",
            topology=topology,
            workloads=workloads(options),
            timeout=options.ready_timeout,
            network=cni_of(options).install is not None,
        )


@operation()
@fails_clearly
def cluster_upgraded(
    *,
    options: ClusterOptions,
    topology: Topology,
    planned: Planned,
    find: Callable[[], Planned],
    backup: Backup | None,
    drain_timeout: int,
    settle_timeout: int,
) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Make the steps of an upgrade, planned anew from what is there now; the first failure ends it.

    + planned: what the operator has seen
    + find: plans
    + backup: made before the first change
    """
    if not host.state.is_executing:
        if planned.plan is None or planned.plan.changes:
            # The plan only needs to know that something changes; the real steps act on other hosts too.
            yield StringCommand("kubeadm upgrade")
        else:
            host.noop("the cluster has these releases")
        return
    plan = planned.plan if planned.plan and not planned.plan.changes else None
    if plan is None:
        plan = _plan_now(host.state, topology=topology, find=find)
    if not plan.changes:
        host.noop("the cluster has these releases")
        return
    if planned.pending:
        for line in text(plan, cluster=options.cluster_name, backup=backup is not None):
            host.log(line)
    api_leader = ask_leader(host.state, topology)
    upgrading = Upgrading(
        topology=topology,
        plan=plan,
        leader=inventory.get_host(api_leader.leader),
        own=own_options(host.state),
        drain_timeout=drain_timeout,
        settle_timeout=settle_timeout,
    )
    if backup and plan.steps:
        path = backup_path(
            folder=backup.folder,
            cluster_name=options.cluster_name,
            ca=fingerprint(api_leader.ca_certificate),
            made=datetime.now(UTC),
        )
        yield calling(_back_up, options, topology, backup.protection, path)
    if plan.begins:
        yield calling(begun, upgrading)
    for step in plan.steps:
        yield calling(upgraded, upgrading, step)
    yield calling(ended, upgrading)


def _check_backup(backup: Backup, *, cluster_name: str) -> None:
    try:
        backup.protection.check()
        backup_path(folder=backup.folder, cluster_name=cluster_name, ca="", made=datetime.now(UTC))
    except InputError as error:
        raise InputError(
            [f"{problem}; or leave the backup out with --data backup=false" for problem in error.problems]
        ) from None


def _back_up(
    state: State, host: Host, options: ClusterOptions, topology: Topology, protection: Protection, path: Path
) -> bool:
    host.log(f"Writing a backup to {path}")
    return write_now(state, host, options, topology, protection, path, None)


def _plan_now(state: State, *, topology: Topology, find: Callable[[], Planned]) -> Plan:
    """Plan while operations run: wait for an interrupted kubeadm and for the API first."""
    api_leader = ask_leader(state, topology)
    if api_leader.problem:
        raise DeployError(api_leader.problem)
    for node in topology.workers:
        wait_for_kubeadm(inventory.get_host(node.host))
    ask_settings(state, topology, refresh=True)
    planned = find()
    if planned.plan is None:
        raise DeployError(f"{planned.pending}; nothing was upgraded; run again")
    return planned.plan


def _printed(planned: Planned, *, options: ClusterOptions, backup: bool) -> Planned:
    if planned.plan is None:
        logger.info(f"--> {planned.pending}; the upgrade is planned once the cluster answers")
    else:
        for line in text(planned.plan, cluster=options.cluster_name, backup=backup):
            logger.info(f"--> {line}")
    return planned


def _refuse_changes(find: partial[Planned], planned: Planned) -> None:
    """Plan again under the run lock; refuse if the upgrade is no longer the planned one."""
    now = find()
    if planned.plan is None or now.plan is None:
        return
    if (now.coordinator, now.plan.steps, now.plan.releases) != (
        planned.coordinator,
        planned.plan.steps,
        planned.plan.releases,
    ):
        raise DeployError(
            "the cluster has changed since this run was prepared; no changes were made; run it again"
        )


def _find(state: State, *, options: ClusterOptions, topology: Topology, discard_edits: bool) -> Planned:
    """Read everything and plan, or refuse with every reason."""
    if isinstance(state.limit_hosts, list):
        raise InputError(["--limit: an upgrade is one of the whole cluster; run it without --limit"])
    missing = [node.name for node in topology.nodes if node.host not in active_hosts(state)]
    if missing:
        raise DeployError(
            f"{', '.join(missing)}: cannot be reached; no changes were made; start the machine, or remove it with "
            "deploys/remove_node.py and take it out of the inventory"
        )
    api_leader = ask_planned_leader(state, topology)
    settings = ask_planned_settings(state, topology) if api_leader.exists else None
    refuse(other_cluster_findings(api_leader, settings, options=options))
    if not api_leader.exists:
        raise DeployError(
            f"{api_leader.problem or 'there is no cluster'}; no changes were made; deploys/cluster.py creates one"
        )
    planned = partial(Planned, coordinator=api_leader.leader)
    if pending := _pending(state, topology=topology):
        return planned(pending=pending)
    if lost := ask_lost_quorum(state, topology):
        raise DeployError(f"{api_leader.problem}; {lost}; {QUORUM_FIX}; no changes were made")
    if api_leader.problem and not api_leader.healthy:
        # For example after a reboot.
        return planned(pending=api_leader.problem)
    members = ask_planned_members(state, topology)
    if api_leader.problem or members is None or settings is None or settings.silent:
        raise DeployError(
            f"{api_leader.problem or 'the API does not answer'}; no changes were made; run again when it does"
        )
    own = own_options(state)
    leader = inventory.get_host(api_leader.leader)
    found = _read(state, options=options, topology=topology, leader=leader, own=own)(
        members=members, settings=settings, cluster_ca=api_leader.ca_certificate
    )
    target = target_options(options, found_releases(topology, found))
    if reasons := refusals(
        topology, options=options, target=target, found=found, discard_edits=discard_edits
    ):
        listed = "".join(f"\n  - {reason}" for reason in reasons)
        raise DeployError(f"the cluster cannot be upgraded now; no changes were made:{listed}")
    return planned(plan=plan_of(topology, leader=api_leader.leader, target=target, found=found, own=own))


def _pending(state: State, *, topology: Topology) -> str:
    """Return why nothing can be planned yet although an earlier run's kubeadm only has to end, else empty."""
    found = dict(ask_control_planes(state, topology))
    for node in topology.workers:
        found[node.host] = read(inventory.get_host(node.host), KubeadmNode)
    known = {name: each for name, each in found.items() if isinstance(each, KubeadmNodeState)}
    if running := [topology.node(name).name for name, each in known.items() if each.kubeadm_runs]:
        return f"{', '.join(running)}: kubeadm of an earlier run is still running"
    if cut := [topology.node(name).name for name, each in known.items() if each.backups]:
        return f"{', '.join(cut)}: kubeadm was interrupted between two renames, and the manifest is restored first"
    return ""


def _read(
    state: State, *, options: ClusterOptions, topology: Topology, leader: Host, own: OwnOptions
) -> "partial[Readings]":
    planes = {node.host for node in topology.control_planes}

    def ask_one(machine: Host) -> MachineReadings:
        its_options = own(options, machine.name)
        runtime, packages = container_runtime.reading(its_options), kube_packages.reading(its_options)
        wanted: list[Reading[Any]] = [
            *(Reading(KubeadmNode), Reading(Machine), Reading(UpgradeState), runtime, packages)
        ]
        ask_what_is_missing(machine, wanted)
        return MachineReadings(
            kubeadm=read(machine, KubeadmNode),
            machine=read(machine, Machine),
            packages=read(machine, packages),
            runtime=read(machine, runtime),
            upgrade=read(machine, UpgradeState),
        )

    machines = in_parallel(ask_one, [inventory.get_host(node.host) for node in topology.nodes])
    etcd = in_parallel(
        lambda machine: ask_all(machine, [Reading(EtcdStatus)])[Reading(EtcdStatus)],
        [inventory.get_host(name) for name in planes],
    )
    reasons = unhealthy(
        topology,
        planes={name: PlaneReadings(kubeadm=machines[name].kubeadm, etcd=etcd[name]) for name in planes},
        members=read(leader, EtcdMembers),
        healthy=read(leader, EtcdHealth),
    )
    return partial(
        Readings,
        machines=machines,
        nodes={node.name: node for node in read(leader, NodeStatuses)},
        unhealthy=tuple(reasons),
    )


def own_options(state: State) -> OwnOptions:
    """Return the function that gives the options of single hosts."""
    data = {each.name: each.data.dict() for each in state.inventory}

    def of_host(options: ClusterOptions, name: str) -> ClusterOptions:
        return with_own_options(options, data=data, host=name)

    return of_host
