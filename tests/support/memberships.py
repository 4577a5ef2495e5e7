"""A healthy cluster of three control planes and a worker, as its API shows it: with the tested machine or without."""

import dataclasses

from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.model.nodes import Node
from tests.support.machines import A, B, C, W, registered, voter

NODES = {
    node.name: registered(control_plane=node is not W, machine_id=f"m-{node.name}") for node in (A, B, C, W)
}

VOTERS = (voter(A), voter(B), voter(C))

NOT_READY = registered(ready=False)


def cluster(
    node: Node, *, etcd: tuple[EtcdMember, ...] = VOTERS, found: RegisteredNode | None = None
) -> ClusterMembersState:
    """Return a healthy cluster; ``node`` is the tested machine, with the machine ID ``m``."""
    own = found or dataclasses.replace(NODES[node.name], machine_id="m")
    return ClusterMembersState(etcd=etcd, nodes={**NODES, node.name: own})


def without(node: Node, *, etcd: tuple[EtcdMember, ...] = VOTERS) -> ClusterMembersState:
    """Return the same cluster without the machine's Node object."""
    return ClusterMembersState(
        etcd=etcd, nodes={name: other for name, other in NODES.items() if name != node.name}
    )
