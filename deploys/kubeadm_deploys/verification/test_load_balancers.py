"""Every Service of type LoadBalancer has its own address, which answers as long as the Service exists.

Addresses come from ``service_load_balancer_cidr`` or from the cloud's load balancers, as the inventory says.
"""

import ipaddress
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

import pytest

from kubeadm_deploys.verification.cluster import in_parallel
from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.options import Selection
from kubeadm_deploys.verification.probes import refusal, responses
from kubeadm_deploys.verification.traffic import CLIENT, HOST_NETWORK, SERVER, SERVICE_PORT, Traffic, service
from kubeadm_deploys.verification.waiting import SETTLING_TIME, eventually, watch

KEPT, REMOVED = "balanced-1", "balanced-2"

SPREAD = 25
"""Connections to a Service: with two servers, all reach the same one in 1 of 17 million runs."""

# A cloud creates a load balancer for the Service and waits until its health checks pass.
_CLOUD_TIMEOUT = 300.0
_CONNECT_TIMEOUT = 3.0


@dataclass(frozen=True, kw_only=True)
class LoadBalancers:
    """Service addresses by name, and the range they come from, empty if a cloud assigns them."""

    addresses: Mapping[str, str]
    range: str


@pytest.fixture(scope="module")
def own_range(selection: Selection) -> str:
    """``service_load_balancer_cidr``; empty if a cloud assigns the addresses."""
    data = selection.nodes[0].data
    if not data.get("service_load_balancer_cidr") and data.get("cloud_provider", "none") == "none":
        pytest.skip("Services get no addresses: neither service_load_balancer_cidr nor cloud_provider is set")
    return str(data.get("service_load_balancer_cidr", ""))


@pytest.fixture(scope="module")
def balanced(own_range: str, traffic: Traffic) -> LoadBalancers:
    """Two Services with addresses."""
    names = (KEPT, REMOVED)
    traffic.cluster.create([load_balancer(traffic.namespace, name=name) for name in names])
    addresses = {name: await_address(traffic, name, timeout=assignment_timeout(own_range)) for name in names}
    return LoadBalancers(addresses=addresses, range=own_range)


def assignment_timeout(own_range: str) -> float:
    """Return the seconds in which a Service must get or release its address."""
    return SETTLING_TIME if own_range else _CLOUD_TIMEOUT


def load_balancer(namespace: str, *, name: str, **annotations: str) -> dict[str, Any]:
    """Return a Service of type LoadBalancer; without UDP, which some clouds do not support."""
    made = service(namespace, name=name, type="LoadBalancer")
    made["metadata"]["annotations"] = annotations
    made["spec"]["ports"] = [port for port in made["spec"]["ports"] if port["protocol"] == "TCP"]
    return made


def await_address(traffic: Traffic, name: str, *, timeout: float) -> str:
    """Wait for a Service's first address; if there are several, the first is the public one."""

    def problem(address: str) -> str:
        return "" if address else f"Service {name} has no address: {last_event(traffic, name)}"

    return eventually(lambda: address_of(traffic, name), problem=problem, timeout=timeout)


def address_of(traffic: Traffic, name: str) -> str:
    """Return a Service's first address, or an empty string."""
    status = traffic.cluster.get("service", name, f"--namespace={traffic.namespace}")["status"]
    ingress = status["loadBalancer"].get("ingress", [])
    return next((str(entry["ip"]) for entry in ingress if "ip" in entry), "")


def last_event(traffic: Traffic, name: str) -> str:
    """Return the message of a Service's last event."""
    of_service = f"--field-selector=involvedObject.kind=Service,involvedObject.name={name}"
    in_order = "--sort-by=.lastTimestamp"
    events = traffic.cluster.items("events", f"--namespace={traffic.namespace}", of_service, in_order)
    return str(events[-1]["message"]) if events else "it has no events"


def test_every_service_has_an_address_of_its_own(balanced: LoadBalancers) -> None:
    addresses = set(balanced.addresses.values())
    assert len(addresses) == len(balanced.addresses)
    if balanced.range:
        network = ipaddress.ip_network(balanced.range)
        assert [address for address in addresses if ipaddress.ip_address(address) not in network] == []


@pytest.mark.parametrize("role", [CLIENT, HOST_NETWORK])
def test_address_answers_pods_on_this_node(
    traffic: Traffic, balanced: LoadBalancers, machine: Machine, role: str
) -> None:
    answered = responses(
        traffic.cluster,
        traffic.pod(role, machine.node_name),
        host=balanced.addresses[KEPT],
        port=SERVICE_PORT,
        request="hostname",
    )
    assert set(answered) <= server_names(traffic)


def test_address_reaches_servers_on_several_nodes_from_this_machine(
    traffic: Traffic, balanced: LoadBalancers
) -> None:
    address = balanced.addresses[KEPT]
    reason = watch(
        lambda: unreached(traffic, address),
        until=lambda reason: not reason,
        # Nodes answer for their own range at once: if they do not, a route to them is missing.
        timeout=_CONNECT_TIMEOUT if balanced.range else _CLOUD_TIMEOUT,
    )
    if reason and balanced.range:
        pytest.skip(f"NOT CHECKED: {address}: {reason}; route {balanced.range} to a node to test from here")
    assert not reason, f"{address}: {reason}"
    servers = server_names(traffic)
    answered = {ask_hostname(address) for _ in range(SPREAD)}
    assert answered <= servers
    assert len(answered) >= min(2, len(servers))


def test_removed_service_releases_its_address(traffic: Traffic, balanced: LoadBalancers) -> None:
    in_namespace = f"--namespace={traffic.namespace}"
    address = balanced.addresses[REMOVED]
    _ = traffic.cluster.kubectl("delete", "service", REMOVED, in_namespace, "--wait=false").text
    eventually(
        lambda: (
            traffic.cluster.kubectl(
                "get", "service", REMOVED, in_namespace, "--ignore-not-found", "--output=name"
            ).text
        ),
        problem=lambda left: left and f"{left} still exists: {last_event(traffic, REMOVED)}",
        timeout=assignment_timeout(balanced.range),
    )
    if balanced.range:
        # A cloud may already have assigned the address to another customer, so do not connect to it.
        assert_closed(traffic, address)
        again = {"projectcalico.org/loadBalancerIPs": json.dumps([address])}
        traffic.cluster.create([load_balancer(traffic.namespace, name="balanced-again", **again)])
        assert await_address(traffic, "balanced-again", timeout=assignment_timeout(balanced.range)) == address


def assert_closed(traffic: Traffic, address: str) -> None:
    """Check that an address answers neither the nodes nor this machine."""
    sources = [traffic.pod(HOST_NETWORK, node) for node in traffic.nodes]
    eventually(
        lambda: in_parallel(
            lambda source: refusal(traffic.cluster, source, target=f"{address}:{SERVICE_PORT}"), sources
        ),
        problem=lambda refusals: (
            "" if all(refusals) else f"{address} still answers on {refusals.count('')} nodes"
        ),
    )
    eventually(
        lambda: unreached(traffic, address),
        problem=lambda reason: "" if reason else f"{address} still answers this machine",
    )


def server_names(traffic: Traffic) -> set[str]:
    """Return the names of the pods behind the Services."""
    return {traffic.pod(SERVER, node).name for node in traffic.nodes}


def unreached(traffic: Traffic, address: str) -> str:
    """Return why this machine, not a node, cannot reach the servers behind an address; empty if it can."""
    try:
        answer = ask_hostname(address)
    except (OSError, HTTPException) as error:
        return str(error)
    # Some networks answer for every unused address.
    return "" if answer in server_names(traffic) else "another server answers"


def ask_hostname(address: str) -> str:
    """Request, from this machine, the name of the pod behind an address."""
    with closing(HTTPConnection(address, SERVICE_PORT, timeout=_CONNECT_TIMEOUT)) as connection:
        connection.request("GET", "/hostname")
        return connection.getresponse().read().decode()
