"""Labels and taints of nodes, through kubectl on a control plane.

Every kubectl command below is one request that changes one thing of one Node object: all its labels, all its taints,
or the record.
"""

import shlex
from collections.abc import Generator

from pyinfra import host, inventory
from pyinfra.api import Host, State, operation
from pyinfra.api.command import FunctionCommand, StringCommand

from kubeadm_deploys import cluster_run
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.placement import NodeMarks
from kubeadm_deploys.facts.reading import read
from kubeadm_deploys.marks import (
    RECORD,
    Difference,
    MarkedNode,
    difference,
    is_taint,
    taint_argument,
    wanted_marks,
)
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import direct
from kubeadm_deploys.operations.failure import failed, fails_clearly


@operation()
@fails_clearly
def nodes_marked(*, topology: Topology) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Give nodes the labels, roles and taints that data say, and take back those that data no longer say.

    Nodes that have not joined, and nodes of hosts that have no part in this run, are left alone.

    + topology: the cluster; its leader does it
    """
    run = cluster_run.CURRENT
    if not run.speaks(host, topology):
        host.noop("another host does it")
        return
    leader = run.leader(topology)
    nodes = read(leader, NodeMarks)
    if host.state.is_executing and not nodes:
        yield failed(f"{leader.name}: the API server does not tell its nodes: {KUBECTL} get nodes")
        return
    changed = False
    for node in topology.nodes:
        if node.name not in nodes or inventory.get_host(node.host) not in host.state.active_hosts:
            continue
        control_plane = node in topology.control_planes
        wanted = wanted_marks(node, control_plane=control_plane)
        found = nodes[node.name]
        commands = mark_commands(
            node.name,
            found=found,
            differs=difference(found=found, wanted=wanted, control_plane=control_plane),
        )
        if commands:
            changed = True
            yield FunctionCommand(_mark, (leader, node.name, commands), {})
    if not changed:
        host.noop("every node has what data say")


def mark_commands(node: str, *, found: MarkedNode, differs: Difference) -> list[str]:
    """The commands that make up a difference, none without one."""
    labels = [f"{mark}={value}" for mark, value in differs.changed.items() if not is_taint(mark)]
    labels += [f"{mark}-" for mark in differs.removed if not is_taint(mark)]
    taints = [taint_argument(mark, value) for mark, value in differs.changed.items() if is_taint(mark)]
    taints += [f"{mark}-" for mark in differs.removed if is_taint(mark)]
    return [
        *([_kubectl("annotate", node, [_record(differs.claim)])] if differs.claim != found.record else []),
        *([_kubectl("label", node, labels)] if labels else []),
        *([_kubectl("taint", node, taints)] if taints else []),
        *([_kubectl("annotate", node, [_record(differs.record)])] if differs.record != differs.claim else []),
    ]


def _record(text: str) -> str:
    return f"{RECORD}={text}" if text else f"{RECORD}-"


def _kubectl(verb: str, node: str, arguments: list[str]) -> str:
    return f"{KUBECTL} {verb} --overwrite node {shlex.join([node, *arguments])}"


def _mark(state: State, host: Host, leader: Host, node: str, commands: list[str]) -> bool:
    marked, output = direct.run(leader, " && ".join(commands))
    if not marked:
        host.log(f"{leader.name} did not label or taint {node}: {output.stderr}")
    return marked
