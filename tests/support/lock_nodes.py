"""Three control planes that grant a run lock, states of their cluster, and a clock that a test controls."""

from collections.abc import Sequence
from dataclasses import dataclass

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.model.nodes import Node, Topology

A, B, C = (
    Node(host=f"@x/{name}", name=name, ip=f"10.0.0.{number}", address="")
    for number, name in enumerate("abc", 1)
)

NODES = Topology(control_planes=(A, B, C), workers=())
NO_CLUSTER = ApiLeader(leader=A.host, exists=False)
CLUSTER = ApiLeader(leader=A.host, exists=True, healthy=(A,))


def members(
    *etcd: Node, learner: Node | None = None, api: Sequence[str] = (), workers: Sequence[str] = ()
) -> ClusterMembersState:
    voting = [EtcdMember(id=node.name, name=node.name, peer_ip=node.ip) for node in etcd]
    learning = [EtcdMember(id="l", name=learner.name, peer_ip=learner.ip, learner=True)] if learner else []
    nodes = {name: RegisteredNode(machine_id=name, control_plane=name in api) for name in (*api, *workers)}
    return ClusterMembersState(etcd=(*voting, *learning), nodes=nodes)


@dataclass
class Time:
    """A clock that only advances when code sleeps."""

    now: float = 1000

    def sleep(self, seconds: float) -> None:
        self.now += seconds
