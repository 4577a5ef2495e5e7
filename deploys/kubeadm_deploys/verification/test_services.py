"""Services answer by ClusterIP, NodePort and name, and only as long as they exist."""

import socket
from typing import Any

import pytest

from kubeadm_deploys.verification.cluster import in_parallel, node_address
from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.probes import refusal, responses
from kubeadm_deploys.verification.traffic import (
    CLIENT,
    HOST_NETWORK,
    SERVER,
    SERVICE_PORT,
    SERVICE_UDP_PORT,
    Traffic,
    service,
)
from kubeadm_deploys.verification.waiting import SETTLING_TIME, eventually

SPREAD = 25
"""Connections to a Service: with two servers, all reach the same one in 1 of 17 million runs."""

UNUSED_PORT = 4242

KUBELET_PORT = 10250


@pytest.mark.parametrize("role", [CLIENT, HOST_NETWORK])
def test_cluster_ip_reaches_servers_on_several_nodes(traffic: Traffic, machine: Machine, role: str) -> None:
    source = traffic.pod(role, machine.node_name)
    answered = responses(
        traffic.cluster, source, host=traffic.service_ip, port=SERVICE_PORT, request="hostname", tries=SPREAD
    )
    servers = {traffic.pod(SERVER, node).name for node in traffic.nodes}
    assert set(answered) <= servers
    assert len(set(answered)) >= min(2, len(servers))


def test_cluster_ip_works_for_udp(traffic: Traffic, machine: Machine) -> None:
    answered = responses(
        traffic.cluster,
        traffic.pod(CLIENT, machine.node_name),
        host=traffic.service_ip,
        port=SERVICE_UDP_PORT,
        request="hostname",
        protocol="udp",
    )
    assert set(answered) <= {traffic.pod(SERVER, node).name for node in traffic.nodes}


@pytest.mark.parametrize("role", [CLIENT, HOST_NETWORK])
def test_node_port_of_this_node_answers_another_node(
    traffic: Traffic, machine: Machine, node: Any, role: str
) -> None:
    source = traffic.pod(role, traffic.neighbour(machine.node_name))
    answered = responses(
        traffic.cluster, source, host=node_address(node), port=traffic.node_port, request="hostname"
    )
    assert set(answered) <= {traffic.pod(SERVER, name).name for name in traffic.nodes}


def test_node_port_of_this_node_answers_this_machine(traffic: Traffic, node: Any) -> None:
    address = node_address(node)
    if _cannot_connect(address, KUBELET_PORT):
        pytest.skip(f"this machine cannot reach {address}; its NodePort is only tested from nodes")
    eventually(
        lambda: _cannot_connect(address, traffic.node_port),
        problem=lambda reason: reason and f"{address}:{traffic.node_port}: {reason}",
    )


def test_headless_service_resolves_to_every_pod(traffic: Traffic, machine: Machine) -> None:
    source = traffic.pod(CLIENT, machine.node_name)
    servers = [traffic.pod(SERVER, node) for node in traffic.nodes]
    answered = in_parallel(
        lambda server: responses(
            traffic.cluster, source, host=f"{server.name}.peers", port=server.http_port, request="hostname"
        ),
        servers,
    )
    assert [set(answer) for answer in answered] == [{server.name} for server in servers]


def test_port_without_a_service_is_closed(traffic: Traffic, machine: Machine) -> None:
    source = traffic.pod(CLIENT, machine.node_name)
    target = f"{traffic.service_ip}:{UNUSED_PORT}"
    assert refusal(traffic.cluster, source, target=target), (
        f"{target} accepts connections, but no Service has this port"
    )


def test_removed_service_is_closed_on_every_node(traffic: Traffic) -> None:
    in_namespace = f"--namespace={traffic.namespace}"
    traffic.cluster.create([service(traffic.namespace, name="removed")])
    address = traffic.cluster.get("service", "removed", in_namespace)["spec"]["clusterIP"]
    sources = [traffic.pod(CLIENT, node) for node in traffic.nodes]
    for source in sources:
        responses(
            traffic.cluster,
            source,
            host=address,
            port=SERVICE_PORT,
            request="hostname",
            timeout=SETTLING_TIME,
        )
    _ = traffic.cluster.kubectl("delete", "service", "removed", in_namespace).text
    eventually(
        lambda: in_parallel(
            lambda source: refusal(traffic.cluster, source, target=f"{address}:{SERVICE_PORT}"), sources
        ),
        problem=lambda refusals: (
            "" if all(refusals) else f"{address} still answers on {refusals.count('')} nodes"
        ),
    )


def _cannot_connect(address: str, port: int) -> str:
    try:
        socket.create_connection((address, port), timeout=3).close()
    except OSError as error:
        return str(error)
    return ""
