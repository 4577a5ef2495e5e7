"""Labels and taints of nodes, through kubectl on a control plane: those of all nodes together."""

import re
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, operation
from pyinfra.api.command import FunctionCommand, StringCommand

from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_leader
from kubeadm_deploys.cluster_record import ClusterRecord
from kubeadm_deploys.facts.placement import NodeMarks, NodeMarksState
from kubeadm_deploys.facts.reading import read
from kubeadm_deploys.marks import (
    ANNOTATION,
    Difference,
    Marks,
    difference,
    is_taint,
    taint_argument,
    take_over,
    wanted_marks,
)
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import direct
from kubeadm_deploys.operations.cluster_record import WRITE
from kubeadm_deploys.operations.failure import calling, fails_clearly
from kubeadm_deploys.scripts import script

_AT_A_TIME = 8
"""How many kubectl commands run beside each other on the control plane."""

_NODES_A_COMMAND = 100

_DONE = re.compile(r"node/(\S+) ")
"""What kubectl says of each node that it has changed, or did not have to."""

Nodes = Mapping[str, frozenset[str]]
"""By name of a node, marks."""


@dataclass(frozen=True, kw_only=True)
class WantedNode:
    """What data say of a node: its ``marks``, and whether it is a control plane."""

    marks: Marks
    control_plane: bool = False


@dataclass(frozen=True, kw_only=True)
class Change:
    """A kubectl command that changes the same of several ``nodes``: a verb, and the arguments behind their names."""

    verb: str
    nodes: tuple[str, ...]
    arguments: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The command, behind kubectl's own options; each word is one line."""
        words = (self.verb, "--overwrite", "node", *self.nodes, *self.arguments)
        return tuple(word.replace("\n", " ") for word in words)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """What leads the nodes to their wanted marks, in this order, so that whoever is killed in between forgets nothing.

    ``claim`` is what the ``record`` is to say of all nodes first, written only if ``claims``; then the ``changes`` are
    made, and ``final`` is what it says in the end. ``doubted`` are marks by node that an old record claims and that are
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
        """Whether there is anything to do."""
        return self.claims or bool(self.changes) or self.final != self.claim


@operation()
@fails_clearly
def nodes_marked(*, topology: Topology) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Give nodes the labels, roles and taints that data say, and take back those that data no longer say.

    Nodes that have not joined, and nodes of hosts that have no part in this run, are left alone.

    + topology: the cluster; its leader does it
    """
    election = ask_leader(host.state, topology)
    if not acts_for_cluster(host, election):
        host.noop("another host does it")
        return
    if not election.api_answers:
        host.noop("no API server answers yet")
        return
    leader = inventory.get_host(election.leader)
    found = read(leader, NodeMarks)
    everyone = {
        node.name: WantedNode(
            marks=wanted_marks(node, control_plane=node in topology.control_planes),
            control_plane=node in topology.control_planes,
        )
        for node in topology.nodes
    }
    active = {
        node.name for node in topology.nodes if inventory.get_host(node.host) in host.state.active_hosts
    }
    placement = placed(
        found,
        wanted={name: node for name, node in everyone.items() if name in active},
        known={mark for node in everyone.values() for mark in node.marks},
    )
    if not placement.is_needed:
        host.noop("every node has what data say")
        return
    if host.state.is_executing:
        for name, marks in placement.doubted.items():
            logger.warning(
                f"--> Warning: {name}: {', '.join(marks)} may be from an earlier inventory, but only the node itself "
                "says so; if it is, take it off by hand with 'kubectl label' or 'kubectl taint'"
            )
    yield calling(_place, leader, placement)


def placed(found: NodeMarksState, *, wanted: Mapping[str, WantedNode], known: Collection[str]) -> Placement:
    """Compare the nodes with what data say of those in ``wanted``, by name.

    ``known`` are the marks that data give any node. Where the cluster has no record of nodes yet, what their
    annotations claim is taken over, once and for all of them.
    """
    recorded = found.record.nodes
    taken = (
        {}
        if recorded is not None
        else {name: take_over(node, known=known) for name, node in found.nodes.items() if node.annotation}
    )
    ours = {
        name: taken[name].believed if name in taken else (recorded or {}).get(name, frozenset())
        for name in found.nodes
    }
    differences = {
        name: difference(
            found=found.nodes[name].marks,
            recorded=ours[name],
            wanted=node.marks,
            control_plane=node.control_plane,
        )
        for name, node in wanted.items()
        if name in found.nodes
    }
    claim = _without_empty(ours | {name: differs.claim for name, differs in differences.items()})
    # A node that has left is no reason to write.
    there = _without_empty({name: (recorded or {}).get(name, frozenset()) for name in found.nodes})
    doubted = {
        name: tuple(mark for mark in over.doubted if name not in wanted or mark not in wanted[name].marks)
        for name, over in taken.items()
    }
    return Placement(
        record=found.record,
        claim=claim,
        claims=claim != there or bool(taken),
        changes=tuple(
            _changes(differences, annotated=[name for name in differences if found.nodes[name].annotation])
        ),
        final=_without_empty(ours | {name: differs.record for name, differs in differences.items()}),
        doubted={name: marks for name, marks in doubted.items() if marks},
    )


def _without_empty(nodes: Nodes) -> Nodes:
    return {name: marks for name, marks in nodes.items() if marks}


def _changes(differences: Mapping[str, Difference], *, annotated: Sequence[str]) -> Iterator[Change]:
    """The commands that make up the differences: one for all nodes that need the same."""
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
    """What to add and to take away, by kubectl's verb."""
    labels = [f"{mark}={value}" for mark, value in differs.changed.items() if not is_taint(mark)]
    labels += [f"{mark}-" for mark in differs.removed if not is_taint(mark)]
    taints = [taint_argument(mark, value) for mark, value in differs.changed.items() if is_taint(mark)]
    taints += [f"{mark}-" for mark in differs.removed if is_taint(mark)]
    yield "label", tuple(labels)
    yield "taint", tuple(taints)


def change_command(changes: Sequence[Change]) -> StringCommand:
    """The command that makes the changes, a few at a time, and fails if any of them fails."""
    # A word is a line, an empty one ends a command.
    words = (f"{word}\n" for change in changes for word in (*change.words, ""))
    return script("mark-nodes", str(_AT_A_TIME), stdin="".join(words))


def failures(changes: Sequence[Change], *, said: Sequence[str], error: str) -> dict[str, str]:
    """The nodes that were not changed as they should, each with the reason, from what the failed script said.

    kubectl goes on with the other nodes of a command when one of them fails. ``error`` is the reason if the script says
    none at all: then nothing is known of any node.
    """
    lines: dict[int, list[str]] = {}
    for line in said:
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


def _place(state: State, host: Host, leader: Host, placement: Placement) -> bool:
    if placement.claims and not _record(host, leader, placement.record.with_nodes(placement.claim)):
        return False
    problems: dict[str, str] = {}
    if placement.changes:
        changed, output = direct.run(leader, change_command(placement.changes))
        if not changed:
            problems = failures(placement.changes, said=output.stdout_lines, error=output.stderr)
    for node, problem in problems.items():
        host.log(f"{leader.name} did not label or taint {node}: {problem}")
    # What could not be done is claimed on, so that the next run goes on with it.
    final = _without_empty(
        {**placement.final, **{node: placement.claim.get(node, frozenset()) for node in problems}}
    )
    if final != placement.claim and not _record(host, leader, placement.record.with_nodes(final)):
        return False
    return not problems


def _record(host: Host, leader: Host, record: ClusterRecord) -> bool:
    written, output = direct.run(leader, WRITE, stdin=record.manifest())
    if not written:
        host.log(f"{leader.name} did not record the labels and taints of nodes: {output.stderr}")
    return written
