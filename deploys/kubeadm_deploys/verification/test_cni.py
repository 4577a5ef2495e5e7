"""Calico runs on every node and assigns pod addresses as configured."""

import ipaddress
import json
from typing import Any

import pytest

from kubeadm_deploys.verification.cluster import Cluster, condition, node_address, unready_pods
from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.options import Selection
from kubeadm_deploys.verification.remote import Answers, Survey
from kubeadm_deploys.verification.traffic import CLIENT, Traffic
from kubeadm_deploys.verification.waiting import READY_TIMEOUT, eventually

COMMANDS = {
    "configurations": "ls /etc/cni/net.d",
    "first configuration": (
        "cat /etc/cni/net.d/$(ls /etc/cni/net.d | grep --extended-regexp '\\.(conf|conflist|json)$' | head -n 1)"
    ),
    "kubeconfig mode": "stat --format='%a %U' /etc/cni/net.d/calico-kubeconfig",
    "programs": "test -x /opt/cni/bin/calico && test -x /opt/cni/bin/calico-ipam",
}

INTERFACES = {"interfaces": "ip -json address show"}

OVERHEADS = {"VXLAN": 50, "IPIP": 20, "None": 0}
"""Bytes that each encapsulation adds to an IPv4 packet."""


@pytest.fixture(scope="session")
def pools(cluster: Cluster) -> list[Any]:
    """Calico's address pools for pods."""
    items = cluster.items("ippools.crd.projectcalico.org")
    return [pool["spec"] for pool in items if "Workload" in pool["spec"].get("allowedUses", ["Workload"])]


@pytest.fixture(scope="session")
def encapsulation(pools: list[Any]) -> str:
    """The encapsulation of pod traffic between nodes, as the inventory's data spells it."""
    modes = {"VXLAN": pools[0].get("vxlanMode", "Never"), "IPIP": pools[0].get("ipipMode", "Never")}
    return next((name for name, mode in modes.items() if mode != "Never"), "None")


def test_calico_is_ready_on_the_node(cluster: Cluster, machine: Machine) -> None:
    on_node = f"--field-selector=spec.nodeName={machine.node_name}"
    eventually(
        lambda: cluster.items("pods", "--namespace=kube-system", "--selector=k8s-app=calico-node", on_node),
        problem=lambda pods: "; ".join(unready_pods(pods)) if pods else "no calico-node pod exists",
        timeout=READY_TIMEOUT,
    )


def test_calico_controllers_are_available(cluster: Cluster) -> None:
    eventually(
        lambda: cluster.get("deployment", "calico-kube-controllers", "--namespace=kube-system"),
        problem=lambda found: "" if condition(found, "Available") == "True" else str(found["status"]),
        timeout=READY_TIMEOUT,
    )


def test_containerd_calls_calico(answers: Answers) -> None:
    """containerd uses the first file in name order."""
    plugins = json.loads(answers["first configuration"].text)["plugins"]
    assert plugins[0]["type"] == "calico", answers["configurations"].text
    assert plugins[0]["ipam"]["type"] == "calico-ipam"


def test_calico_programs_are_installed(answers: Answers) -> None:
    assert answers["programs"].status == 0


def test_calico_credentials_are_only_for_root(answers: Answers) -> None:
    assert answers["kubeconfig mode"].text == "600 root"


def test_calico_uses_the_address_of_the_node(node: Any) -> None:
    """By default Calico uses the address of the first interface, which in a cloud is the public one."""
    address = node["metadata"]["annotations"]["projectcalico.org/IPv4Address"]
    assert address.partition("/")[0] == node_address(node)


def test_pool_is_the_pod_subnet(pools: list[Any], kubeadm_configuration: Any) -> None:
    assert [pool["cidr"] for pool in pools] == [kubeadm_configuration["networking"]["podSubnet"]]


def test_pods_leave_the_cluster_with_the_address_of_their_node(pools: list[Any]) -> None:
    assert all(pool["natOutgoing"] for pool in pools)


def test_encapsulation_is_the_configured_one(encapsulation: str, machine: Machine) -> None:
    if "encapsulation" not in machine.data:
        pytest.skip("encapsulation is not set in the inventory")
    assert encapsulation == machine.data["encapsulation"]


def test_pod_has_an_address_in_the_pod_subnet(
    traffic: Traffic, node: Any, kubeadm_configuration: Any, machine: Machine
) -> None:
    subnet = ipaddress.ip_network(kubeadm_configuration["networking"]["podSubnet"])
    assert ipaddress.ip_address(traffic.pod(CLIENT, machine.node_name).ip) in subnet


def test_pod_interfaces_leave_room_for_the_encapsulation(
    traffic: Traffic,
    node: Any,
    nodes: dict[str, Any],
    encapsulation: str,
    machine: Machine,
    selection: Selection,
    survey: Survey,
) -> None:
    """Larger packets would be dropped or fragmented; much smaller ones waste bandwidth."""
    # A pod interface exists only once the node has a pod.
    traffic.pod(CLIENT, machine.node_name)
    own = survey(machine, INTERFACES)
    pod_mtus = {interface["mtu"] for interface in _interfaces(own) if interface["ifname"].startswith("cali")}
    # The smallest interface counts; those of nodes that are not part of this run are not known.
    known = [
        _node_mtu(survey(other, INTERFACES), nodes[other.node_name])
        for other in selection.limited
        if other.node_name in nodes
    ]
    room = min(known) - OVERHEADS[encapsulation]
    (mtu,) = pod_mtus
    if wanted := machine.data.get("pod_mtu"):
        assert mtu == wanted
    elif len(known) == len(nodes):
        assert mtu == room
    assert mtu <= _node_mtu(own, node) - OVERHEADS[encapsulation]


def _interfaces(answers: Answers) -> list[Any]:
    found: list[Any] = json.loads(answers["interfaces"].text)
    return found


def _node_mtu(answers: Answers, node: Any) -> int:
    """Return the MTU of the interface with the node's address."""
    return next(
        int(interface["mtu"])
        for interface in _interfaces(answers)
        if node_address(node) in [address.get("local") for address in interface["addr_info"]]
    )
