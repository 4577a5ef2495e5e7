"""Wait until a cluster is whole, before and after each step of an upgrade.

kubeadm is content with a majority of etcd. Here every member and every API server is asked, because the next
step stops another one.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pyinfra import inventory
from pyinfra.api import Host

from kubeadm_deploys.cluster.draining import await_none
from kubeadm_deploys.cluster.quorum import unready_members
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMember, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState
from kubeadm_deploys.facts.node_status import EtcdStatus, EtcdStatusState, NodeStatuses, NodeStatusState
from kubeadm_deploys.lifecycle.upgrade_checks import version
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import NotRead, ask, ask_all, in_parallel


@dataclass(frozen=True, kw_only=True)
class PlaneReadings:
    """What one control plane answers about itself and its etcd member."""

    kubeadm: KubeadmNodeState | NotRead
    etcd: EtcdStatusState | NotRead


def unhealthy(
    topology: Topology,
    *,
    planes: Mapping[str, PlaneReadings],
    members: tuple[EtcdMember, ...],
    healthy: frozenset[str],
) -> list[str]:
    """Return why the control planes are not whole.

    ``planes`` are by host, ``healthy`` are the addresses of the etcd members that answer the leader.
    """
    reasons = []
    for node in topology.control_planes:
        plane = planes[node.host]
        if isinstance(plane.kubeadm, NotRead):
            reasons.append(f"{node.name}: could not be read: {plane.kubeadm.reason}")
            continue
        if plane.kubeadm.api != "ok":
            reasons.append(
                f"{node.name}: its API server is not ready: {plane.kubeadm.api or 'it has no manifest'}"
            )
        if plane.kubeadm.missing_manifests:
            reasons.append(f"{node.name}: lacks the manifest of {', '.join(plane.kubeadm.missing_manifests)}")
        if isinstance(plane.etcd, NotRead):
            reasons.append(f"{node.name}: its etcd member does not answer: {plane.etcd.reason}")
        else:
            reasons += [f"{node.name}: etcd reports {error}" for error in plane.etcd.errors]
            if not plane.etcd.has_leader:
                reasons.append(f"{node.name}: its etcd member has no leader")
    reasons += [f"etcd: {reason}" for reason in unready_members(members, healthy=healthy)]
    return reasons


def ask_planes(topology: Topology) -> dict[str, PlaneReadings]:
    """Ask each control plane about itself and its etcd member."""
    kubeadm, etcd = Reading(KubeadmNode), Reading(EtcdStatus)

    def ask_one(machine: Host) -> PlaneReadings:
        answers = ask_all(machine, [kubeadm, etcd])
        return PlaneReadings(kubeadm=answers[kubeadm], etcd=answers[etcd])

    return in_parallel(ask_one, [inventory.get_host(node.host) for node in topology.control_planes])


def ask_unhealthy(topology: Topology, *, leader: Host) -> list[str]:
    """Ask every control plane and every etcd member, and return why they are not whole."""
    planes = ask_planes(topology)
    try:
        members, healthy = ask(leader, EtcdMembers), ask(leader, EtcdHealth)
    except NotRead as error:
        return [*unhealthy(topology, planes=planes, members=(), healthy=frozenset()), str(error)]
    return unhealthy(topology, planes=planes, members=members, healthy=healthy)


def await_whole(topology: Topology, *, leader: Host, seconds: int, but: Collection[str] = ()) -> None:
    """Wait until control planes and etcd are whole and every node is Ready, except the nodes ``but``.

    Raises:
        DeployError: they are not whole within ``seconds``.
    """

    def reasons() -> list[str]:
        found = ask_unhealthy(topology, leader=leader)
        if found:
            return found
        nodes = ask(leader, NodeStatuses)
        return [f"{node.name} is not Ready" for node in nodes if not node.ready and node.name not in but]

    await_none(reasons, leader=leader, seconds=seconds, what="control planes and nodes")


def await_upgraded(
    *, leader: Host, node: str, kubelet: str, container_runtime: str, seconds: int
) -> NodeStatusState:
    """Wait until a node is Ready with these releases, and return it.

    Raises:
        DeployError: it is not within ``seconds``.
    """
    found: list[NodeStatusState] = []

    def reasons() -> list[str]:
        status = next((each for each in ask(leader, NodeStatuses) if each.name == node), None)
        if status is None:
            return [f"the node {node} is gone"]
        found[:] = [status]
        runs = status.container_runtime.rpartition(" ")[2]
        return [
            *([] if status.ready else [f"{node} is not Ready"]),
            *([] if status.kubelet == kubelet else [f"its kubelet reports {status.kubelet}, not {kubelet}"]),
            *(
                []
                if version(runs).release == version(container_runtime).release
                else [f"its containerd reports {runs}, not {container_runtime}"]
            ),
        ]

    await_none(reasons, leader=leader, seconds=seconds, what=node)
    return found[0]


def await_answer(machine: Host, reading: Reading[str], *, wanted: str, seconds: int) -> None:
    """Wait until a machine's answer is the wanted one.

    Raises:
        DeployError: it is not within ``seconds``.
    """

    def reasons() -> list[str]:
        answer = ask(machine, reading)
        return [] if answer == wanted else [f"the answer is {answer!r}, not {wanted!r}"]

    await_none(reasons, leader=machine, seconds=seconds, what=reading.words)
