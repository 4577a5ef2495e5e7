"""Machines as preflight's checks look at them: good ones, and what is found when they differ."""

import dataclasses
import ipaddress
from collections.abc import Mapping
from typing import Any

from kubeadm_deploys.election import elect
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.downloads import DownloadsState
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.machine import Clock, Disk, MachineState, Route
from kubeadm_deploys.findings import Finding
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.preflight import preflight_findings
from tests.machines import STATIC_PODS

CP = Node(host="@x/cp", name="cp-1", ip="10.0.0.2", address="10.0.0.2")
W1 = Node(host="@x/w1", name="w-1", ip="10.0.0.3", address="10.0.0.3")
W2 = Node(host="@x/w2", name="w-2", ip="10.0.0.4", address="10.0.0.4")
TOPOLOGY = Topology(control_planes=(CP,), workers=(W1, W2))
GIB = 1024**3

CA = "ours"
ABSENT = KubeadmNodeState()
HALF = KubeadmNodeState(files=frozenset({"pki/ca.key", "kubelet.conf"}), ca_certificate=CA)
MEMBER = KubeadmNodeState(files=frozenset({"kubelet.conf"}), rotating=True, ca_certificate=CA)
CONTROL_PLANE = dataclasses.replace(
    MEMBER, files=frozenset({"kubelet.conf", "etcd"}) | STATIC_PODS, cluster_name="kubernetes", api="ok"
)
VOTE = EtcdMember(id="1", name=CP.name, peer_ip=CP.ip)


def machine(node: Node) -> MachineState:
    """A Debian server on which everything is fine."""
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
    """What is found when machines, or what they could fetch, differ from good ones. Of a cluster that answers all that have joined are members."""
    found = {node.host: (kubeadm or {}).get(node, ABSENT) for node in topology.nodes}
    control_planes = {node.host: found[node.host] for node in topology.control_planes}
    election = elect(topology, found=control_planes, able=frozenset(found))
    joined = {
        node.name: RegisteredNode(machine_id="") for node in topology.nodes if found[node.host].has_joined
    }
    answers = ClusterMembersState(etcd=(VOTE,), nodes=joined) if election.healthy else None
    fetched = {field.name for field in dataclasses.fields(DownloadsState)}
    machines, downloads = {}, {}
    for node in topology.nodes:
        its = changes.get(node, {})
        of_machine = {key: value for key, value in its.items() if key not in fetched}
        of_downloads = {key: value for key, value in its.items() if key in fetched}
        machines[node.host] = dataclasses.replace(machine(node), **of_machine)
        downloads[node.host] = DownloadsState(**of_downloads)
    return preflight_findings(
        topology,
        options=ClusterOptions(**options),
        machines=machines,
        found=found,
        downloads=downloads,
        control_planes=control_planes,
        election=election,
        members=members or (answers if election.exists else ClusterMembersState()),
        settings=settings,
    )


CLUSTER = {CP: CONTROL_PLANE, W1: MEMBER, W2: MEMBER}


def route(network: str, device: str = "wg0", protocol: str = "") -> tuple[Route, ...]:
    return (Route(network=ipaddress.IPv4Network(network), device=device, protocol=protocol),)


def seconds(value: float) -> Clock:
    return Clock(least=value - 0.5, most=value + 0.5)
