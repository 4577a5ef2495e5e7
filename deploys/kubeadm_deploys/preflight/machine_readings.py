"""The readings of ``cluster.py``: one command per machine for all sections, and one for the cluster.

A section that is called alone makes its own readings.
"""

from collections.abc import Iterator
from typing import Any

from pyinfra import host, inventory
from pyinfra.api import deploy
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubeadm_deploys.clouds import cloud_of
from kubeadm_deploys.cluster.leader import active_hosts
from kubeadm_deploys.cluster.members import wants
from kubeadm_deploys.cni import cni_of
from kubeadm_deploys.endpoints import KINDS
from kubeadm_deploys.facts.cluster_health import ClusterHealth, InitRemainder
from kubeadm_deploys.facts.endpoint_name import ApiEndpoint
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from kubeadm_deploys.facts.machine import Machine
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import ask_what_is_missing, in_parallel
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.sections import (
    bridged_traffic,
    cloud_init,
    container_runtime,
    control_plane_files,
    kube_packages,
    kubelet_dns,
    machine_proxies,
    swap,
)
from kubeadm_deploys.sections.images import Images
from kubeadm_deploys.sections.node_labels import NodeMarks


@deploy("Machines")
def read_machines(*, options: ClusterOptions, topology: Topology) -> None:
    """Make the readings of all sections on every machine of this run and every control plane. Change nothing.

    If a reading fails, the section that needs it repeats it.
    """
    state = host.state
    part(state, Decisions).once("machines", lambda: _ask(state, options=options, topology=topology))


def _ask(state: State, *, options: ClusterOptions, topology: Topology) -> None:
    wants(state, cluster_readings(options))
    active = set(active_hosts(state))

    def ask_one(machine: Host) -> None:
        node = topology.node(machine.name)
        if machine.name in active:
            ask_what_is_missing(machine, node_readings(options=options, topology=topology, node=node))
        elif machine.connected or machine not in state.failed_hosts:
            ask_what_is_missing(machine, [Reading(KubeadmNode)])

    names = dict.fromkeys([*(node.host for node in topology.control_planes), *active])
    in_parallel(ask_one, [inventory.get_host(name) for name in names])


def node_readings(*, options: ClusterOptions, topology: Topology, node: Node) -> Iterator[Reading[Any]]:
    """Yield the readings of one machine for all sections."""
    yield Reading(KubeadmNode)
    yield Reading(Machine)
    yield cloud_init.reading(node)
    yield bridged_traffic.READING
    if options.swap != "keep":
        yield swap.READING
    yield machine_proxies.READING
    yield container_runtime.reading(options)
    yield Reading(Images)
    yield kube_packages.reading(options)
    if "resolvConf" not in options.kubelet_configuration:
        yield kubelet_dns.READING
    yield Reading(ApiEndpoint)
    yield from (kind.reading for kind in KINDS.values() if kind.reading)
    if node in topology.control_planes:
        if options.control_plane_files:
            yield control_plane_files.reading(options)
        if reading := cni_of(options).reading:
            yield reading(options=options, node=node)
        if of_cloud := cloud_of(options).reading:
            yield of_cloud


def cluster_readings(options: ClusterOptions) -> Iterator[Reading[Any]]:
    """Yield the readings of the cluster, which its leader answers."""
    yield Reading(InitRemainder)
    yield from cni_of(options).cluster_readings
    yield from cloud_of(options).cluster_readings
    yield Reading(NodeMarks)
    yield Reading(ClusterHealth)
