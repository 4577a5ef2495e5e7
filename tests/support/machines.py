"""A cluster of three control planes and a worker, and the states that can be read on such machines."""

import dataclasses

from kubeadm_deploys.facts.cluster_members import RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS, KubeadmNodeState
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote.reading import NotRead

A, B, C, W = (
    Node(host=f"host-{name}", name=name, ip=ip, address=ip)
    for name, ip in (("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3"), ("w", "10.0.0.9"))
)
TOPOLOGY = Topology(control_planes=(A, B, C), workers=(W,))

OURS, OTHERS = "ours", "another cluster's"
"""CA certificates."""

STATIC_PODS = frozenset(f"manifests/{name}.yaml" for name in MANIFESTS)

ABSENT = KubeadmNodeState(machine_id="m")
"""No trace of kubeadm; ``m`` is the machine ID of all machines in this module."""

PARTIAL = KubeadmNodeState(files=frozenset({"pki/ca.key"}), ca_certificate=OURS, machine_id="m")
"""kubeadm stopped after it had written certificates."""

WORKER = KubeadmNodeState(
    files=frozenset({"kubelet.conf"}), rotating=True, ca_certificate=OURS, machine_id="m"
)

MEMBER = dataclasses.replace(
    WORKER,
    files=frozenset({"kubelet.conf", "admin.conf", "pki/ca.key", "pki/etcd/ca.crt", "etcd"}) | STATIC_PODS,
    cluster_name="kubernetes",
    api="ok",
)
"""A healthy control plane."""

DOWN = dataclasses.replace(MEMBER, api="not ready: etcd")


def made_anew(found: KubeadmNodeState) -> KubeadmNodeState:
    """Return the state after ``kubeadm init phase kubeconfig kubelet``, the fix of expired certificates."""
    return dataclasses.replace(found, rotating=False)


def of_another_cluster(found: KubeadmNodeState) -> KubeadmNodeState:
    """Return the same state, but in another cluster."""
    return dataclasses.replace(found, ca_certificate=OTHERS)


def not_read(node: Node, *, reached: bool = False) -> NotRead:
    """Return the error for a machine that did not answer."""
    reason = "sh: 1: Cannot fork" if reached else "SSH session not active"
    return NotRead(host=node.host, what="kubeadm node", reason=reason, reached=reached)


def voter(node: Node, *, name: str = "", ip: str = "") -> EtcdMember:
    """Return a voting etcd member, with another name or address if one is given."""
    return EtcdMember(id=f"id-{node.name}", name=name or node.name, peer_ip=ip or node.ip)


def learner(node: Node) -> EtcdMember:
    """Return an etcd member that has started and does not vote yet."""
    return dataclasses.replace(voter(node), learner=True)


def never_started(node: Node) -> EtcdMember:
    """Return an etcd member that was added and has not started yet."""
    return EtcdMember(id=f"id-{node.name}", name="", peer_ip=node.ip)


def registered(*, ready: bool = True, control_plane: bool = False, machine_id: str = "m") -> RegisteredNode:
    """Return a Node object."""
    return RegisteredNode(machine_id=machine_id, ready=ready, control_plane=control_plane)
