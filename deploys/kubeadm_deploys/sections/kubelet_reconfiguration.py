"""Kubernetes documentation, "Reconfiguring a kubeadm cluster": give a live cluster's kubelets their configuration.

One node after the other gets the changed fields in its kubelet's file, and its kubelet restarts; pods go on. The
cluster's ConfigMap kubelet-config is changed last, so that it shows alone whether there is anything to do.
"""

import base64
from collections.abc import Generator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml
from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand

from kubeadm_deploys.cluster import document_fields
from kubeadm_deploys.cluster.kubeadm import kubeadm
from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_leader, wait_for_kubeadm
from kubeadm_deploys.cluster.members import ask_members, ask_settings
from kubeadm_deploys.cluster.reconfiguring import (
    Stopped,
    begun,
    in_unit,
    leader_of,
    record,
    refuse_unlisted,
    upload,
)
from kubeadm_deploys.documents.cluster_record import RecordedConfiguration
from kubeadm_deploys.documents.kubeadm_documents import reconfiguration_document
from kubeadm_deploys.documents.templates import yaml_text
from kubeadm_deploys.facts.cluster_health import NodesReady
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.remote import direct, lines
from kubeadm_deploys.remote.reading import ask, in_parallel
from kubeadm_deploys.scripts import script

_SECONDS = 90
"""How long a kubelet may take to come up, and then its node to be Ready."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the kubelets are to have: the ``values`` that change by path, and the whole new ``configuration``.

    ``found`` and ``cluster`` are the cluster's present KubeletConfiguration and ClusterConfiguration.
    """

    values: Mapping[str, object]
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
    wanted = options.kubelet_configuration
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
        configuration=configuration,
        found=found,
        cluster=cluster,
        names=document_fields.names_of(wanted),
        recorded=recorded,
    )


@operation()
@fails_clearly
def kubelets_reconfigured(
    *, options: ClusterOptions, topology: Topology, discard_edits: bool
) -> Generator[FunctionCommand, None, None]:
    """Give the kubelets of a live cluster the fields of ``kubelet_configuration``, one node after the other.

    + options: of the cluster
    + topology: the cluster; its leader acts for all nodes
    + discard_edits: whether values that stand only in a kubelet's file may be lost
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
    active = host.state.active_hosts
    if left_out := [node.name for node in nodes if inventory.get_host(node.host) not in active]:
        logger.warning(
            f"--> Warning: {changes} differs from the cluster, and stays because this run leaves {some(left_out)} "
            "out; run it without --limit, with all nodes"
        )
        host.noop("some nodes are not part of this run")
        return
    if host.state.is_executing:
        logger.info(f"--> Changing the kubelets one after the other: {changes}")
    yield calling(_reconfigure, topology, nodes, wanted, discard_edits)


def _reconfigure(
    state: State, host: Host, topology: Topology, nodes: list[Node], wanted: Wanted, discard_edits: bool
) -> bool:
    done: list[str] = []
    leader = leader_of(state, topology)
    try:
        refuse_unlisted(state, topology, roles=(True, False))
        _validate(leader, topology, wanted)
        found = in_parallel(_read, [inventory.get_host(node.host) for node in nodes])
        _refuse_edits(nodes, {name: current for name, (current, _) in found.items()}, wanted, discard_edits)
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
        members = ask_members(state, topology, refresh=True)
        for node in nodes:
            current, stale = found[node.host]
            target = document_fields.with_values(current, wanted.values)
            if target == current and not stale:
                continue
            _restart_with(node, target)
            done.append(node.name)
            if members and members.nodes[node.name].ready:
                ask(leader, NodesReady, seconds=_SECONDS + 30, nodes=(node.name,), timeout=_SECONDS)
        if wanted.configuration != wanted.found:
            upload(state, topology, "kubelet", wanted.cluster, wanted.configuration)
    except Stopped as problem:
        before = f"; changed before that: {', '.join(done)}" if done else ""
        host.log(f"{problem}{before}")
        return False
    return _record_names(state, host, topology, wanted.names)


def _record_names(state: State, host: Host, topology: Topology, names: frozenset[str]) -> bool:
    return record(state, host, topology, lambda old: replace(old, kubelet_names=names, kubelet_pending=()))


def _validate(leader: Host, topology: Topology, wanted: Wanted) -> None:
    """Have kubeadm look for unknown fields: when it stores a configuration, it only drops them."""
    document = reconfiguration_document(topology.node(leader.name), wanted.cluster, wanted.configuration)
    valid, output = direct.run(leader, kubeadm("config", "validate", stdin=document))
    if not valid:
        reason = " ".join(output.stdout_lines or output.stderr_lines)[-400:]
        raise Stopped(f"kubeadm does not accept kubelet_configuration: {reason}; nothing was changed")


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
            f"{machine.name}: /var/lib/kubelet/config.yaml cannot be parsed: {error}; nothing was changed"
        ) from None
    if not isinstance(found, dict):
        raise Stopped(
            f"{machine.name}: /var/lib/kubelet/config.yaml was not read: {output.stderr}; nothing was changed"
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


def _restart_with(node: Node, configuration: Mapping[str, Any]) -> None:
    content = base64.b64encode(yaml_text(dict(configuration)).encode()).decode()
    command = in_unit("swap-kubelet-configuration", str(_SECONDS), stdin=f"{content}\nend\n")
    restarted, output = direct.run(inventory.get_host(node.host), command)
    if not restarted:
        raise Stopped(
            f"{node.name}: the kubelet's configuration was not changed: {output.stderr}; the cluster's stored "
            "configuration is as before; correct kubelet_configuration, or take the change back, and run again"
        )


@deploy("Kubelet reconfiguration")
def reconfigure_kubelets(*, options: ClusterOptions, topology: Topology, discard_edits: bool = False) -> None:
    """Give the kubelets of a live cluster the ``kubelet_configuration`` of the options; call it before nodes join.

    One node after the other is changed. The first kubelet that does not come up gets its old configuration back and
    ends the run. What needs a drained node, like another CPU manager policy, is refused by ``follow_cluster``.

    ``discard_edits`` allows that values are lost that stand only in a kubelet's file.
    """
    kubelets_reconfigured(
        name="Reconfigure the kubelets", options=options, topology=topology, discard_edits=discard_edits
    )
