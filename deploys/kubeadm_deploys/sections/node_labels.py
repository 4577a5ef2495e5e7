"""Set the roles, labels and taints of nodes as in the inventory: they decide where pods may run.

Those of all nodes are read and changed together, by kubectl on one control plane.
Source: Kubernetes documentation, "Assigning Pods to Nodes" and "Taints and Tolerations".
"""

import json
import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand, QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_leader
from kubeadm_deploys.cluster.recording import WRITE
from kubeadm_deploys.documents import cluster_record
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.model.labels_and_taints import (
    ANNOTATION,
    Difference,
    MarkedNode,
    Marks,
    difference,
    is_taint,
    taint_argument,
    take_over,
    takes_traffic,
    wanted_marks,
)
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.answers import ClusterFact
from kubeadm_deploys.remote.reading import read
from kubeadm_deploys.scripts import script

# kubectl prints maps and lists as JSON in one line, and missing fields as nothing. Only annotations may hold
# a "|".
_NODES = (
    "{range .items[*]}node|{.metadata.name}|{.metadata.labels}|{.spec.taints}|{.metadata.annotations}"
    + '{"\\n"}{end}'
)
_RECORD = 'record|{.data}{"\\n"}'


@dataclass(frozen=True, kw_only=True)
class NodeMarksState:
    """The marks of every Node object by name, and the cluster's record."""

    nodes: Mapping[str, MarkedNode] = field(default_factory=dict)
    record: ClusterRecord = field(default_factory=ClusterRecord)


class NodeMarks(ClusterFact[NodeMarksState]):
    """Read both on a control plane in one command; None if they could not be read."""

    @override
    def command(self) -> StringCommand:
        return StringCommand(
            f"{KUBECTL} get nodes --output",
            QuoteString(f"jsonpath={_NODES}"),
            f"&& {KUBECTL} --namespace {cluster_record.NAMESPACE} get configmap {cluster_record.NAME} "
            "--ignore-not-found --output",
            QuoteString(f"jsonpath={_RECORD}"),
        )

    @override
    def process(self, output: list[str]) -> NodeMarksState:
        nodes, record = {}, ClusterRecord()
        for line in output:
            kind, _, rest = line.partition("|")
            if kind == "node":
                name, *parts = rest.split("|", maxsplit=3)
                labels, taints, annotations = (json.loads(part or "null") or {} for part in parts)
                effects = {f"{taint['key']}:{taint['effect']}": taint.get("value", "") for taint in taints}
                nodes[name] = MarkedNode(
                    marks={**labels, **effects}, annotation=annotations.get(ANNOTATION, "")
                )
            elif kind == "record":
                record = ClusterRecord(data=json.loads(rest or "null") or {})
        return NodeMarksState(nodes=nodes, record=record)


_AT_A_TIME = 8
"""How many kubectl commands run in parallel on the control plane."""

_NODES_A_COMMAND = 100

_DONE = re.compile(r"node/(\S+) ")
"""What kubectl prints for each node that it changed, or did not have to change."""

Nodes = Mapping[str, frozenset[str]]
"""Marks by the name of their node."""


@dataclass(frozen=True, kw_only=True)
class WantedNode:
    """What the inventory says of a node: its ``marks``, whether it is a control plane, and whether load
    balancers have to send it ``traffic`` although it is one.
    """

    marks: Marks
    control_plane: bool = False
    traffic: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """A kubectl command that makes one change to several ``nodes``; its ``arguments`` follow their names."""

    verb: str
    nodes: tuple[str, ...]
    arguments: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The command after kubectl's own options; each word is one line."""
        words = (self.verb, "--overwrite", "node", *self.nodes, *self.arguments)
        return tuple(word.replace("\n", " ") for word in words)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The steps that give nodes their wanted marks, in an order in which a killed run forgets nothing.

    First the ``record`` gets ``claim`` for all nodes, only if ``claims``; then the ``changes`` are made; at
    the end the record gets ``final``. ``doubted`` are marks by node that an old record claims and that are
    left alone.
    """

    record: ClusterRecord
    claim: Nodes
    claims: bool
    changes: tuple[Change, ...]
    final: Nodes
    doubted: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_needed(self) -> bool:
        """Whether anything has to be changed."""
        return self.claims or bool(self.changes) or self.final != self.claim


@operation()
@fails_clearly
def nodes_marked(*, topology: Topology) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Give nodes the labels, roles and taints of the inventory, and remove those that it no longer has.

    Nodes that have not joined, and nodes of hosts that are not part of this run, are left alone.

    + topology: the cluster; its leader makes the changes
    """
    api_leader = ask_leader(host.state, topology)
    if not acts_for_cluster(host, api_leader):
        host.noop("runs on another host")
        return
    if not api_leader.api_answers:
        host.noop("no API server answers yet")
        return
    leader = inventory.get_host(api_leader.leader)
    found = read(leader, NodeMarks)
    wanted_nodes = {
        node.name: WantedNode(
            marks=wanted_marks(node, control_plane=node in topology.control_planes),
            control_plane=node in topology.control_planes,
            traffic=takes_traffic(node, topology),
        )
        for node in topology.nodes
    }
    active = {
        node.name for node in topology.nodes if inventory.get_host(node.host) in host.state.active_hosts
    }
    placement = placed(
        found,
        wanted={name: node for name, node in wanted_nodes.items() if name in active},
        known={mark for node in wanted_nodes.values() for mark in node.marks},
    )
    if not placement.is_needed:
        host.noop("labels and taints are up to date")
        return
    if host.state.is_executing:
        for name, marks in placement.doubted.items():
            logger.warning(
                f"--> Warning: {name}: {', '.join(marks)} may come from an earlier inventory, but only the "
                "node itself says so; if it does, remove it with 'kubectl label' or 'kubectl taint'"
            )
    yield calling(_make_changes, leader, placement)


def placed(found: NodeMarksState, *, wanted: Mapping[str, WantedNode], known: Collection[str]) -> Placement:
    """Compare the nodes with the inventory's ones in ``wanted``, by name.

    ``known`` are the marks that the inventory gives any node. If the cluster has no record of nodes yet, the
    claims of their annotations are taken over, once for all nodes.
    """
    recorded = found.record.nodes
    taken_over = (
        {}
        if recorded is not None
        else {name: take_over(node, known=known) for name, node in found.nodes.items() if node.annotation}
    )
    owned = {
        name: taken_over[name].believed if name in taken_over else (recorded or {}).get(name, frozenset())
        for name in found.nodes
    }
    differences = {
        name: difference(
            found=found.nodes[name].marks,
            recorded=owned[name],
            wanted=node.marks,
            control_plane=node.control_plane,
            traffic=node.traffic,
        )
        for name, node in wanted.items()
        if name in found.nodes
    }
    claim = _without_empty(owned | {name: differs.claim for name, differs in differences.items()})
    # Only nodes that exist: the record is not written just because a node has left.
    current = _without_empty({name: (recorded or {}).get(name, frozenset()) for name in found.nodes})
    doubted = {
        name: tuple(mark for mark in marks.doubted if name not in wanted or mark not in wanted[name].marks)
        for name, marks in taken_over.items()
    }
    return Placement(
        record=found.record,
        claim=claim,
        claims=claim != current or bool(taken_over),
        changes=tuple(
            _changes(differences, annotated=[name for name in differences if found.nodes[name].annotation])
        ),
        final=_without_empty(owned | {name: differs.record for name, differs in differences.items()}),
        doubted={name: marks for name, marks in doubted.items() if marks},
    )


def _without_empty(nodes: Nodes) -> Nodes:
    return {name: marks for name, marks in nodes.items() if marks}


def _changes(differences: Mapping[str, Difference], *, annotated: Sequence[str]) -> Iterator[Change]:
    """Yield the commands that remove the differences: one for all nodes that need the same change."""
    nodes: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for name, differs in differences.items():
        for verb, arguments in _arguments(differs):
            if arguments:
                nodes.setdefault((verb, arguments), []).append(name)
    if annotated:
        nodes["annotate", (f"{ANNOTATION}-",)] = list(annotated)
    for (verb, arguments), names in nodes.items():
        for first in range(0, len(names), _NODES_A_COMMAND):
            yield Change(verb=verb, nodes=tuple(names[first : first + _NODES_A_COMMAND]), arguments=arguments)


def _arguments(differs: Difference) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield what to add and to remove, with kubectl's verb."""
    labels = [f"{mark}={value}" for mark, value in differs.changed.items() if not is_taint(mark)]
    labels += [f"{mark}-" for mark in differs.removed if not is_taint(mark)]
    taints = [taint_argument(mark, value) for mark, value in differs.changed.items() if is_taint(mark)]
    taints += [f"{mark}-" for mark in differs.removed if is_taint(mark)]
    yield "label", tuple(labels)
    yield "taint", tuple(taints)


def change_command(changes: Sequence[Change]) -> StringCommand:
    """Return the command that makes the changes, a few at a time, and fails if any of them fails."""
    # One word per line; an empty line ends a command.
    words = (f"{word}\n" for change in changes for word in (*change.words, ""))
    return script("label-nodes", str(_AT_A_TIME), stdin="".join(words))


def failures(changes: Sequence[Change], *, output: Sequence[str], error: str) -> dict[str, str]:
    """Return the nodes that were not changed, each with the reason, from the output of the failed script.

    kubectl continues with the other nodes of a command when one of them fails. ``error`` is the reason if the
    script printed none: then nothing is known of any node.
    """
    lines: dict[int, list[str]] = {}
    for line in output:
        first, _, words = line.partition(" ")
        if first.isdecimal():
            lines.setdefault(int(first), []).append(words)
    problems: dict[str, str] = {}
    for number, change in enumerate(changes):
        if lines and number not in lines:
            continue
        done = {match[1] for words in lines.get(number, []) if (match := _DONE.match(words))}
        reason = " ".join(words for words in lines.get(number, []) if not _DONE.match(words)) or error
        problems |= {node: reason for node in change.nodes if node not in done}
    return problems


def _make_changes(state: State, host: Host, leader: Host, placement: Placement) -> bool:
    if placement.claims and not _record(host, leader, placement.record.with_nodes(placement.claim)):
        return False
    problems: dict[str, str] = {}
    if placement.changes:
        changed, output = direct.run(leader, change_command(placement.changes))
        if not changed:
            problems = failures(placement.changes, output=output.stdout_lines, error=output.stderr)
    for node, problem in problems.items():
        host.log(f"{leader.name}: could not label or taint {node}: {problem}")
    # Failed changes stay claimed, so that the next run continues with them.
    final = _without_empty(
        {**placement.final, **{node: placement.claim.get(node, frozenset()) for node in problems}}
    )
    if final != placement.claim and not _record(host, leader, placement.record.with_nodes(final)):
        return False
    return not problems


def _record(host: Host, leader: Host, record: ClusterRecord) -> bool:
    written, output = direct.run(leader, WRITE, stdin=record.manifest())
    if not written:
        host.log(f"{leader.name}: could not record the labels and taints of nodes: {output.stderr}")
    return written


@deploy("Node labels")
def label_nodes(*, topology: Topology) -> None:
    """Set roles, labels and taints of the nodes that have joined; what others set on a node stays.

    In a cluster without workers, control planes on which pods may run lose kubeadm's label that excludes them
    from load balancers; they get it back with the first worker.

    kubeadm gives a new node its taints, before its first pod; from then on they are kept as in the inventory.
    """
    nodes_marked(name="Set roles, labels and taints", topology=topology)
