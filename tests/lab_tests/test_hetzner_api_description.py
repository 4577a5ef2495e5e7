"""The double matches the API's OpenAPI description in both directions, with the real hcloud client.

The description is not part of the checkout; without it, only these tests are skipped.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from hcloud import APIException, Client
from hcloud.firewalls import FirewallResource, FirewallResourceLabelSelector, FirewallRule
from hcloud.images import Image
from hcloud.load_balancer_types import LoadBalancerType
from hcloud.load_balancers import (
    LoadBalancerAlgorithm,
    LoadBalancerHealthCheck,
    LoadBalancerHealthCheckHttp,
    LoadBalancerService,
    LoadBalancerTarget,
    LoadBalancerTargetIP,
    LoadBalancerTargetLabelSelector,
)
from hcloud.locations import Location
from hcloud.networks import NetworkSubnet
from hcloud.server_types import ServerType
from openapi_core import Config, OpenAPI
from openapi_core.contrib.requests import RequestsOpenAPIRequest, RequestsOpenAPIResponse
from werkzeug.exceptions import HTTPException

from tests.lab.hetzner.app import create_app
from tests.lab.hetzner.server import Api, running
from tests.support.hetzner_double import KEY
from tests.support.hetzner_openapi import DESCRIPTION, Json, todays_description

pytestmark = pytest.mark.skipif(not DESCRIPTION.exists(), reason=f"{DESCRIPTION} does not exist")

Operation = tuple[str, str]


@pytest.fixture
def api() -> Iterator[Api]:
    with running() as api:
        yield api


@pytest.fixture
def description(api: Api) -> Json:
    return todays_description(url=api.url)


@pytest.fixture
def seen() -> set[Operation]:
    """The operations that were called and whose answers match the description."""
    return set()


@pytest.fixture
def client(api: Api, description: Json, seen: set[Operation]) -> Client:
    """The real client, with all requests and answers compared with the description."""
    openapi = OpenAPI.from_dict(description, config=Config(spec_validator_cls=None))
    client = Client(token=api.token, api_endpoint=api.url, poll_interval=0.001)

    def check(response: Any, **_: object) -> None:
        request = RequestsOpenAPIRequest(response.request)
        if response.status_code != 422:
            openapi.validate_request(request)
        openapi.validate_response(request, RequestsOpenAPIResponse(response))
        seen.add((response.request.method, _template(response.request.url.removeprefix(api.url))))

    client._client._session.hooks["response"].append(check)
    return client


def _template(path: str) -> str:
    """Return a path with placeholders for its IDs."""
    return re.sub(r"/\d+", "/{id}", path.partition("?")[0])


def implemented(description: Json) -> set[Operation]:
    """Return the described operations that the double implements."""
    adapter = create_app().url_map.bind("")
    operations = set()
    for path, operation in description["paths"].items():
        for method in ("get", "post", "put", "delete"):
            if method not in operation:
                continue
            template = re.sub(r"{\w+}", "{id}", path)
            try:
                adapter.match("/v1" + template.replace("{id}", "1"), method=method.upper())
            except HTTPException:
                continue
            operations.add((method.upper(), template))
    return operations


def test_every_endpoint_answers_as_described(client: Client, description: Json, seen: set[Operation]) -> None:
    use_catalogue(client)
    use_ssh_keys(client)
    use_placement_groups(client)
    use_networks(client)
    use_servers(client)
    use_firewalls(client)
    use_load_balancers(client)
    use_volumes(client)
    use_addresses(client)
    use_errors(client)
    assert implemented(description) - seen == set()


def use_catalogue(client: Any) -> None:
    assert client.locations.get_by_name("fsn1") is not None
    server_type = client.server_types.get_by_name("cx23")
    assert server_type is not None and server_type.locations is not None
    assert server_type.locations[0].available
    assert client.images.get_by_name_and_architecture("debian-13", "arm") is not None
    client.load_balancer_types.get_all()
    client.request("GET", "/pricing")


def use_ssh_keys(client: Any) -> None:
    key = client.ssh_keys.create(name="key", public_key=KEY, labels={"example.com/a": "b"})
    assert client.ssh_keys.get_by_fingerprint(key.fingerprint) is not None
    key.delete()


def use_placement_groups(client: Any) -> None:
    group = client.placement_groups.create(name="group", type="spread").placement_group
    client.placement_groups.get_all()
    group.delete()


def use_networks(client: Any) -> None:
    network = client.networks.create(name="net", ip_range="10.0.0.0/16", labels={"a": "b"})
    without_range = {"type": "cloud", "network_zone": "eu-central"}
    path = f"/networks/{network.id}/actions/add_subnet"
    answer = client.request("POST", path, json=without_range)
    client.actions.get_by_id(answer["action"]["id"]).wait_until_finished()
    client.request("GET", "/actions", params={"id": answer["action"]["id"]})
    network.delete_subnet(
        NetworkSubnet(type="cloud", network_zone="eu-central", ip_range="10.0.0.0/24")
    ).wait_until_finished()
    network.change_ip_range("10.0.0.0/15").wait_until_finished()
    client.networks.get_by_id(network.id)
    client.networks.get_all()
    network.delete()


def use_servers(client: Any) -> None:
    key = client.ssh_keys.create(name="key", public_key=KEY)
    subnet = NetworkSubnet(type="cloud", network_zone="eu-central", ip_range="10.0.0.0/24")
    network = client.networks.create(name="servers", ip_range="10.0.0.0/16", subnets=[subnet])
    group = client.placement_groups.create(name="servers", type="spread").placement_group
    answer = client.servers.create(
        name="server",
        server_type=ServerType(name="cx23"),
        image=Image(name="debian-13"),
        location=Location(name="fsn1"),
        ssh_keys=[key],
        networks=[network],
        placement_group=group,
        user_data="#cloud-config",
        labels={"a": "b"},
    )
    for action in (answer.action, *answer.next_actions):
        action.wait_until_finished()
    server = answer.server
    server.detach_from_network(network).wait_until_finished()
    server.attach_to_network(network).wait_until_finished()
    server.reboot().wait_until_finished()
    server.change_protection(delete=False, rebuild=False)
    server.power_off().wait_until_finished()
    server.power_on().wait_until_finished()
    server.power_off().wait_until_finished()
    client.servers.get_by_id(server.id)
    client.servers.get_all(label_selector="a in (b, c)", status=["off"])
    server.delete().wait_until_finished()
    network.delete()


def _server(client: Any, name: str, **options: Any) -> Any:
    answer = client.servers.create(
        name=name, server_type=ServerType(name="cx23"), image=Image(name="debian-13"), **options
    )
    for action in (answer.action, *answer.next_actions):
        action.wait_until_finished()
    return answer.server


def use_firewalls(client: Any) -> None:
    server = _server(client, "walled", labels={"walled": ""})
    rule = FirewallRule(direction="in", protocol="tcp", port="22", source_ips=["0.0.0.0/0", "::/0"])
    selector = FirewallResource(type="label_selector", label_selector=FirewallResourceLabelSelector("walled"))
    firewall = client.firewalls.create(name="firewall", rules=[rule], resources=[selector]).firewall
    icmp = FirewallRule(direction="in", protocol="icmp", source_ips=["10.0.0.0/8"], description="ping")
    _wait(firewall.set_rules([rule, icmp]))
    _wait(firewall.remove_from_resources([selector]))
    itself = FirewallResource(type="server", server=server)
    _wait(firewall.apply_to_resources([itself]))
    client.servers.get_by_id(server.id)
    client.firewalls.get_all()
    _wait(firewall.remove_from_resources([itself]))
    firewall.delete()
    server.delete().wait_until_finished()


def _wait(actions: Any) -> None:
    for action in actions:
        action.wait_until_finished()


def use_load_balancers(client: Any) -> None:
    subnet = NetworkSubnet(type="cloud", network_zone="eu-central", ip_range="10.1.0.0/24")
    network = client.networks.create(name="balanced", ip_range="10.1.0.0/16", subnets=[subnet])
    server = _server(client, "balanced", networks=[network], labels={"role": "control-plane"})
    check = LoadBalancerHealthCheck(
        protocol="http",
        port=6443,
        interval=15,
        timeout=10,
        retries=3,
        http=LoadBalancerHealthCheckHttp(path="/readyz", status_codes=["200"], tls=True),
    )
    service = LoadBalancerService(
        protocol="tcp",
        listen_port=6443,
        destination_port=6443,
        proxyprotocol=False,
        health_check=check,
    )
    answer = client.load_balancers.create(
        name="balancer",
        load_balancer_type=LoadBalancerType(name="lb11"),
        location=Location(name="fsn1"),
        algorithm=LoadBalancerAlgorithm(type="least_connections"),
        services=[service],
    )
    answer.action.wait_until_finished()
    balancer = answer.load_balancer
    balancer.update(labels={"a": "b"})
    balancer.attach_to_network(network).wait_until_finished()
    selector = LoadBalancerTarget(
        type="label_selector",
        use_private_ip=True,
        label_selector=LoadBalancerTargetLabelSelector("role=control-plane"),
    )
    balancer.add_target(selector).wait_until_finished()
    balancer.disable_public_interface().wait_until_finished()
    balancer.enable_public_interface().wait_until_finished()
    balancer.add_target(LoadBalancerTarget(type="server", server=server)).wait_until_finished()
    balancer.add_target(
        LoadBalancerTarget(type="ip", ip=LoadBalancerTargetIP("192.0.2.1"))
    ).wait_until_finished()
    client.load_balancers.get_by_id(balancer.id)
    client.load_balancers.get_all()
    client.servers.get_by_id(server.id)
    balancer.remove_target(selector).wait_until_finished()
    service.health_check = LoadBalancerHealthCheck(protocol="tcp", port=443, interval=5, timeout=3, retries=1)
    balancer.update_service(service).wait_until_finished()
    service.protocol, service.listen_port = "http", 80
    balancer.add_service(service).wait_until_finished()
    balancer.delete_service(service).wait_until_finished()
    balancer.change_algorithm(LoadBalancerAlgorithm(type="round_robin")).wait_until_finished()
    balancer.change_type(LoadBalancerType(name="lb21")).wait_until_finished()
    balancer.reload()
    assert balancer.public_net is not None
    balancer.change_dns_ptr(balancer.public_net.ipv4.ip, "api.example.com")
    balancer.detach_from_network(network).wait_until_finished()
    balancer.delete().action.wait_until_finished()
    server.delete().wait_until_finished()


def use_volumes(client: Any) -> None:
    server = _server(client, "stored")
    answer = client.volumes.create(size=10, name="volume", server=server, format="ext4", labels={"a": "b"})
    for action in (answer.action, *answer.next_actions):
        action.wait_until_finished()
    client.servers.get_by_id(server.id)
    answer.volume.detach().wait_until_finished()
    client.volumes.get_all(status=["available"])
    answer.volume.delete()
    server.delete().wait_until_finished()


def use_addresses(client: Any) -> None:
    server = _server(client, "addressed")
    client.floating_ips.create(type="ipv4", name="floating", server=server)
    client.servers.get_by_id(server.id)
    client.floating_ips.get_all()
    client.primary_ips.get_all()
    server.delete().wait_until_finished()


def use_errors(client: Any) -> None:
    with pytest.raises(APIException, match="not_found"):
        client.servers.get_by_id(1)
    with pytest.raises(APIException, match="uniqueness_error"):
        client.ssh_keys.create(name="another", public_key=KEY)
    with pytest.raises(APIException, match="invalid_input"):
        client.ssh_keys.create(name="bad", public_key="none")
