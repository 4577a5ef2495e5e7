"""Read what an upgrade is planned from."""

from functools import partial
from typing import Any

from pyinfra import inventory
from pyinfra.api import Host, State

from kubeadm_deploys.cluster.leader import ask_control_planes
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState
from kubeadm_deploys.facts.machine import Machine
from kubeadm_deploys.facts.node_status import EtcdStatus, NodeStatuses
from kubeadm_deploys.facts.upgrade_state import UpgradeState
from kubeadm_deploys.lifecycle.upgrade_checks import MachineReadings, Readings
from kubeadm_deploys.lifecycle.upgrade_gates import PlaneReadings, unhealthy
from kubeadm_deploys.lifecycle.upgrade_plan import OwnOptions
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.preflight.check import with_own_options
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import ask_all, ask_what_is_missing, in_parallel, read
from kubeadm_deploys.sections import container_runtime, kube_packages


def ask_pending(state: State, *, topology: Topology) -> str:
    """Return why nothing can be planned yet although an earlier run's kubeadm only has to end, else empty."""
    found = dict(ask_control_planes(state, topology))
    for node in topology.workers:
        found[node.host] = read(inventory.get_host(node.host), KubeadmNode)
    known = {name: each for name, each in found.items() if isinstance(each, KubeadmNodeState)}
    if running := [topology.node(name).name for name, each in known.items() if each.kubeadm_runs]:
        return f"{', '.join(running)}: kubeadm of an earlier run is still running"
    if cut := [topology.node(name).name for name, each in known.items() if each.backups]:
        return f"{', '.join(cut)}: kubeadm was interrupted between two renames, and the manifest is restored first"
    return ""


def read_all(
    state: State, *, options: ClusterOptions, topology: Topology, leader: Host, own: OwnOptions
) -> "partial[Readings]":
    """Return ``Readings`` that lack the members, the settings and the CA of the cluster.

    Raises:
        NotRead: a machine or the cluster did not answer.
    """
    planes = {node.host for node in topology.control_planes}

    def ask_one(machine: Host) -> MachineReadings:
        its_options = own(options, machine.name)
        runtime, packages = container_runtime.reading(its_options), kube_packages.reading(its_options)
        wanted: list[Reading[Any]] = [
            *(Reading(KubeadmNode), Reading(Machine), Reading(UpgradeState), runtime, packages)
        ]
        ask_what_is_missing(machine, wanted)
        return MachineReadings(
            kubeadm=read(machine, KubeadmNode),
            machine=read(machine, Machine),
            packages=read(machine, packages),
            runtime=read(machine, runtime),
            upgrade=read(machine, UpgradeState),
        )

    machines = in_parallel(ask_one, [inventory.get_host(node.host) for node in topology.nodes])
    etcd = in_parallel(
        lambda machine: ask_all(machine, [Reading(EtcdStatus)])[Reading(EtcdStatus)],
        [inventory.get_host(name) for name in planes],
    )
    reasons = unhealthy(
        topology,
        planes={name: PlaneReadings(kubeadm=machines[name].kubeadm, etcd=etcd[name]) for name in planes},
        members=read(leader, EtcdMembers),
        healthy=read(leader, EtcdHealth),
    )
    return partial(
        Readings,
        machines=machines,
        nodes={node.name: node for node in read(leader, NodeStatuses)},
        unhealthy=tuple(reasons),
    )


def own_options(state: State) -> OwnOptions:
    """Return the function that gives the options of single hosts."""
    data = {each.name: each.data.dict() for each in state.inventory}

    def of_host(options: ClusterOptions, name: str) -> ClusterOptions:
        return with_own_options(options, data=data, host=name)

    return of_host
