"""What ``cluster.py`` asks: each machine for all its sections in one command, and the cluster in another one.

A section that is called alone asks for itself.
"""

from collections.abc import Iterator
from typing import Any

from pyinfra import host, inventory
from pyinfra.api import deploy
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubeadm_deploys import (
    bridged_traffic,
    cni,
    container_runtime,
    kube_packages,
    provisioning,
    resolver,
    swap,
)
from kubeadm_deploys.cluster.leader import active_hosts
from kubeadm_deploys.cluster.members import wants
from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.api_endpoint import ApiEndpoint
from kubeadm_deploys.facts.calico import LoadBalancerAddresses
from kubeadm_deploys.facts.cluster_health import ClusterHealth, InitRemainder
from kubeadm_deploys.facts.images import Images
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from kubeadm_deploys.facts.machine import Machine
from kubeadm_deploys.facts.placement import NodeMarks
from kubeadm_deploys.facts.reading import ask_what_is_missing, in_parallel
from kubeadm_deploys.hetzner import cloud_controller
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.run_parts import Decisions, part


@deploy("Machines")
def read_machines(*, options: ClusterOptions, topology: Topology) -> None:
    """Ask every machine of this run, and every control plane, for all that the sections will want to know of it.

    Changes nothing; what a machine does not answer now, the section asks for that needs it.
    """
    state = host.state
    part(state, Decisions).once("machines", lambda: _ask(state, options=options, topology=topology))


def _ask(state: State, *, options: ClusterOptions, topology: Topology) -> None:
    wants(state, cluster_readings(options))
    active = set(active_hosts(state))

    def ask_one(each: Host) -> None:
        node = topology.node(each.name)
        if each.name in active:
            ask_what_is_missing(each, node_readings(options=options, topology=topology, node=node))
        elif each.connected or each not in state.failed_hosts:
            ask_what_is_missing(each, [Reading(KubeadmNode)])

    names = dict.fromkeys([*(node.host for node in topology.control_planes), *active])
    in_parallel(ask_one, [inventory.get_host(name) for name in names])


def node_readings(*, options: ClusterOptions, topology: Topology, node: Node) -> Iterator[Reading[Any]]:
    """What is read of one machine for all sections."""
    yield Reading(KubeadmNode)
    yield Reading(Machine)
    yield provisioning.reading(node)
    yield bridged_traffic.READING
    if options.swap != "keep":
        yield swap.READING
    yield container_runtime.reading(options)
    yield Reading(Images)
    yield kube_packages.reading(options)
    if "resolvConf" not in options.kubelet_configuration:
        yield resolver.READING
    yield Reading(ApiEndpoint)
    yield local_proxy.READING
    if node in topology.control_planes:
        yield cni.reading(options=options, node=node)
        if options.cloud_provider == "hetzner":
            yield cloud_controller.READING


def cluster_readings(options: ClusterOptions) -> Iterator[Reading[Any]]:
    """What is read of the cluster, through its leader."""
    yield Reading(InitRemainder)
    yield cni.CLUSTER_READING
    if options.cloud_provider == "hetzner":
        yield from cloud_controller.CLUSTER_READINGS
    yield Reading(NodeMarks)
    yield Reading(ClusterHealth)
    yield Reading(LoadBalancerAddresses)
