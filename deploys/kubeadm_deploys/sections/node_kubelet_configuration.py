"""Kubernetes documentation, "Kubelet Configuration Directory Merging": fields that single nodes' kubelets have of their own.

A new node has its files right before kubeadm starts its kubelet. On a live cluster the nodes of this run are changed one
after the other, with the care of ``kubelet_reconfiguration``; a node that has no own fields any more loses both files. They
alone show whether there is anything to do: a file says itself if the change that wrote it has not ended.
"""

import base64
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any

from pyinfra import host, inventory, logger
from pyinfra.api import FactBase, Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import DeployError
from typing_extensions import override

from kubeadm_deploys.cluster import live_kubelet
from kubeadm_deploys.cluster.kubelet_turns import Turn, release_again, take_turn_alone
from kubeadm_deploys.cluster.leader import active_hosts, acts_for_cluster, ask_leader, wait_for_kubeadm
from kubeadm_deploys.cluster.members import ask_members, ask_settings
from kubeadm_deploys.cluster.reconfiguring import Stopped, leader_of, validate
from kubeadm_deploys.documents.kubeadm_documents import cluster_configuration
from kubeadm_deploys.documents.node_kubelet import (
    FIELDS_FILE,
    PATHS,
    UNIT,
    UNIT_FILE,
    FoundFiles,
    differ,
    fields_document,
    fields_file,
    wanted_files,
)
from kubeadm_deploys.facts.node_status import NodeStatuses
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.remote import direct, lines
from kubeadm_deploys.remote.reading import ask, in_parallel, read
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.scripts import script
from kubeadm_deploys.sections import kube_packages

_FIX = "correct node_kubelet_configuration, or take the change back, and run again"


class NodeKubeletFiles(FactBase[FoundFiles]):
    """Read the files that give a kubelet own fields."""

    @override
    def command(self) -> StringCommand:
        return script("read-named-files", *PATHS)

    @override
    def process(self, output: list[str]) -> FoundFiles:
        found = lines.files(lines.parse(output))
        return FoundFiles(
            contents={path: base64.b64decode(text).decode(errors="replace") for path, text in found.items()}
        )


def check_before_kubeadm(machine: Host, node: Node, *, options: ClusterOptions, topology: Topology) -> None:
    """Have kubeadm look for unknown fields, before anything is done to make a machine a node.

    Raises:
        DeployError: kubeadm does not accept them.
    """
    if not node.kubelet_configuration:
        return
    try:
        validate(
            topology,
            machine,
            option=f"node_kubelet_configuration of {node.name}",
            cluster=cluster_configuration(options=options, topology=topology),
            configuration=fields_document(node.kubelet_configuration),
        )
    except Stopped as problem:
        raise DeployError(str(problem)) from None


def before_kubeadm(node: Node, *, found: Mapping[str, str]) -> list[StringCommand]:
    """Return the commands that give a machine its files before kubeadm makes it a node, or take old ones away.

    ``found`` has sha256 of the machine's files by path. kubeadm has systemd read its files again before it starts the
    kubelet (cmd/kubeadm/app/util/initsystem).
    """
    wanted = wanted_files(node.kubelet_configuration)
    if wanted:
        return [write_command({path: content.encode() for path, content in wanted.items()})]
    return [script("remove-kubelet-fields", UNIT_FILE, FIELDS_FILE)] if found.keys() & {*PATHS} else []


@operation()
@fails_clearly
def node_kubelets_reconfigured(
    *, topology: Topology, nodes: tuple[Node, ...], discard_edits: bool, drain_timeout: int
) -> Generator[FunctionCommand, None, None]:
    """Give kubelets of a live cluster their own fields, one node after the other.

    + topology: the cluster; its leader acts for all nodes
    + nodes: those whose files differ
    + discard_edits: whether edits of these files may be lost
    + drain_timeout: limit for draining a node, in seconds; 0 if no node may be drained
    """
    if not nodes:
        host.noop("the kubelets have their own fields")
        return
    if not acts_for_cluster(host, ask_leader(host.state, topology)):
        host.noop("runs on another host")
        return
    if not host.state.is_executing:
        # What the files contain is read right before they are changed.
        yield calling(_reconfigure, topology, {}, discard_edits, drain_timeout)
        return
    nodes = _without_failed(host.state, leader_of(host.state, topology), nodes)
    found = in_parallel(_read, [inventory.get_host(node.host) for node in nodes])
    to_change = {node: found[node.host] for node in nodes}
    claimed: list[Node] = []
    if not drain_timeout:
        # Edits that may not be lost end the run instead.
        may_wait = [node for node in nodes if discard_edits or not found[node.host].edited]
        waiting = {node: names for node in may_wait if (names := _needs_drain(node, found[node.host]))}
        for node, names in waiting.items():
            del to_change[node]
            logger.warning(
                f"--> Warning: node_kubelet_configuration of {node.name} differs from its kubelet's, and stays: a kubelet "
                f"takes {some(names)} only on a drained node, so run it with {live_kubelet.ALLOW_DRAIN}"
            )
        claimed = _claimed(leader_of(host.state, topology), waiting, found)
    if claimed:
        yield calling(_release, topology, claimed)
    if not to_change:
        if not claimed:
            host.noop("no kubelet may be changed in this run")
        return
    names = [node.name for node in to_change]
    logger.info(f"--> Changing kubelets one after the other: node_kubelet_configuration of {some(names)}")
    yield calling(_reconfigure, topology, to_change, discard_edits, drain_timeout)


def _without_failed(state: State, leader: Host, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return the nodes whose hosts still take part in the run, and name the others; none once the leader has failed.

    A leader that the run leaves out can still be asked.
    """
    active = set() if leader in state.failed_hosts else set(active_hosts(state))
    left = [node.name for node in nodes if node.host not in active]
    if left:
        logger.warning(
            f"--> Warning: node_kubelet_configuration of {some(left)} differs from the kubelet's, and stays, because this "
            "run has failed there or on the leader; mend that, and run again"
        )
    return tuple(node for node in nodes if node.host in active)


def _claimed(leader: Host, waiting: Iterable[Node], found: Mapping[str, FoundFiles]) -> list[Node]:
    """Return the nodes that an unfinished run has cordoned and left so."""
    unfinished = [node for node in waiting if found[node.host].unfinished]
    names = {each.name for each in ask(leader, NodeStatuses) if each.claimed} if unfinished else set()
    return [node for node in unfinished if node.name in names]


def _release(state: State, host: Host, topology: Topology, nodes: list[Node]) -> bool:
    for node in nodes:
        release_again(leader_of(state, topology), node, say=host.log)
    return True


def _read(machine: Host) -> FoundFiles:
    # A change that an earlier run has begun there, and that survived that run, may still go on.
    wait_for_kubeadm(machine)
    return ask(machine, NodeKubeletFiles)


def _needs_drain(node: Node, found: FoundFiles) -> list[str]:
    """Return the fields of which the kubelet takes the wanted values only on a drained node.

    If its present values are not known, these are all that it has or may have.
    """
    wanted = node.kubelet_configuration
    if found.doubtful and FIELDS_FILE not in found.contents:
        return sorted(live_kubelet.NEEDS_DRAIN)
    names = sorted({*wanted, *found.fields})
    return live_kubelet.needs_drain(
        name for name in names if found.doubtful or wanted.get(name) != found.fields.get(name)
    )


def _reconfigure(
    state: State,
    host: Host,
    topology: Topology,
    found: Mapping[Node, FoundFiles],
    discard_edits: bool,
    drain_timeout: int,
) -> bool:
    """Change the kubelets of the nodes whose files were ``found``; no node is drained if ``drain_timeout`` is 0."""
    done: list[str] = []
    try:
        edited = [f"{path} on {node.name}" for node, files in found.items() for path in files.edited]
        if edited and not discard_edits:
            raise Stopped(
                f"edited or deleted by hand: {some(edited)}; this would be lost: add it to node_kubelet_configuration, or "
                "run with --data discard_edits=true; nothing was changed"
            )
        settings = ask_settings(state, topology, refresh=True)
        members = ask_members(state, topology, refresh=True)
        if settings is None or settings.configuration is None or members is None:
            raise Stopped("no API server answers; nothing was changed")
        leader = leader_of(state, topology)
        for node in found:
            validate(
                topology,
                leader,
                option=f"node_kubelet_configuration of {node.name}",
                cluster=settings.configuration,
                configuration=fields_document(node.kubelet_configuration),
            )
        some_are_ready = any(member.ready for member in members.nodes.values())
        for node, files in found.items():
            member = members.nodes.get(node.name)
            if member is None:
                # A worker is joined again, with its files; a control plane may only be registered again.
                host.log(
                    f"{node.name}: has no Node object, so node_kubelet_configuration is left to its join or the next run"
                )
                continue
            # An unfinished change may be why the node is not Ready; without its network, none is.
            ready = member.ready or (files.unfinished and some_are_ready)
            _change(leader, node, files, ready=ready, drain_timeout=drain_timeout, say=host.log)
            done.append(node.name)
    except Stopped as problem:
        before = f"; changed before that: {', '.join(done)}" if done else ""
        host.log(f"{problem}{before}")
        return False
    return True


def _change(
    leader: Host,
    node: Node,
    found: FoundFiles,
    *,
    ready: bool,
    drain_timeout: int,
    say: Callable[[str], None],
) -> None:
    """Change one kubelet, in steps after each of which the files show the next run what is left to do.

    Raises:
        Stopped: the kubelet has its old fields, or a step failed.
    """
    fields = node.kubelet_configuration
    if fields or found.contents:
        drained = bool(_needs_drain(node, found))
        if drained or found.contents.get(UNIT_FILE) != UNIT or FIELDS_FILE not in found.contents:
            # The fields first, so that the next run knows that a kubelet may not have read them.
            _write(node, {FIELDS_FILE: fields_file(found.fields, unfinished=True), UNIT_FILE: UNIT})
        turn = Turn(
            node=node,
            file=FIELDS_FILE,
            content=fields_file(fields, unfinished=True),
            changes=True,
            drained=drained,
            fix=_FIX,
        )
        take_turn_alone(leader, turn, ready=ready, drain_timeout=drain_timeout, say=say)
    # Only now, so that the next run does not go on to other nodes while this one is not Ready.
    if fields:
        _write(node, {FIELDS_FILE: fields_file(fields)})
    else:
        _run(node, script("remove-kubelet-fields", UNIT_FILE, FIELDS_FILE))


def _write(node: Node, contents: Mapping[str, str]) -> None:
    _run(node, write_command({path: content.encode() for path, content in contents.items()}))


def _run(node: Node, command: StringCommand) -> None:
    done, output = direct.run(inventory.get_host(node.host), command)
    if not done:
        raise Stopped(f"{node.name}: could not change the files of its kubelet: {output.stderr}; run again")


@deploy("Node kubelet configuration")
def reconfigure_node_kubelets(
    *,
    options: ClusterOptions,
    topology: Topology,
    discard_edits: bool = False,
    allow_drain: bool = False,
    drain_timeout: int = 300,
) -> None:
    """Give the kubelets of a live cluster the ``node_kubelet_configuration`` of their hosts; call it before nodes join.

    Only nodes of this run are changed, one after the other. The first kubelet that does not come up gets its old fields
    back and ends the run. A node whose fields need a drained node is drained for at most ``drain_timeout`` seconds, and only
    with ``allow_drain``; without it, a warning names it and it stays as it is.

    ``discard_edits`` allows that edits of the files with these fields are lost.
    """
    nodes = part(host.state, Decisions).once(
        "nodes whose kubelets lack own fields",
        lambda: _differing(host.state, options=options, topology=topology),
    )
    node_kubelets_reconfigured(
        name="Reconfigure single kubelets",
        topology=topology,
        nodes=nodes,
        discard_edits=discard_edits,
        drain_timeout=drain_timeout if allow_drain else 0,
    )


def _differing(state: State, *, options: ClusterOptions, topology: Topology) -> tuple[Node, ...]:
    """Return the nodes of this run whose files are not those of their fields, or may become others when a change ends."""
    active = set(active_hosts(state))
    differing = []
    for node in topology.nodes:
        if node.host not in active:
            continue
        found = read(inventory.get_host(node.host), kube_packages.reading(options))
        fields: Mapping[str, Any] = node.kubelet_configuration
        in_exchange = "half-changed" in found.kubelet and (fields or found.files.keys() & {*PATHS})
        if "has-node" in found.kubelet and (in_exchange or differ(fields, found=found.files)):
            differing.append(node)
    return tuple(differing)
