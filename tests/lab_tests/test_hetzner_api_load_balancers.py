"""The double's load balancers: targets follow the servers, and addresses are deleted with them."""

from typing import Any

from hcloud.load_balancer_types import LoadBalancerType
from hcloud.load_balancers import (
    LoadBalancerHealthCheck,
    LoadBalancerService,
    LoadBalancerTarget,
    LoadBalancerTargetLabelSelector,
)
from hcloud.locations import Location

from tests.support.hetzner_double import Recorder, api, backend, client, make_network, make_server, refusal

__all__ = ["api", "backend", "client"]


def make_balancer(client: Any, network: Any) -> Any:
    check = LoadBalancerHealthCheck(protocol="tcp", port=6443, interval=5, timeout=3, retries=2)
    service = LoadBalancerService(
        protocol="tcp", listen_port=6443, destination_port=6443, health_check=check, proxyprotocol=False
    )
    target = LoadBalancerTarget(
        type="label_selector",
        use_private_ip=True,
        label_selector=LoadBalancerTargetLabelSelector("role=control-plane"),
    )
    answer = client.load_balancers.create(
        name="balancer",
        load_balancer_type=LoadBalancerType(name="lb11"),
        location=Location(name="fsn1"),
        network=network,
        services=[service],
        targets=[target],
    )
    answer.action.wait_until_finished()
    return answer.load_balancer


def test_label_selector_of_a_load_balancer_follows_the_servers(client: Any, backend: Recorder) -> None:
    network = make_network(client)
    balancer = make_balancer(client, network)
    assert backend.targets.get(balancer.id, []) == []
    one = make_server(client, "one", networks=[network], labels={"role": "control-plane"})
    two = make_server(client, "two", networks=[network], labels={"role": "control-plane"})
    make_server(client, "worker", networks=[network], labels={"role": "worker"})
    make_server(client, "elsewhere", labels={"role": "control-plane"})
    addresses = [server.private_net_for(network).ip for server in (one, two)]
    assert backend.targets[balancer.id] == addresses
    backend.sick.add(addresses[0])
    balancer.reload()
    statuses = [target.health_status[0].status for target in balancer.targets[0].targets]
    assert statuses == ["unhealthy", "healthy"]
    one.delete().wait_until_finished()
    assert backend.targets[balancer.id] == addresses[1:]


def test_private_target_needs_a_network(client: Any) -> None:
    answer = client.load_balancers.create(
        name="balancer", load_balancer_type=LoadBalancerType(name="lb11"), location=Location(name="fsn1")
    )
    answer.action.wait_until_finished()
    target = LoadBalancerTarget(
        type="label_selector",
        use_private_ip=True,
        label_selector=LoadBalancerTargetLabelSelector("a"),
    )
    error = refusal(lambda: answer.load_balancer.add_target(target))
    assert error.code == "load_balancer_not_attached_to_network"


def test_load_balancer_is_deleted_with_its_addresses(client: Any) -> None:
    balancer = make_balancer(client, make_network(client))
    assert len(client.primary_ips.get_all()) == 2
    balancer.delete().action.wait_until_finished()
    assert client.load_balancers.get_all() == client.primary_ips.get_all() == []
