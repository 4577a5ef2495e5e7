"""Where each node finds the API."""

import base64

import pytest

from kubeadm_deploys.api_endpoint import address_for
from kubeadm_deploys.facts.api_endpoint import HOSTS_FILE, HOSTS_TEMPLATE, ApiEndpoint, ApiEndpointState
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.options import ClusterOptions


def node(name: str, ip: str) -> Node:
    return Node(host=name, name=name, ip=ip, address=ip)


FIRST, SECOND, WORKER = (
    node(name, ip) for name, ip in (("a", "10.0.0.2"), ("b", "10.0.0.3"), ("c", "10.0.0.4"))
)
TOPOLOGY = Topology(control_planes=(FIRST, SECOND), workers=(WORKER,))


@pytest.mark.parametrize(
    ("load_balancer", "joining", "address"),
    [
        ("", FIRST, "10.0.0.2"),
        ("", SECOND, "10.0.0.2"),
        ("", WORKER, "10.0.0.2"),
        ("10.0.0.254", FIRST, "10.0.0.2"),
        ("10.0.0.254", SECOND, "10.0.0.2"),
        ("10.0.0.254", WORKER, "10.0.0.254"),
    ],
)
def test_only_workers_go_through_a_load_balancer(load_balancer: str, joining: Node, address: str) -> None:
    options = ClusterOptions(load_balancer_address=load_balancer)
    assert address_for(options=options, topology=TOPOLOGY, node=joining) == address


def test_the_fact_reads_both_hosts_files() -> None:
    encoded = base64.b64encode(b"127.0.0.1 localhost\n").decode()
    output = [f"hosts:{HOSTS_FILE} {encoded}", f"hosts:{HOSTS_TEMPLATE} {encoded}", "joined", "serves"]
    assert ApiEndpoint().process(output) == ApiEndpointState(
        hosts_files={HOSTS_FILE: "127.0.0.1 localhost\n", HOSTS_TEMPLATE: "127.0.0.1 localhost\n"},
        joined=True,
        serves_api=True,
    )


def test_a_bare_machine_serves_nothing() -> None:
    state = ApiEndpoint().process([f"hosts:{HOSTS_FILE} "])
    assert state == ApiEndpointState(hosts_files={HOSTS_FILE: ""})
