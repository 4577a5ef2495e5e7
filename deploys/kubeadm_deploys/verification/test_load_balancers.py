"""Services of type LoadBalancer have an address each, which answers as long as they exist.

The addresses are of the cluster's own range or those of its cloud's load balancers, whichever the inventory
says that it has.
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
from kubeadm_deploys.verification.traffic import (
    CLIENT,
    HOST_NETWORK,
    SERVER,
    SERVICE_PORT,
    Traffic,
    service,
)
from kubeadm_deploys.verification.waiting import SETTLING_TIME, eventually, watch

KEPT, REMOVED = "balanced-1", "balanced-2"

SPREAD = 25
"""Connections to a Service: with two servers all of them fall on one in 1 of 17 million runs."""

# A cloud has to make a machine of its own for a Service, and to find the nodes healthy.
_CLOUD_TIMEOUT = 300.0
_CONNECT_TIMEOUT = 3.0


@dataclass(frozen=True, kw_only=True)
class LoadBalancers:
    """The addresses of Services by name, and the range that they are of, empty when a cloud gives them."""

    addresses: Mapping[str, str]
    range: str


@pytest.fixture(scope="module")
def own_range(selection: Selection) -> str:
    """The cluster's own range; empty when a cloud gives Services their addresses."""
    data = selection.nodes[0].data
    if not data.get("load_balancer_range") and data.get("cloud_provider", "none") == "none":
        pytest.skip(
            "nobody gives Services addresses: the inventory has neither load_balancer_range nor cloud_provider"
        )
    return str(data.get("load_balancer_range", ""))


@pytest.fixture(scope="module")
def balanced(own_range: str, traffic: Traffic) -> LoadBalancers:
    """Two Services with addresses."""
    names = (KEPT, REMOVED)
    traffic.cluster.create([load_balancer(traffic.namespace, name=name) for name in names])
    addresses = {name: await_address(traffic, name, timeout=patience(own_range)) for name in names}
    return LoadBalancers(addresses=addresses, range=own_range)


def patience(own_range: str) -> float:
    """Seconds that a Service has to get its address, or to lose it."""
    return SETTLING_TIME if own_range else _CLOUD_TIMEOUT


def load_balancer(namespace: str, *, name: str, **annotations: str) -> dict[str, Any]:
    """A Service of type LoadBalancer; without UDP, which some clouds' load balancers do not carry."""
    made = service(namespace, name=name, type="LoadBalancer")
    made["metadata"]["annotations"] = annotations
    made["spec"]["ports"] = [port for port in made["spec"]["ports"] if port["protocol"] == "TCP"]
    return made


def await_address(traffic: Traffic, name: str, *, timeout: float) -> str:
    """Wait for a Service's first address; of several the first is the one for the world."""

    def problem(address: str) -> str:
        return "" if address else f"Service {name} has no address: {last_event(traffic, name)}"

    return eventually(lambda: address_of(traffic, name), problem=problem, timeout=timeout)


def address_of(traffic: Traffic, name: str) -> str:
    """Read a Service's first address."""
    status = traffic.cluster.get("service", name, f"--namespace={traffic.namespace}")["status"]
    return next((str(each["ip"]) for each in status["loadBalancer"].get("ingress", []) if "ip" in each), "")


def last_event(traffic: Traffic, name: str) -> str:
    """Read what a controller said last of a Service."""
    of_service = f"--field-selector=involvedObject.kind=Service,involvedObject.name={name}"
    in_order = "--sort-by=.lastTimestamp"
    events = traffic.cluster.items("events", f"--namespace={traffic.namespace}", of_service, in_order)
    return str(events[-1]["message"]) if events else "no controller said why"


def test_every_service_has_an_address_of_its_own(balanced: LoadBalancers) -> None:
    addresses = set(balanced.addresses.values())
    assert len(addresses) == len(balanced.addresses)
    if balanced.range:
        network = ipaddress.ip_network(balanced.range)
        assert [each for each in addresses if ipaddress.ip_address(each) not in network] == []


@pytest.mark.parametrize("role", [CLIENT, HOST_NETWORK])
def test_address_answers_on_this_node(
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


def test_address_leads_the_operator_to_servers_of_several_nodes(
    traffic: Traffic, balanced: LoadBalancers
) -> None:
    address = balanced.addresses[KEPT]
    reason = watch(
        lambda: unreached(traffic, address),
        until=lambda reason: not reason,
        # Nodes answer for a range at once, so that nothing but the way to them can be missing.
        timeout=_CONNECT_TIMEOUT if balanced.range else _CLOUD_TIMEOUT,
    )
    if reason and balanced.range:
        pytest.skip(
            f"NOT CHECKED: {address}: {reason}; route {balanced.range} to a node to test it from outside the cluster"
        )
    assert not reason, f"{address}: {reason}"
    servers = server_names(traffic)
    answered = {ask_hostname(address) for _ in range(SPREAD)}
    assert answered <= servers
    assert len(answered) >= min(2, len(servers))


def test_removed_service_gives_its_address_back(traffic: Traffic, balanced: LoadBalancers) -> None:
    in_namespace = f"--namespace={traffic.namespace}"
    address = balanced.addresses[REMOVED]
    _ = traffic.cluster.kubectl("delete", "service", REMOVED, in_namespace, "--wait=false").text
    eventually(
        lambda: (
            traffic.cluster.kubectl(
                "get", "service", REMOVED, in_namespace, "--ignore-not-found", "--output=name"
            ).text
        ),
        problem=lambda left: left and f"{left} is still there: {last_event(traffic, REMOVED)}",
        timeout=patience(balanced.range),
    )
    if balanced.range:
        # A cloud may have given the address to somebody else by now, who is not to be bothered.
        assert_closed(traffic, address)
        again = {"projectcalico.org/loadBalancerIPs": json.dumps([address])}
        traffic.cluster.create([load_balancer(traffic.namespace, name="balanced-again", **again)])
        assert await_address(traffic, "balanced-again", timeout=patience(balanced.range)) == address


def assert_closed(traffic: Traffic, address: str) -> None:
    """Check that an address answers neither any node nor the operator."""
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
    """The names of the pods behind the Services."""
    return {traffic.pod(SERVER, node).name for node in traffic.nodes}


def unreached(traffic: Traffic, address: str) -> str:
    """Say why this machine, which is no node, does not reach the servers behind an address; empty when it does."""
    try:
        answer = ask_hostname(address)
    except (OSError, HTTPException) as error:
        return str(error)
    # Some networks answer in the place of every address that is not there.
    return "" if answer in server_names(traffic) else "something else answers"


def ask_hostname(address: str) -> str:
    """Ask, from this machine, the pod behind an address for its name."""
    with closing(HTTPConnection(address, SERVICE_PORT, timeout=_CONNECT_TIMEOUT)) as connection:
        connection.request("GET", "/hostname")
        return connection.getresponse().read().decode()
