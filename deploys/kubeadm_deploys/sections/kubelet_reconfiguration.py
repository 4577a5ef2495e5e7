"""Kubernetes documentation, "Reconfiguring a kubeadm cluster": give a live cluster's kubelets their configuration.

One node after the other gets the changed fields in its kubelet's file, and its kubelet restarts; pods go on. What a
kubelet takes only without pods, like another CPU manager policy, is done on a drained node, and only if that is allowed.
The cluster's ConfigMap kubelet-config is changed last, so that it shows alone whether there is anything to do.
"""

import base64
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml
from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand

from kubeadm_deploys.cluster import document_fields, live_kubelet
from kubeadm_deploys.cluster.kubelet_turns import (
    CONFIGURATION_FILE,
    Turn,
    release_again,
    take_turn,
    take_turn_alone,
)
from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_leader, wait_for_kubeadm
from kubeadm_deploys.cluster.members import ask_members, ask_settings
from kubeadm_deploys.cluster.reconfiguring import (
    Stopped,
    begun,
    leader_of,
    record,
    refuse_unlisted,
    upload,
    validate,
    waits_for_others,
)
from kubeadm_deploys.documents.cluster_record import RecordedConfiguration
from kubeadm_deploys.documents.templates import yaml_text
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.node_status import NodeStatuses
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.remote import direct, lines
from kubeadm_deploys.remote.reading import ask, in_parallel
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the kubelets are to have: the ``values`` that change by path, and the whole new ``configuration``.

    ``differing`` are the fields in which the options differ from the cluster; ``values`` also has what unfinished runs
    may have changed. ``found`` and ``cluster`` are the cluster's present KubeletConfiguration and ClusterConfiguration.
    """

    values: Mapping[str, object]
    differing: frozenset[str]
    configuration: Mapping[str, Any]
    found: Mapping[str, Any]
    cluster: Mapping[str, Any]
    names: frozenset[str]
    recorded: RecordedConfiguration


def wanted_of(
    options: ClusterOptions,
    *,
    found: Mapping[str, Any],
    cluster: Mapping[str, Any],
    recorded: RecordedConfiguration,
) -> Wanted:
    """Compare the options with the cluster. What unfinished runs may have changed is given its value, too."""
    wanted = live_kubelet.wanted_fields(options, recorded)
    values = document_fields.changed(found, wanted=wanted, claimed=recorded.kubelet_names)
    configuration = document_fields.with_values(found, values)
    doubtful = {
        name
        for pending in recorded.kubelet_pending
        for name in document_fields.names_of(pending) | document_fields.names_of(found)
        if document_fields.value_of(pending, name) != document_fields.value_of(found, name)
    }
    return Wanted(
        values={
            name: document_fields.value_of(configuration, name) for name in sorted(doubtful | values.keys())
        },
        differing=frozenset(values),
        configuration=configuration,
        found=found,
        cluster=cluster,
        names=document_fields.names_of(wanted),
        recorded=recorded,
    )


@operation()
@fails_clearly
def kubelets_reconfigured(
    *,
    options: ClusterOptions,
    topology: Topology,
    discard_edits: bool,
    allow_drain: bool,
    drain_timeout: int,
) -> Generator[FunctionCommand, None, None]:
    """Give the kubelets of a live cluster the fields of ``kubelet_configuration``, one node after the other.

    + options: of the cluster
    + topology: the cluster; its leader acts for all nodes
    + discard_edits: whether values that stand only in a kubelet's file may be lost
    + allow_drain: whether nodes may be drained for fields that need it
    + drain_timeout: limit for draining a node, in seconds
    """
    api_leader = ask_leader(host.state, topology)
    if not acts_for_cluster(host, api_leader):
        host.noop("runs on another host")
        return
    settings = ask_settings(host.state, topology) if api_leader.api_answers else None
    members = ask_members(host.state, topology) if settings else None
    if not settings or settings.kubelet is None or settings.configuration is None or members is None:
        host.noop("there is no cluster yet, or no API server answers")
        return
    wanted = wanted_of(
        options,
        found=settings.kubelet,
        cluster=settings.configuration,
        recorded=settings.record.configuration or RecordedConfiguration(),
    )
    if not wanted.values and not wanted.recorded.kubelet_pending:
        if wanted.names == wanted.recorded.kubelet_names:
            host.noop("the kubelets have the configuration of the options")
        else:
            yield calling(_record_names, topology, wanted.names)
        return
    changes = some([f"kubelet_configuration {name}" for name in wanted.values] or ["an unfinished change"])
    nodes = [node for node in topology.nodes if node.name in members.nodes]
    if waits_for_others(host.state, nodes, changes=changes):
        host.noop("some nodes are not part of this run")
        return
    if (drained_for := live_kubelet.needs_drain(sorted(wanted.differing))) and not allow_drain:
        logger.warning(
            f"--> Warning: {changes} differs from the cluster, and stays: a kubelet takes {some(drained_for)} only on a "
            f"drained node, so run it with {live_kubelet.ALLOW_DRAIN}"
        )
        if claimed := _claimed(host.state, topology, nodes, wanted):
            yield calling(_release, topology, claimed)
            return
        host.noop("nodes must not be drained")
        return
    if host.state.is_executing:
        logger.info(f"--> Changing the kubelets one after the other: {changes}")
    yield calling(_reconfigure, topology, nodes, wanted, discard_edits, drain_timeout if allow_drain else 0)


def _reconfigure(
    state: State,
    host: Host,
    topology: Topology,
    nodes: list[Node],
    wanted: Wanted,
    discard_edits: bool,
    drain_timeout: int,
) -> bool:
    """Change the kubelets; no node is drained if ``drain_timeout`` is 0."""
    done: list[str] = []
    leader = leader_of(state, topology)
    try:
        refuse_unlisted(state, topology, roles=(True, False))
        validate(
            topology,
            leader,
            option="kubelet_configuration",
            cluster=wanted.cluster,
            configuration=wanted.configuration,
        )
        found = in_parallel(_read, [inventory.get_host(node.host) for node in nodes])
        _refuse_edits(nodes, {name: current for name, (current, _) in found.items()}, wanted, discard_edits)
        turns = [_turn(node, *found[node.host], wanted) for node in nodes]
        if (drained := [turn.node.name for turn in turns if turn.drained]) and not drain_timeout:
            _release(state, host, topology, _claimed(state, topology, nodes, wanted))
            raise Stopped(
                f"{some(live_kubelet.needs_drain(wanted.values))}, which a run has changed without coming to its end, is "
                f"taken by a kubelet only on a drained node: run it with {live_kubelet.ALLOW_DRAIN}, which drains "
                f"{some(drained)}; no kubelet was changed"
            )
        # First, so that a run that is killed from here on knows what the files may have.
        names = wanted.recorded.kubelet_names | wanted.names
        if not record(
            state,
            host,
            topology,
            lambda old: replace(
                old, kubelet_names=names, kubelet_pending=begun(old.kubelet_pending, wanted.configuration)
            ),
        ):
            return False
        # Only then an earlier run may have cordoned nodes.
        drains = bool(live_kubelet.needs_drain(wanted.values))
        members = ask_members(state, topology, refresh=True)
        _refuse_to_go_on(turns, members, wanted)
        for turn in turns:
            name = turn.node.name
            ready = members is not None and members.nodes[name].ready
            if drains:
                take_turn_alone(leader, turn, ready=ready, drain_timeout=drain_timeout, say=host.log)
            elif turn.changes:
                take_turn(leader, turn, ready=ready)
            if turn.changes:
                done.append(name)
        if wanted.configuration != wanted.found:
            upload(state, topology, "kubelet", wanted.cluster, wanted.configuration)
    except Stopped as problem:
        before = f"; changed before that: {', '.join(done)}" if done else ""
        host.log(f"{problem}{before}")
        return False
    return _record_names(state, host, topology, wanted.names)


def _refuse_to_go_on(turns: list[Turn], members: ClusterMembersState | None, wanted: Wanted) -> None:
    """Refuse to change more kubelets while one that an unfinished run has changed is not Ready; taking a change back goes on.

    Raises:
        Stopped: such a kubelet's node is not Ready.
    """
    if members is None or not (wanted.recorded.kubelet_pending and wanted.differing):
        return
    changed = [turn.node.name for turn in turns if not turn.changes]
    if down := live_kubelet.not_ready(changed, members.nodes):
        raise Stopped(
            f"{some(down)}: is not Ready, and an earlier run has changed its kubelet; find out why with 'journalctl --unit "
            "kubelet' on it, or take the change back; no further kubelet was changed"
        )


def _turn(node: Node, current: Mapping[str, Any], stale: bool, wanted: Wanted) -> Turn:
    target = document_fields.with_values(current, wanted.values)
    differing = {
        name
        for name in wanted.values
        if stale or document_fields.value_of(target, name) != document_fields.value_of(current, name)
    }
    return Turn(
        node=node,
        file=CONFIGURATION_FILE,
        content=yaml_text(target),
        changes=stale or target != current,
        drained=bool(live_kubelet.needs_drain(differing)),
        fix=(
            "the cluster's stored configuration is as before; correct kubelet_configuration, or take the change back, "
            "and run again"
        ),
    )


def _claimed(state: State, topology: Topology, nodes: list[Node], wanted: Wanted) -> list[Node]:
    """Return the nodes that an unfinished run has cordoned and left so."""
    if not wanted.recorded.kubelet_pending:
        return []
    names = {status.name for status in ask(leader_of(state, topology), NodeStatuses) if status.claimed}
    return [node for node in nodes if node.name in names]


def _release(state: State, host: Host, topology: Topology, nodes: list[Node]) -> bool:
    """Let nodes take pods again: their kubelets run, with the old configuration or already with another one."""
    for node in nodes:
        release_again(leader_of(state, topology), node, say=host.log)
    return True


def _record_names(state: State, host: Host, topology: Topology, names: frozenset[str]) -> bool:
    return record(state, host, topology, lambda old: replace(old, kubelet_names=names, kubelet_pending=()))


def _read(machine: Host) -> tuple[dict[str, Any], bool]:
    """Return the kubelet's configuration on a machine, and whether its kubelet has to be restarted for it.

    A change that an earlier run has begun there, and that survived that run, may still go on.
    """
    wait_for_kubeadm(machine)
    done, output = direct.run(machine, script("read-kubelet-configuration"))
    values = lines.parse(output.stdout_lines)
    try:
        found = yaml.safe_load(base64.b64decode(values["configuration"])) if done else None
    except (KeyError, ValueError, yaml.YAMLError) as error:
        raise Stopped(
            f"{machine.name}: {CONFIGURATION_FILE} cannot be parsed: {error}; nothing was changed"
        ) from None
    if not isinstance(found, dict):
        raise Stopped(
            f"{machine.name}: {CONFIGURATION_FILE} was not read: {output.stderr}; nothing was changed"
        )
    return found, "stale" in values


def _refuse_edits(
    nodes: list[Node], found: Mapping[str, Mapping[str, Any]], wanted: Wanted, discard_edits: bool
) -> None:
    edits = [
        f"{edit} on {node.name}"
        for node in nodes
        for edit in document_fields.edits(
            found[node.host], wanted.values, wanted.found, *wanted.recorded.kubelet_pending
        )
    ]
    if edits and not discard_edits:
        raise Stopped(
            "a kubelet's file has what neither the cluster's configuration nor the options have: "
            f"{some(edits, separator='; ')}; it would be lost: add it to kubelet_configuration, or run with "
            "--data discard_edits=true; nothing was changed"
        )


@deploy("Kubelet reconfiguration")
def reconfigure_kubelets(
    *,
    options: ClusterOptions,
    topology: Topology,
    discard_edits: bool = False,
    allow_drain: bool = False,
    drain_timeout: int = 300,
) -> None:
    """Give the kubelets of a live cluster the ``kubelet_configuration`` of the options; call it before nodes join.

    One node after the other is changed. The first kubelet that does not come up gets its old configuration back and
    ends the run. What needs a drained node, like another CPU manager policy, is done only with ``allow_drain``, which
    drains one node after the other, each for at most ``drain_timeout`` seconds; without it, a warning names it and all
    kubelets stay as they are.

    ``discard_edits`` allows that values are lost that stand only in a kubelet's file.
    """
    kubelets_reconfigured(
        name="Reconfigure the kubelets",
        options=options,
        topology=topology,
        discard_edits=discard_edits,
        allow_drain=allow_drain,
        drain_timeout=drain_timeout,
    )
