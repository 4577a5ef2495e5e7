"""Pods on different nodes reach each other by IP address, without NAT and with packets of any size."""

import time

import pytest

from kubeadm_deploys.verification.cluster import in_parallel
from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.probes import Pod, dial, responses
from kubeadm_deploys.verification.remote import ask
from kubeadm_deploys.verification.traffic import CLIENT, HOST_NETWORK, SERVER, Traffic

PROTOCOLS = ("http", "udp")

LARGE = {"http": 60_000, "udp": 1900}
"""Bytes of a large message: above any MTU, within what agnhost reads (2048 bytes per datagram)."""

MEGABYTE = 17
"""Large messages over HTTP in a megabyte."""

SLOWEST = 10.0
"""Seconds for a megabyte each way, with the way through the API server; healthy networks need less than one."""

HEADERS = 20 + 8
"""Bytes of the IPv4 and UDP headers."""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pods_of_other_nodes_see_the_real_address(traffic: Traffic, machine: Machine, protocol: str) -> None:
    source = traffic.pod(CLIENT, machine.node_name)
    targets = [traffic.pod(SERVER, node) for node in traffic.others(machine.node_name)]
    seen = in_parallel(lambda target: _ask(traffic, source, target, "clientip", protocol), targets)
    assert {_address(response) for answer in seen for response in answer} == {source.ip}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pods_of_the_same_node_see_the_real_address(
    traffic: Traffic, machine: Machine, protocol: str
) -> None:
    source, target = (traffic.pod(role, machine.node_name) for role in (CLIENT, SERVER))
    seen = _ask(traffic, source, target, "clientip", protocol)
    assert {_address(response) for response in seen} == {source.ip}


def test_node_reaches_the_pods_of_every_node(traffic: Traffic, machine: Machine) -> None:
    source = traffic.pod(HOST_NETWORK, machine.node_name)
    targets = [traffic.pod(SERVER, node) for node in traffic.nodes]
    seen = in_parallel(lambda target: _ask(traffic, source, target, "hostname", "http"), targets)
    assert [set(answer) for answer in seen] == [{target.name} for target in targets]


def test_pod_reaches_every_node(traffic: Traffic, machine: Machine) -> None:
    source = traffic.pod(CLIENT, machine.node_name)
    targets = [traffic.pod(HOST_NETWORK, node) for node in traffic.nodes]
    seen = in_parallel(lambda target: _ask(traffic, source, target, "hostname", "http"), targets)
    # A host network pod has the node's host name, which may differ from the Node object's.
    assert len({response for answer in seen for response in answer}) == len(targets)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_large_messages_arrive_both_ways(traffic: Traffic, machine: Machine, protocol: str) -> None:
    """A path that drops full-size packets may still pass small ones."""
    source = traffic.pod(CLIENT, machine.node_name)
    targets = [traffic.pod(SERVER, node) for node in traffic.others(machine.node_name)]
    message = "m" * LARGE[protocol]
    request = f"echo?msg={message}" if protocol == "http" else f"echo {message}"
    seen = in_parallel(lambda target: _ask(traffic, source, target, request, protocol), targets)
    assert all(response == message for answer in seen for response in answer)


def test_packets_of_the_full_size_arrive_in_one_piece(traffic: Traffic, machine: Machine) -> None:
    """Packets of exactly the pod's MTU are sent with "don't fragment", like all TCP packets."""
    source = traffic.pod(CLIENT, machine.node_name)
    targets = [traffic.pod(SERVER, node) for node in traffic.others(machine.node_name)]
    mtu = int(ask(machine, {"mtu": "cat /sys/class/net/cali*/mtu | sort --unique"})["mtu"].text)
    command = "echo "
    message = "m" * (min(mtu - HEADERS, LARGE["udp"]) - len(command))
    seen = in_parallel(lambda target: _ask(traffic, source, target, command + message, "udp"), targets)
    assert all(response == message for answer in seen for response in answer)


def test_a_megabyte_arrives_in_time(traffic: Traffic, machine: Machine) -> None:
    """With wrong checksums, TCP sends again and again: messages arrive, but slowly."""
    source = traffic.pod(CLIENT, machine.node_name)
    target = traffic.pod(SERVER, traffic.neighbour(machine.node_name))
    message = "m" * LARGE["http"]
    begun = time.monotonic()
    dialled = dial(
        traffic.cluster,
        source,
        host=target.ip,
        port=target.http_port,
        request=f"echo?msg={message}",
        tries=MEGABYTE,
    )
    took = time.monotonic() - begun
    assert list(dialled.responses) == [message] * MEGABYTE, dialled.errors
    assert took < SLOWEST


def _ask(traffic: Traffic, source: Pod, target: Pod, request: str, protocol: str) -> list[str]:
    port = target.http_port if protocol == "http" else target.udp_port
    return responses(traffic.cluster, source, host=target.ip, port=port, request=request, protocol=protocol)


def _address(client: str) -> str:
    return client.rpartition(":")[0]
