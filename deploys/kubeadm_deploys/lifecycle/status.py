"""Report the status of a cluster: nodes, control planes, certificates, and what needs attention."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
from pyinfra import host, inventory
from pyinfra.api import FactBase, Host, State, deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.leader import active_hosts, ask_control_planes, ask_planned_leader
from kubeadm_deploys.facts.node_status import EtcdStatus, HostStatus, NodeStatuses, NodeStatusState
from kubeadm_deploys.lifecycle.status_report import ClusterStatus, Readings, cluster_status, document, text
from kubeadm_deploys.model.errors import InputError, shown
from kubeadm_deploys.model.findings import errors_of
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import NotRead, ask_all, in_parallel, read
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.sections.cluster_options import followed

OUTPUTS = ("table", "json")


@deploy("Status")
def report_status(*, options: ClusterOptions, topology: Topology, output: str = "table") -> None:
    """Print the status of the cluster on standard output, once for all hosts. Change nothing.

    ``output`` is ``table``, or ``json`` for a JSON document alone. Machines that cannot be reached, and an API
    that does not answer, are part of the status. ``--limit`` leaves out machines, but not nodes.

    Raises:
        InputError: the output is unknown.
        DeployError: something needs attention.
    """
    if output not in OUTPUTS:
        raise InputError([f"output: {shown(output)} is not known; choose {' or '.join(OUTPUTS)}"])
    decisions = part(host.state, Decisions)
    status: ClusterStatus = decisions.once(
        "status", partial(_read_and_print, host.state, options=options, topology=topology, output=output)
    )
    if status.attention:
        count = len(status.attention)
        raise DeployError(f"{count} thing{'s need' if count > 1 else ' needs'} attention, see the status")


def _read_and_print(
    state: State, *, options: ClusterOptions, topology: Topology, output: str
) -> ClusterStatus:
    now = datetime.now(UTC)
    status = _ask_status(state, options=options, topology=topology, now=now)
    if output == "json":
        click.echo(document(status))
    else:
        for line in text(status, now=now):
            click.echo(line)
    return status


def _ask_status(state: State, *, options: ClusterOptions, topology: Topology, now: datetime) -> ClusterStatus:
    control_planes = {node.host for node in topology.control_planes}
    asked = in_parallel(
        lambda machine: ask_all(
            machine,
            [Reading(HostStatus), *([Reading(EtcdStatus)] if machine.name in control_planes else [])],
        ),
        [inventory.get_host(name) for name in active_hosts(state)],
    )
    api_leader = ask_planned_leader(state, topology)
    problems: list[str] = []
    nodes: tuple[NodeStatusState, ...] | None = None
    differences: list[str] = []
    newer = ""
    if not api_leader.exists:
        problems.append("no machine has a cluster; run deploys/cluster.py, which creates one")
    elif not api_leader.healthy:
        problems.append(f"the API does not answer: {api_leader.problem}")
    else:
        try:
            nodes = read(inventory.get_host(api_leader.leader), NodeStatuses)
            following = followed(options=options, topology=topology)
        except NotRead as error:
            problems.append(str(error))
        else:
            differences = [finding.words for finding in following.findings]
            problems += [finding.words for finding in errors_of(following.findings)]
            newer = following.news
    return cluster_status(
        topology,
        Readings(
            hosts=_failed(state, topology) | _answers(asked, HostStatus),
            kubeadm=ask_control_planes(state, topology),
            etcd=_answers(asked, EtcdStatus),
            nodes=nodes,
        ),
        cluster=options.cluster_name,
        now=now,
        problems=problems,
        differences=differences,
        newer=newer,
    )


def _answers(asked: Mapping[str, Mapping[Reading[Any], Any]], fact: type[FactBase[Any]]) -> dict[str, Any]:
    return {
        name: answer
        for name, answers in asked.items()
        for reading, answer in answers.items()
        if reading.fact is fact
    }


def _failed(state: State, topology: Topology) -> dict[str, Any]:
    """Return NotRead for the machines that pyinfra could not connect to."""
    hosts: list[Host] = [state.inventory.get_host(node.host) for node in topology.nodes]
    return {
        machine.name: NotRead(host=machine.name, what="its status", reason="cannot be reached", reached=False)
        for machine in hosts
        if machine in state.failed_hosts
    }
