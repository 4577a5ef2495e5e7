"""Kubernetes documentation, "Reconfiguring a kubeadm cluster": make a live cluster what the options say.

Changed are the arguments, volumes and environment of API server, controller manager and scheduler, the files that
they read (``control_plane_files``), and the validity of certificates made later. The cluster's ConfigMap
kubeadm-config gets the new configuration only when every control plane has it: until then each run compares
kubeadm's rendering with the manifests, and afterwards the ConfigMap alone shows that there is nothing to do.
"""

import base64
import time
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from gevent import sleep
from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand, StringCommand

from kubeadm_deploys.cluster import live_configuration, quorum
from kubeadm_deploys.cluster.kubeadm import kubeadm
from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_control_planes, ask_leader
from kubeadm_deploys.cluster.members import ask_members, ask_settings
from kubeadm_deploys.cluster.recording import WRITE
from kubeadm_deploys.documents.cluster_record import RecordedConfiguration
from kubeadm_deploys.documents.kubeadm_documents import reconfiguration_document
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KUBEADM_SECONDS, KUBEADM_UNIT, KubeadmNode
from kubeadm_deploys.model.control_plane_file import contents
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.remote import direct, lines
from kubeadm_deploys.remote.reading import NotRead, ask, in_parallel, read
from kubeadm_deploys.scripts import script, text
from kubeadm_deploys.sections import control_plane_files

_MANIFESTS = "/etc/kubernetes/manifests"

_HEALTH = {
    "kube-apiserver": "https://127.0.0.1:6443/readyz",
    "kube-controller-manager": "https://127.0.0.1:10257/healthz",
    "kube-scheduler": "https://127.0.0.1:10259/healthz",
}
"""Where each static pod answers "ok", in the order in which they are changed."""

_HEALTHY_SECONDS = 120


class _Stopped(Exception):
    """The change of the cluster has stopped; the message says what was found, and what was done about it."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a live cluster is to have: its ``configuration``, and the names of the fields that come from options.

    ``found`` is its present ClusterConfiguration, ``recorded`` what our record says of it, and ``changed`` the names
    of the fields that differ.
    """

    configuration: Mapping[str, Any]
    names: frozenset[str]
    found: Mapping[str, Any]
    recorded: RecordedConfiguration
    changed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Swap:
    """A static pod of one control plane that gets a new manifest, and the paths of the files that it gets with it."""

    name: str
    manifest: str
    arguments: tuple[str, ...]
    new_arguments: bool
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What changes on one control plane: its static pods in order, and files that no static pod reads."""

    node: Node
    swaps: tuple[Swap, ...] = ()
    paths: tuple[str, ...] = ()
    edits: tuple[str, ...] = field(default=())


def wanted_of(options: ClusterOptions, settings: ClusterSettingsState) -> Wanted | None:
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
    return Wanted(
        configuration=live_configuration.target(found, wanted=wanted, claimed=recorded.names),
        names=live_configuration.names_of(wanted),
        found=found,
        recorded=recorded,
        changed=tuple(sorted({*differing, *back})),
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
    wanted = wanted_of(options, settings) if settings else None
    if wanted is None:
        host.noop("there is no cluster yet, or no API server answers")
        return
    members = [node for node in topology.control_planes if _runs(node, topology)]
    files = {node.host: _differing_files(options, node) for node in members if _takes_part(node)}
    changes = [*wanted.changed, *dict.fromkeys(path for paths in files.values() for path in paths)]
    if not changes and wanted.recorded.pending is None:
        if wanted.names == wanted.recorded.names:
            host.noop("the control planes have the configuration of the options")
        else:
            yield calling(_record, topology, RecordedConfiguration(names=wanted.names))
        return
    if left_out := [node.name for node in members if not _takes_part(node)]:
        logger.warning(
            f"--> Warning: {some(changes)} differs from the cluster, and stays because this run leaves "
            f"{some(left_out)} out; run it without --limit, with all control planes"
        )
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
        _refuse_unlisted(state, topology)
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
        if not _record(
            state, host, topology, RecordedConfiguration(names=names, pending=wanted.configuration)
        ):
            return False
        for node in nodes:
            _take_turn(turns[node.host], options, done)
            _await_gate(state, topology, nodes)
        if wanted.configuration != wanted.found:
            _upload(state, topology, wanted.configuration)
    except _Stopped as problem:
        before = f"; changed before that: {', '.join(done)}" if done else ""
        host.log(f"{problem}{before}")
        return False
    return _record(state, host, topology, RecordedConfiguration(names=wanted.names))


def _refuse_unlisted(state: State, topology: Topology) -> None:
    members = ask_members(state, topology, refresh=True)
    if members is None:
        raise _Stopped("no API server answers; nothing was changed")
    known = {node.name for node in topology.control_planes}
    strangers = [name for name, node in members.nodes.items() if node.control_plane and name not in known]
    if strangers:
        raise _Stopped(
            f"the control planes {some(strangers)} are not in the inventory and would keep the old configuration; "
            "add them, or run deploys/remove_node.py; nothing was changed"
        )


def _await_gate(state: State, topology: Topology, nodes: Sequence[Node]) -> None:
    """Wait until every control plane serves: none is changed while another one is down.

    Raises:
        _Stopped: one does not.
    """
    leader = _leader(state, topology)
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
            raise _Stopped(
                f"the control planes are not all healthy: {some(reasons, separator='; ')}; no further one was changed"
            )
        sleep(2)


def _turn(machine: Host, node: Node, wanted: Wanted, paths: Collection[str]) -> Turn:
    """Compare the static pods of a control plane with what kubeadm would write; change nothing.

    Raises:
        _Stopped: kubeadm does not accept the configuration, or a manifest cannot be read.
    """
    configurations = [wanted.found, wanted.configuration]
    if wanted.recorded.pending is not None:
        configurations.append(wanted.recorded.pending)
    documents = [reconfiguration_document(node=node, configuration=each) for each in configurations]
    encoded = "".join(f"{base64.b64encode(each.encode()).decode()}\n" for each in documents)
    rendered, output = direct.run(machine, script("render-static-pods", _MANIFESTS, *_HEALTH, stdin=encoded))
    if not rendered:
        raise _Stopped(
            f"{node.name}: kubeadm does not accept the configuration: {output.stderr}; nothing was changed"
        )
    texts = {key: base64.b64decode(value).decode() for key, value in lines.parse(output.stdout_lines).items()}
    return turn_of(node, texts, paths=paths)


def turn_of(node: Node, texts: Mapping[str, str], *, paths: Collection[str]) -> Turn:
    """Return what changes on a control plane, from its manifests and those that kubeadm rendered, by the script's keys.

    ``paths`` are the files of the options that differ there. A manifest that equals neither the old nor the pending
    rendering has edits, which would be lost.

    Raises:
        _Stopped: a manifest cannot be read.
    """
    swaps, edits = [], []
    try:
        manifests = {key: yaml.safe_load(text) for key, text in texts.items()}
        for name in _HEALTH:
            current, old, new = (manifests[f"{which}:{name}"] for which in ("current", "0", "1"))
            pending = manifests.get(f"2:{name}")
            read_by_it = tuple(path for path in paths if _mounts(new, path))
            # A pod whose configuration stays keeps its edits, too.
            if not read_by_it and (current == new or (new == old and current != pending)):
                continue
            if current not in (old, new, pending):
                found = live_configuration.edits(current, old)
                edits.append(f"{name} of {node.name} ({some(found)})")
            arguments = tuple(live_configuration.arguments_of(new))
            swaps.append(
                Swap(
                    name=name,
                    manifest=texts[f"1:{name}"],
                    arguments=arguments,
                    new_arguments=list(arguments) != live_configuration.arguments_of(current),
                    paths=read_by_it,
                )
            )
    except (KeyError, yaml.YAMLError) as error:
        raise _Stopped(
            f"{node.name}: a manifest in {_MANIFESTS} cannot be read: {error}; nothing was changed"
        ) from None
    read_by_any = {path for swap in swaps for path in swap.paths}
    return Turn(
        node=node,
        swaps=tuple(swaps),
        paths=tuple(path for path in paths if path not in read_by_any),
        edits=tuple(edits),
    )


def _mounts(manifest: Mapping[str, Any], path: str) -> bool:
    volumes = manifest["spec"].get("volumes") or ()
    folders = [(volume.get("hostPath") or {}).get("path", "").rstrip("/") for volume in volumes]
    return any(folder and (path == folder or path.startswith(f"{folder}/")) for folder in folders)


def _refuse_edits(turns: Iterable[Turn], *, discard_edits: bool) -> None:
    if (edits := [edit for turn in turns for edit in turn.edits]) and not discard_edits:
        raise _Stopped(
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
            raise _Stopped(
                f"{turn.node.name}: {swap.name} does not accept its arguments: {output.stderr}; correct "
                "cluster_configuration; nothing was changed"
            )


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
            raise _Stopped(f"{turn.node.name}: could not write {some(turn.paths)}: {output.stderr}")
    for swap in turn.swaps:
        files = [(path, modes[path], wanted[path]) for path in swap.paths]
        files.append((f"{_MANIFESTS}/{swap.name}.yaml", "0600", swap.manifest.encode()))
        swapped, output = direct.run(machine, swap_command(swap.name, files))
        if not swapped:
            raise _Stopped(
                f"{turn.node.name}: {swap.name} was not changed: {output.stderr}; the cluster's stored configuration "
                "is as before; correct cluster_configuration or control_plane_files, or take the change back, and "
                "run again"
            )
        done.append(f"{swap.name} of {turn.node.name}")


def swap_command(name: str, files: Sequence[tuple[str, str, bytes]]) -> StringCommand:
    """Return the command that exchanges a static pod; ``files`` are path, mode and content, the manifest last."""
    stdin = [f"{path} {mode} {base64.b64encode(content).decode()}" for path, mode, content in files]
    return script(
        "run-in-unit",
        KUBEADM_UNIT,
        text("swap-static-pod"),
        "swap-static-pod",
        name,
        _HEALTH[name],
        str(_HEALTHY_SECONDS),
        stdin="\n".join([*stdin, "end"]) + "\n",
        seconds=KUBEADM_SECONDS,
    )


def _upload(state: State, topology: Topology, configuration: Mapping[str, Any]) -> None:
    leader = _leader(state, topology)
    document = reconfiguration_document(node=topology.node(leader.name), configuration=configuration)
    uploaded, output = direct.run(
        leader, kubeadm("init", "phase", "upload-config", "kubeadm", stdin=document)
    )
    if not uploaded:
        raise _Stopped(f"{leader.name}: could not store the cluster's configuration: {output.stderr}")


def _record(state: State, host: Host, topology: Topology, configuration: RecordedConfiguration) -> bool:
    settings = ask_settings(state, topology, refresh=True)
    if settings is None or settings.silent:
        host.log("no API server answers, so the record was not read; run this again when one answers")
        return False
    record = settings.record.with_configuration(configuration)
    written, output = direct.run(_leader(state, topology), WRITE, stdin=record.manifest())
    if not written:
        host.log(f"could not record the cluster's configuration: {output.stderr}")
    return written


def _leader(state: State, topology: Topology) -> Host:
    return inventory.get_host(ask_leader(state, topology).leader)


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
