"""Kubernetes documentation, "Reconfiguring a kubeadm cluster": make a live cluster what the options say.

Changed are the arguments, volumes and environment of API server, controller manager and scheduler, the files that
they read (``control_plane_files``), the names in the API server's certificate, and the validity of certificates made later. The cluster's ConfigMap
kubeadm-config gets the new configuration only when every control plane has it: until then each run compares
kubeadm's rendering with the manifests, and afterwards the ConfigMap alone shows that there is nothing to do.
"""

import base64
import time
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gevent import sleep
from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand, StringCommand

from kubeadm_deploys.cluster import live_configuration, quorum
from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_control_planes, ask_leader
from kubeadm_deploys.cluster.members import ask_settings
from kubeadm_deploys.cluster.reconfiguring import (
    Stopped,
    begun,
    in_unit,
    leader_of,
    record,
    refuse_unlisted,
    upload,
    waits_for_others,
)
from kubeadm_deploys.cluster.static_pods import HEALTH, MANIFESTS, Turn, turn_of
from kubeadm_deploys.documents.cluster_record import RecordedConfiguration
from kubeadm_deploys.documents.kubeadm_documents import needed_sans, reconfiguration_document
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from kubeadm_deploys.model.control_plane_file import contents
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.remote import direct, lines
from kubeadm_deploys.remote.reading import NotRead, ask, in_parallel, read
from kubeadm_deploys.scripts import script
from kubeadm_deploys.sections import control_plane_files

_NEW_PKI = "/etc/kubernetes/tmp/kubeadm-deploys-pki"
"""Where a new certificate is made."""

_HEALTHY_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a live cluster is to have: its ``configuration``, and the names of the fields that come from options.

    ``found`` is its present ClusterConfiguration, ``recorded`` what our record says of it, and ``changed`` the names
    of the fields that differ. ``renews`` is whether API servers may have a certificate with other names.
    """

    configuration: Mapping[str, Any]
    names: frozenset[str]
    found: Mapping[str, Any]
    recorded: RecordedConfiguration
    changed: tuple[str, ...]
    renews: bool = False


def wanted_of(
    options: ClusterOptions, settings: ClusterSettingsState, *, topology: Topology
) -> Wanted | None:
    """Compare the options with the cluster; None if its configuration could not be read."""
    if settings.configuration is None:
        return None
    recorded = settings.record.configuration or RecordedConfiguration()
    wanted, found = options.cluster_configuration, settings.configuration
    differing = [
        name
        for name, _, _ in live_configuration.differences(wanted, found)
        if live_configuration.is_live(name)
    ]
    back = live_configuration.taken_back(found, wanted=wanted, claimed=recorded.names)
    configuration = live_configuration.with_sans(
        live_configuration.target(found, wanted=wanted, claimed=recorded.names),
        wanted=options.certificate_sans,
        needed=needed_sans(options=options, topology=topology),
        claimed=recorded.names,
    )
    sans, *others = [live_configuration.sans_of(each) for each in (found, configuration, *recorded.pending)]
    return Wanted(
        configuration=configuration,
        names=live_configuration.names_of(wanted) | live_configuration.san_names(options.certificate_sans),
        found=found,
        recorded=recorded,
        changed=tuple(sorted({*differing, *back, *(["certificate_sans"] if sans != others[0] else [])})),
        renews=any(sans != each for each in others),
    )


@operation()
@fails_clearly
def reconfigured(
    *, options: ClusterOptions, topology: Topology, discard_edits: bool
) -> Generator[FunctionCommand, None, None]:
    """Give the control planes of a live cluster the configuration of the options, one after the other.

    + options: of the cluster
    + topology: the cluster; its leader acts for all control planes
    + discard_edits: whether changes that stand only in a manifest may be lost
    """
    api_leader = ask_leader(host.state, topology)
    if not acts_for_cluster(host, api_leader):
        host.noop("runs on another host")
        return
    settings = ask_settings(host.state, topology) if api_leader.api_answers else None
    wanted = wanted_of(options, settings, topology=topology) if settings else None
    if wanted is None:
        host.noop("there is no cluster yet, or no API server answers")
        return
    members = [node for node in topology.control_planes if _runs(node, topology)]
    files = {node.host: _differing_files(options, node) for node in members if _takes_part(node)}
    changes = [*wanted.changed, *dict.fromkeys(path for paths in files.values() for path in paths)]
    if not changes and not wanted.recorded.pending:
        if wanted.names == wanted.recorded.names:
            host.noop("the control planes have the configuration of the options")
        else:
            yield calling(_record_names, topology, wanted.names)
        return
    if waits_for_others(host.state, members, changes=some(changes or ["an unfinished change"])):
        host.noop("some control planes are not part of this run")
        return
    if host.state.is_executing:
        logger.info(f"--> Changing the control planes one after the other: {some(changes)}")
    yield calling(_reconfigure, topology, options, wanted, files, discard_edits)


def _runs(node: Node, topology: Topology) -> bool:
    """Return whether a control plane may run static pods; one that cannot be reached may."""
    found = ask_control_planes(host.state, topology)[node.host]
    return isinstance(found, NotRead) or control_plane_files.runs_static_pods(found)


def _takes_part(node: Node) -> bool:
    return inventory.get_host(node.host) in host.state.active_hosts


def _differing_files(options: ClusterOptions, node: Node) -> tuple[str, ...]:
    files = options.control_plane_files
    if not files:
        return ()
    found = read(inventory.get_host(node.host), control_plane_files.reading(options))
    return tuple(control_plane_files.differing(files, contents(files), found))


def _reconfigure(
    state: State,
    host: Host,
    topology: Topology,
    options: ClusterOptions,
    wanted: Wanted,
    files: Mapping[str, tuple[str, ...]],
    discard_edits: bool,
) -> bool:
    nodes = [node for node in topology.control_planes if node.host in files]
    done: list[str] = []
    try:
        refuse_unlisted(state, topology, roles=(True,))
        _await_gate(state, topology, nodes)
        turns = in_parallel(
            lambda machine: _turn(machine, topology.node(machine.name), wanted, files[machine.name]),
            [inventory.get_host(node.host) for node in nodes],
        )
        _refuse_edits(turns.values(), discard_edits=discard_edits)
        for node in nodes:
            _try_arguments(turns[node.host])
        # First, so that a run that is killed from here on knows what the manifests may have.
        names = wanted.recorded.names | wanted.names
        if not record(
            state,
            host,
            topology,
            lambda old: replace(old, names=names, pending=begun(old.pending, wanted.configuration)),
        ):
            return False
        for node in nodes:
            if wanted.renews:
                _renew(node, wanted.configuration, done)
            _take_turn(turns[node.host], options, done)
            _await_gate(state, topology, nodes)
        if wanted.configuration != wanted.found:
            upload(state, topology, "kubeadm", wanted.configuration)
    except Stopped as problem:
        before = f"; changed before that: {', '.join(done)}" if done else ""
        host.log(f"{problem}{before}")
        return False
    return _record_names(state, host, topology, wanted.names)


def _record_names(state: State, host: Host, topology: Topology, names: frozenset[str]) -> bool:
    return record(state, host, topology, lambda old: replace(old, names=names, pending=()))


def _await_gate(state: State, topology: Topology, nodes: Sequence[Node]) -> None:
    """Wait until every control plane serves: none is changed while another one is down.

    Raises:
        Stopped: one does not.
    """
    leader = leader_of(state, topology)
    deadline = time.monotonic() + _HEALTHY_SECONDS
    while True:
        found = in_parallel(
            lambda machine: ask(machine, KubeadmNode), [inventory.get_host(node.host) for node in nodes]
        )
        reasons = [
            f"the API server of {node.name} is {found[node.host].api or 'without a manifest'}"
            for node in nodes
            if found[node.host].api != "ok"
        ]
        reasons += [f"kubeadm runs on {node.name}" for node in nodes if found[node.host].kubeadm_runs]
        reasons += quorum.unready_members(ask(leader, EtcdMembers), healthy=ask(leader, EtcdHealth))
        if not reasons:
            return
        if time.monotonic() > deadline:
            raise Stopped(
                f"the control planes are not all healthy: {some(reasons, separator='; ')}; no further one was changed"
            )
        sleep(2)


def _turn(machine: Host, node: Node, wanted: Wanted, paths: Collection[str]) -> Turn:
    """Compare the static pods of a control plane with what kubeadm would write; change nothing.

    Raises:
        Stopped: kubeadm does not accept the configuration, or a manifest cannot be read.
    """
    configurations = [wanted.found, wanted.configuration, *wanted.recorded.pending]
    documents = [reconfiguration_document(node, each) for each in configurations]
    encoded = "".join(f"{base64.b64encode(each.encode()).decode()}\n" for each in documents)
    rendered, output = direct.run(machine, script("render-static-pods", MANIFESTS, *HEALTH, stdin=encoded))
    if not rendered:
        raise Stopped(
            f"{node.name}: kubeadm does not accept the configuration: {output.stderr}; nothing was changed"
        )
    texts = {key: base64.b64decode(value).decode() for key, value in lines.parse(output.stdout_lines).items()}
    return turn_of(node, texts, paths=paths)


def _refuse_edits(turns: Iterable[Turn], *, discard_edits: bool) -> None:
    if (edits := [edit for turn in turns for edit in turn.edits]) and not discard_edits:
        raise Stopped(
            f"a manifest has what neither the cluster's configuration nor the options have: {'; '.join(edits)}; it "
            "would be lost: add it to cluster_configuration, or run with --data discard_edits=true; nothing was changed"
        )


def _try_arguments(turn: Turn) -> None:
    machine = inventory.get_host(turn.node.host)
    for swap in turn.swaps:
        if not swap.new_arguments:
            continue
        known, output = direct.run(machine, script("try-arguments", swap.name, *swap.arguments))
        if not known:
            raise Stopped(
                f"{turn.node.name}: {swap.name} does not accept its arguments: {output.stderr}; correct "
                "cluster_configuration; nothing was changed"
            )


def _renew(node: Node, configuration: Mapping[str, Any], done: list[str]) -> None:
    document = reconfiguration_document(node, {**configuration, "certificatesDir": _NEW_PKI})
    machine = inventory.get_host(node.host)
    stdin = f"{base64.b64encode(document.encode()).decode()}\nend\n"
    renewed, output = direct.run(machine, in_unit("renew-api-certificate", _NEW_PKI, stdin=stdin))
    if not renewed:
        raise Stopped(f"{node.name}: the API server's certificate was not made anew: {output.stderr}")
    done.append(f"the API server's certificate of {node.name}")


def _take_turn(turn: Turn, options: ClusterOptions, done: list[str]) -> None:
    machine = inventory.get_host(turn.node.host)
    wanted = contents(options.control_plane_files)
    modes = {path: file.mode for path, file in options.control_plane_files.items()}
    if turn.paths:
        written, output = direct.run(
            machine,
            write_command(
                {path: wanted[path] for path in turn.paths}, modes={path: modes[path] for path in turn.paths}
            ),
        )
        if not written:
            raise Stopped(f"{turn.node.name}: could not write {some(turn.paths)}: {output.stderr}")
    for swap in turn.swaps:
        files = [(path, modes[path], wanted[path]) for path in swap.paths]
        files.append((f"{MANIFESTS}/{swap.name}.yaml", "0600", swap.manifest.encode()))
        swapped, output = direct.run(machine, swap_command(swap.name, files))
        if not swapped:
            raise Stopped(
                f"{turn.node.name}: {swap.name} was not changed: {output.stderr}; the cluster's stored configuration "
                "is as before; correct cluster_configuration or control_plane_files, or take the change back, and "
                "run again"
            )
        done.append(f"{swap.name} of {turn.node.name}")
        logger.info(f"--> {turn.node.name}: {output.stderr}")


def swap_command(name: str, files: Sequence[tuple[str, str, bytes]]) -> StringCommand:
    """Return the command that exchanges a static pod; ``files`` are path, mode and content, the manifest last."""
    stdin = [f"{path} {mode} {base64.b64encode(content).decode()}" for path, mode, content in files]
    return in_unit(
        "swap-static-pod",
        name,
        HEALTH[name],
        str(_HEALTHY_SECONDS),
        stdin="\n".join([*stdin, "end"]) + "\n",
    )


@deploy("Reconfiguration")
def reconfigure_control_planes(
    *, options: ClusterOptions, topology: Topology, discard_edits: bool = False
) -> None:
    """Give the control planes of a live cluster the ``cluster_configuration`` and ``control_plane_files`` of the options.

    Call it before nodes join. One control plane after the other is changed, each only while all are healthy; the first
    that does not come back healthy gets its old manifest back and ends the run.

    ``discard_edits`` allows that changes are lost that stand only in a manifest.
    """
    reconfigured(
        name="Reconfigure the control planes",
        options=options,
        topology=topology,
        discard_edits=discard_edits,
    )
