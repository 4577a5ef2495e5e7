"""Upgrade a cluster in place, one node at a time, to the releases of the options."""

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.clouds import cloud_of
from kubeadm_deploys.cluster.api_leader import fingerprint
from kubeadm_deploys.cluster.leader import (
    active_hosts,
    ask_leader,
    ask_lost_quorum,
    ask_planned_leader,
    wait_for_kubeadm,
)
from kubeadm_deploys.cluster.members import ask_planned_members, ask_planned_settings, ask_settings
from kubeadm_deploys.cluster.quorum import QUORUM_FIX
from kubeadm_deploys.cni import cni_of
from kubeadm_deploys.documents.backup_encryption import Protection
from kubeadm_deploys.lifecycle.backup import backup_path, write_now
from kubeadm_deploys.lifecycle.upgrade_checks import found_releases, refusals
from kubeadm_deploys.lifecycle.upgrade_choices import batches, crowded, limited
from kubeadm_deploys.lifecycle.upgrade_plan import (
    Plan,
    plan_of,
    target_options,
    text,
)
from kubeadm_deploys.lifecycle.upgrade_readings import ask_pending, own_options, read_all
from kubeadm_deploys.lifecycle.upgrade_steps import (
    AddOn,
    Upgrading,
    add_on_upgraded,
    begun,
    ended,
    paused,
    upgraded,
)
from kubeadm_deploys.model.errors import InputError, shown
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.preflight.check import other_cluster_findings, refuse
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.run.locking import check_under_lock
from kubeadm_deploys.sections.control_plane import find_cluster
from kubeadm_deploys.sections.readiness import cluster_ready, workloads

CONTROL_PLANE, ALWAYS = "control_plane", "always"
"""The values of ``only`` and ``drain``."""

MOST_AT_ONCE = 8
"""The most workers at once: sshd accepts ten sessions per connection (MaxSessions), and the leader's has one for the
drain of each worker, and that of the run lock."""


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
    place: object = None,
    only: str = "",
    drain: str = "",
    workers_at_once: int = 1,
) -> None:
    """Give the cluster the releases of the options, one node at a time; what is done already is skipped.

    With ``--limit``, only the nodes of its hosts are upgraded.

    + backup: made before the first change; None leaves it out
    + drain_timeout: limit for draining a node, in seconds
    + settle_timeout: limit for waiting until everything is whole again after a step, in seconds
    + discard_edits: lose what people have changed in manifests of static pods
    + place: the cluster's place in its cloud, from ``place_from_data``
    + only: ``control_plane`` leaves out the workers; empty leaves out none
    + drain: ``always`` drains nodes for a patch, too; empty only if a minor changes
    + workers_at_once: how many workers are drained and upgraded at the same time, at most 8

    Raises:
        InputError: it is not clear how to encrypt the backup, its folder does not exist, ``only`` or ``drain`` is
            not known, or ``workers_at_once`` is too high.
        DeployError: lists every reason why the cluster must not be upgraded now.
        NotRead: a machine or the cluster did not answer.
    """
    state = host.state
    if drain not in ("", ALWAYS):
        raise InputError([f"drain: {shown(drain)} is not known; choose {ALWAYS}, or leave it out"])
    if workers_at_once > MOST_AT_ONCE:
        raise InputError(
            [
                f"workers_at_once: {workers_at_once} is more than {MOST_AT_ONCE}, and all drains share one SSH connection, "
                f"which allows ten sessions; choose at most {MOST_AT_ONCE}"
            ]
        )
    chosen = _chosen(state, topology=topology, only=only)
    find = partial(
        _find,
        state,
        options=options,
        topology=topology,
        chosen=chosen,
        discard_edits=discard_edits,
        drain_always=drain == ALWAYS,
        workers_at_once=workers_at_once,
    )
    planned = part(state, Decisions).once(
        "upgrade", lambda: _printed(find(), options=options, backup=backup is not None)
    )
    if backup and (planned.plan is None or planned.plan.upgrades):
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
            place=place,
            workers_at_once=workers_at_once,
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
    place: object,
    workers_at_once: int,
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
        add_ons=_add_ons(plan, topology=topology, place=place),
        drain_timeout=drain_timeout,
        settle_timeout=settle_timeout,
        heals=set(plan.heals),
    )
    if backup and plan.upgrades:
        path = backup_path(
            folder=backup.folder,
            cluster_name=options.cluster_name,
            ca=fingerprint(api_leader.ca_certificate),
            made=datetime.now(UTC),
        )
        yield calling(_back_up, options, topology, backup.protection, path)
    if plan.begins:
        yield calling(begun, upgrading)
    for steps in batches(plan.steps, workers_at_once=workers_at_once):
        yield calling(upgraded, upgrading, steps)
    for add_on in upgrading.add_ons:
        yield calling(add_on_upgraded, upgrading, add_on)
    yield calling(ended if plan.ends else paused, upgrading)


def _add_ons(plan: Plan, *, topology: Topology, place: object) -> tuple[AddOn, ...]:
    """Return the add-ons that a plan upgrades: the pod network, and what the cloud needs."""
    cni, cloud = cni_of(plan.target), cloud_of(plan.target)
    add_ons = []
    if cni.upgrade_commands and cni.component in plan.add_ons:
        commands = partial(cni.upgrade_commands, topology=topology)
        add_ons.append(AddOn(folder=cni.folder, workloads=cni.workloads, commands=commands))
    if cloud.upgrade_commands and set(plan.add_ons) - {cni.component}:
        commands = partial(cloud.upgrade_commands, place=place)
        add_ons.append(
            AddOn(
                folder=cloud.folder,
                workloads=cloud.workloads,
                commands=commands,
                afterwards=cloud.upgraded_commands,
            )
        )
    return tuple(add_ons)


def _chosen(state: State, *, topology: Topology, only: str) -> list[Node]:
    """Return the nodes that are upgraded if they need it.

    Raises:
        InputError: ``only`` is not known.
    """
    if only not in ("", CONTROL_PLANE):
        raise InputError([f"only: {shown(only)} is not known; choose {CONTROL_PLANE}, or leave it out"])
    nodes = topology.control_planes if only else topology.nodes
    if not isinstance(state.limit_hosts, list):
        return list(nodes)
    limited_to = {machine.name for machine in state.limit_hosts}
    return [node for node in nodes if node.host in limited_to]


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
    if (now.coordinator, now.plan.steps, now.plan.add_ons, now.plan.releases) != (
        planned.coordinator,
        planned.plan.steps,
        planned.plan.add_ons,
        planned.plan.releases,
    ):
        raise DeployError(
            "the cluster has changed since this run was prepared; no changes were made; run it again"
        )


def _find(
    state: State,
    *,
    options: ClusterOptions,
    topology: Topology,
    chosen: Collection[Node],
    discard_edits: bool,
    drain_always: bool,
    workers_at_once: int,
) -> Planned:
    """Read everything and plan, or refuse with every reason."""
    active = active_hosts(state)
    failed = {machine.name for machine in state.failed_hosts}
    if missing := [node.name for node in topology.nodes if node.host in failed]:
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
    # With --limit, the leader may not be part of the run.
    planned = partial(Planned, coordinator=api_leader.leader if api_leader.leader in active else active[0])
    if pending := ask_pending(state, topology=topology):
        if isinstance(state.limit_hosts, list):
            raise DeployError(f"{pending}; no changes were made; run again without --limit")
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
    found = read_all(state, options=options, topology=topology, leader=leader, own=own)(
        members=members, settings=settings, cluster_ca=api_leader.ca_certificate
    )
    target = target_options(options, found_releases(topology, found))
    if reasons := refusals(
        topology,
        target=target,
        found=found,
        discard_edits=discard_edits,
    ):
        listed = "".join(f"\n  - {reason}" for reason in reasons)
        raise DeployError(f"the cluster cannot be upgraded now; no changes were made:{listed}")
    plan = plan_of(
        topology,
        leader=api_leader.leader,
        target=target,
        found=found,
        own=own,
        drain_always=drain_always,
    )
    plan = limited(plan, chosen)
    if problem := crowded(plan, workers_at_once=workers_at_once):
        raise DeployError(f"{problem}; no changes were made")
    return planned(plan=plan)
