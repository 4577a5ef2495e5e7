"""Calico runs on every node and gives pods their addresses, in the way that is wanted."""

import ipaddress
import json
from typing import Any

import pytest

from kubeadm_deploys.verification.cluster import Cluster, condition, node_address, unready_pods
from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.remote import Answers, ask
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

OVERHEADS = {"VXLAN": 50, "IPIP": 20, "None": 0}
"""Bytes that each encapsulation adds to a packet over IPv4."""


@pytest.fixture(scope="session")
def pools(cluster: Cluster) -> list[Any]:
    """Calico's address pools for pods."""
    items = cluster.items("ippools.crd.projectcalico.org")
    return [pool["spec"] for pool in items if "Workload" in pool["spec"].get("allowedUses", ["Workload"])]


@pytest.fixture(scope="session")
def encapsulation(pools: list[Any]) -> str:
    """What carries pod traffic between nodes, in the word of the inventory's data."""
    modes = {"VXLAN": pools[0].get("vxlanMode", "Never"), "IPIP": pools[0].get("ipipMode", "Never")}
    return next((name for name, mode in modes.items() if mode != "Never"), "None")


def test_calico_is_ready_on_the_node(cluster: Cluster, machine: Machine) -> None:
    here = f"--field-selector=spec.nodeName={machine.node_name}"
    eventually(
        lambda: cluster.items("pods", "--namespace=kube-system", "--selector=k8s-app=calico-node", here),
        problem=lambda pods: "; ".join(unready_pods(pods)) if pods else "there is no calico-node pod",
        timeout=READY_TIMEOUT,
    )


def test_calico_controllers_are_available(cluster: Cluster) -> None:
    eventually(
        lambda: cluster.get("deployment", "calico-kube-controllers", "--namespace=kube-system"),
        problem=lambda found: "" if condition(found, "Available") == "True" else str(found["status"]),
        timeout=READY_TIMEOUT,
    )


def test_containerd_calls_calico(answers: Answers) -> None:
    """containerd takes the first file by name."""
    plugins = json.loads(answers["first configuration"].text)["plugins"]
    assert plugins[0]["type"] == "calico", answers["configurations"].text
    assert plugins[0]["ipam"]["type"] == "calico-ipam"


def test_calico_programs_are_installed(answers: Answers) -> None:
    assert answers["programs"].status == 0


def test_calico_credentials_are_only_for_root(answers: Answers) -> None:
    assert answers["kubeconfig mode"].text == "600 root"


def test_calico_uses_the_address_of_the_node(node: Any) -> None:
    """What it finds by itself is the first interface's, which on a cloud is the public one."""
    address = node["metadata"]["annotations"]["projectcalico.org/IPv4Address"]
    assert address.partition("/")[0] == node_address(node)


def test_pool_is_the_pod_subnet(pools: list[Any], kubeadm_configuration: Any) -> None:
    assert [pool["cidr"] for pool in pools] == [kubeadm_configuration["networking"]["podSubnet"]]


def test_pods_leave_the_cluster_by_the_address_of_their_node(pools: list[Any]) -> None:
    assert all(pool["natOutgoing"] for pool in pools)


def test_encapsulation_is_the_wanted_one(encapsulation: str, machine: Machine) -> None:
    if "encapsulation" not in machine.data:
        pytest.skip("the inventory's data name no encapsulation")
    assert encapsulation == machine.data["encapsulation"]


def test_pod_has_an_address_of_the_subnet(
    traffic: Traffic, node: Any, kubeadm_configuration: Any, machine: Machine
) -> None:
    subnet = ipaddress.ip_network(kubeadm_configuration["networking"]["podSubnet"])
    assert ipaddress.ip_address(traffic.pod(CLIENT, machine.node_name).ip) in subnet


def test_pod_interfaces_leave_room_for_the_encapsulation(
    traffic: Traffic, node: Any, encapsulation: str, machine: Machine
) -> None:
    """Bigger packets would be lost or cut on the way; much smaller ones waste the link."""
    # Before there is a pod on the node, there may be no interface of one.
    traffic.pod(CLIENT, machine.node_name)
    interfaces = json.loads(ask(machine, {"interfaces": "ip -json address show"})["interfaces"].text)
    own = [
        interface["mtu"]
        for interface in interfaces
        if node_address(node) in [address.get("local") for address in interface["addr_info"]]
    ]
    pods = {interface["mtu"] for interface in interfaces if interface["ifname"].startswith("cali")}
    wanted = machine.data.get("pod_mtu") or own[0] - OVERHEADS[encapsulation]
    assert pods == {wanted}
    assert wanted <= own[0] - OVERHEADS[encapsulation]
