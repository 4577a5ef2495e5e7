"""Machines as the preflight checks see them: good ones, and the findings when they differ."""

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any

from kubeadm_deploys.cluster.api_leader import choose_leader
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.downloads import DownloadsState
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.machine import Clock, Disk, MachineState, Route
from kubeadm_deploys.model.findings import Finding
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.model.proxies import proxies_of
from kubeadm_deploys.preflight.check import preflight_findings
from tests.support.machines import STATIC_PODS

CP = Node(host="@x/cp", name="cp-1", ip="10.0.0.2", address="10.0.0.2")
W1 = Node(host="@x/w1", name="w-1", ip="10.0.0.3", address="10.0.0.3")
W2 = Node(host="@x/w2", name="w-2", ip="10.0.0.4", address="10.0.0.4")
TOPOLOGY = Topology(control_planes=(CP,), workers=(W1, W2))
GIB = 1024**3

CA = "ours"
ABSENT = KubeadmNodeState()
PARTIAL = KubeadmNodeState(files=frozenset({"pki/ca.key", "kubelet.conf"}), ca_certificate=CA)
MEMBER = KubeadmNodeState(files=frozenset({"kubelet.conf"}), rotating=True, ca_certificate=CA)
CONTROL_PLANE = dataclasses.replace(
    MEMBER, files=frozenset({"kubelet.conf", "etcd"}) | STATIC_PODS, cluster_name="kubernetes", api="ok"
)
VOTE = EtcdMember(id="1", name=CP.name, peer_ip=CP.ip)


def machine(node: Node) -> MachineState:
    """Return a Debian server on which every check passes."""
    return MachineState(
        clock=Clock(least=-0.01, most=0.01),
        os=("debian", "12"),
        architecture="amd64",
        kernel="6.1.0-28-amd64",
        systemd=True,
        cgroup=2,
        controllers=frozenset({"cpuset", "cpu", "io", "memory", "pids"}),
        memory=4 * GIB,
        cpus=2,
        disks={
            path: Disk(mount="/", free=30 * GIB, size=40 * GIB)
            for path in ("/", "/var/lib/containerd", "/var/lib/etcd")
        },
        hostname=node.name,
        machine_id=f"id-of-{node.name}",
        product_uuid=f"uuid-of-{node.name}",
        macs={"eth0": f"02:00:00:00:00:0{node.ip[-1]}", "docker0": "02:42:00:00:00:01"},
        addresses={"127.0.0.1": "lo", node.ip: "eth0", "172.17.0.1": "docker0"},
        routes=(Route(network=ipaddress.IPv4Network("10.0.0.0/24"), device="eth0", protocol="kernel"),),
        listeners=((22, "sshd"),),
    )


def findings(
    changes: Mapping[Node, Mapping[str, Any]],
    *,
    kubeadm: Mapping[Node, KubeadmNodeState] | None = None,
    topology: Topology = TOPOLOGY,
    members: ClusterMembersState | None = None,
    settings: ClusterSettingsState | None = None,
    **options: Any,
) -> tuple[Finding, ...]:
    """Return the findings when machines, or their downloads, differ from good ones.

    If the cluster answers, all nodes that have joined are its members.
    """
    found = {node.host: (kubeadm or {}).get(node, ABSENT) for node in topology.nodes}
    control_planes = {node.host: found[node.host] for node in topology.control_planes}
    api_leader = choose_leader(topology, found=control_planes, able=frozenset(found))
    joined = {
        node.name: RegisteredNode(machine_id="") for node in topology.nodes if found[node.host].has_joined
    }
    answers = ClusterMembersState(etcd=(VOTE,), nodes=joined) if api_leader.healthy else None
    download_fields = {field.name for field in dataclasses.fields(DownloadsState)}
    machines, downloads = {}, {}
    for node in topology.nodes:
        node_changes = changes.get(node, {})
        machine_changes = {key: value for key, value in node_changes.items() if key not in download_fields}
        download_changes = {key: value for key, value in node_changes.items() if key in download_fields}
        machines[node.host] = dataclasses.replace(machine(node), **machine_changes)
        downloads[node.host] = DownloadsState(**download_changes)
    return preflight_findings(
        topology,
        options=ClusterOptions(**options),
        machines=machines,
        found=found,
        downloads=downloads,
        control_planes=control_planes,
        api_leader=api_leader,
        members=members or (answers if api_leader.exists else ClusterMembersState()),
        settings=settings,
        proxies={
            node.host: proxies_of(ClusterOptions(**options), node=node, nodes=topology.nodes, network=None)
            for node in topology.nodes
        },
    )


CLUSTER = {CP: CONTROL_PLANE, W1: MEMBER, W2: MEMBER}


def route(network: str, device: str = "wg0", protocol: str = "") -> tuple[Route, ...]:
    return (Route(network=ipaddress.IPv4Network(network), device=device, protocol=protocol),)


def seconds(value: float) -> Clock:
    return Clock(least=value - 0.5, most=value + 0.5)
