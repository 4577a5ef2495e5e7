"""The double of Hetzner's API: how it filters, fails and works on after it has answered."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hcloud import APIException, Client
from hcloud.actions import ActionFailedException
from hcloud.firewalls import FirewallResource, FirewallResourceLabelSelector, FirewallRule
from hcloud.images import Image
from hcloud.load_balancer_types import LoadBalancerType
from hcloud.load_balancers import (
    LoadBalancerHealthCheck,
    LoadBalancerService,
    LoadBalancerTarget,
    LoadBalancerTargetLabelSelector,
)
from hcloud.locations import Location
from hcloud.networks import NetworkSubnet
from hcloud.server_types import ServerType

from tests.lab.hetzner.backend import BackendError, Machine, MemoryBackend
from tests.lab.hetzner.server import Api, running

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5o8yQ9Xg0m0d2V9y3j8uIYbqk3m9m4vJb9kq4l4n2P somebody"
KEY_FINGERPRINT = "26:87:33:df:84:9d:da:29:9d:d2:c8:2a:87:7b:c3:d4"
DEADLINE = 10


class Recorder(MemoryBackend):
    """A data centre that writes down what it is told, and does as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.firewalls: dict[int, Sequence[Mapping[str, Any]] | None] = {}
        self.machines: list[Machine] = []
        self.deleted: list[int] = []
        self.detached: list[tuple[str, int, int]] = []
        self.targets: dict[int, list[str]] = {}
        self.sick: set[str] = set()
        self.before_create: Callable[[], None] = lambda: None

    def create_server(self, *, server: Machine) -> None:
        self.before_create()
        self.machines.append(server)

    def delete_server(self, *, server_id: int) -> None:
        self.deleted.append(server_id)

    def detach(self, *, resource: str, resource_id: int, network_id: int) -> None:
        self.detached.append((resource, resource_id, network_id))

    def apply_firewall(self, *, server_id: int, rules: Sequence[Mapping[str, Any]] | None) -> None:
        self.firewalls[server_id] = rules

    def configure_load_balancer(
        self, *, load_balancer_id: int, services: Sequence[Mapping[str, Any]], targets: Sequence[str]
    ) -> None:
        super().configure_load_balancer(load_balancer_id=load_balancer_id, services=services, targets=targets)
        self.targets[load_balancer_id] = list(targets)

    def target_health(self, *, load_balancer_id: int) -> Mapping[tuple[str, int], bool]:
        known = super().target_health(load_balancer_id=load_balancer_id)
        return {target: target[0] not in self.sick for target in known}


@pytest.fixture
def backend() -> Recorder:
    return Recorder()


@pytest.fixture
def api(backend: Recorder) -> Iterator[Api]:
    with running(backend=backend) as api:
        yield api


@pytest.fixture
def client(api: Api) -> Any:
    """The real client; `Any`, because half of its attributes may be None in its types."""
    return client_of(api)


def client_of(api: Api, token: str = "") -> Any:
    return Client(token=token or api.token, api_endpoint=api.url, poll_interval=0.005)


def call(
    api: Api, method: str, path: str, body: object = None, *, base: str = ""
) -> tuple[int, Mapping[str, str], Any]:
    """One plain call: status, headers and JSON of the answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None
    headers = {"Authorization": f"Bearer {api.token}", "Content-Type": "application/json"}
    request = urllib.request.Request((base or api.url) + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            text = answer.read()
            return answer.status, dict(answer.headers), json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), json.load(error)


def root(api: Api) -> str:
    return api.url.removesuffix("/v1")


def make_server(client: Any, name: str, *, wait: bool = True, **options: Any) -> Any:
    options = {"server_type": ServerType(name="cx23"), "image": Image(name="debian-13")} | options
    answer = client.servers.create(name=name, **options)
    if wait:
        for action in (answer.action, *answer.next_actions):
            action.wait_until_finished()
        answer.server.reload()
    return answer.server


def make_network(client: Any, name: str = "net") -> Any:
    subnet = NetworkSubnet(type="cloud", network_zone="eu-central", ip_range="10.0.0.0/24")
    return client.networks.create(name=name, ip_range="10.0.0.0/16", subnets=[subnet])


def selected_by(selector: str) -> FirewallResource:
    return FirewallResource(type="label_selector", label_selector=FirewallResourceLabelSelector(selector))


def refusal(work: Callable[[], object]) -> APIException:
    with pytest.raises(APIException) as caught:
        work()
    return caught.value


def await_event(event: threading.Event) -> None:
    assert event.wait(DEADLINE)


def eventually(condition: Callable[[], bool]) -> None:
    """Poll a condition until it holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        threading.Event().wait(0.005)


# Lists


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("env", "both prod"),
        ("!env", "bare"),
        ("env=prod", "prod"),
        ("env==prod", "prod"),
        ("env!=prod", "bare both"),
        ("env in (prod, test)", "both prod"),
        ("env notin (prod,dev)", "bare both"),
        ("env,!tier", "prod"),
        ("env in (prod,test),tier=web", "both"),
        ("example.com/role=control-plane", "both"),
        ("tier=", "prod-empty"),
    ],
)
def test_label_selectors_choose(client: Any, selector: str, names: str) -> None:
    if selector == "tier=":
        client.placement_groups.create(name="prod-empty", type="spread", labels={"tier": ""})
    client.placement_groups.create(name="prod", type="spread", labels={"env": "prod"})
    labels = {"env": "test", "tier": "web", "example.com/role": "control-plane"}
    client.placement_groups.create(name="both", type="spread", labels=labels)
    client.placement_groups.create(name="bare", type="spread")
    found = client.placement_groups.get_all(label_selector=selector)
    assert sorted(group.name for group in found) == names.split()


@pytest.mark.parametrize("selector", ["a=b=c", "a in b", "=b", "a,,b", "a b"])
def test_a_label_selector_that_cannot_be_read_is_refused(client: Any, selector: str) -> None:
    error = refusal(lambda: client.servers.get_all(label_selector=selector))
    assert error.code == "invalid_input"
    assert selector in error.message


def test_lists_come_in_pages_of_at_most_50(api: Api, client: Any) -> None:
    for number in range(60):
        client.placement_groups.create(name=f"group-{number:02}", type="spread")
    api.calls.clear()
    assert len(client.placement_groups.get_all()) == 60
    assert len(api.calls) == 2
    _, headers, first = call(api, "GET", "/placement_groups?per_page=1000")
    assert first["meta"]["pagination"] == {
        "page": 1,
        "per_page": 50,
        "previous_page": None,
        "next_page": 2,
        "last_page": 2,
        "total_entries": 60,
    }
    assert headers["Link"] == (
        f'<{api.url}/placement_groups?page=2&per_page=50>; rel="next", '
        f'<{api.url}/placement_groups?page=2&per_page=50>; rel="last"'
    )
    _, _, default = call(api, "GET", "/placement_groups?page=3")
    assert len(default["placement_groups"]) == 10
    assert default["meta"]["pagination"]["per_page"] == 25
    assert call(api, "GET", "/placement_groups?page=0")[0] == 422


def test_lists_are_sorted_as_asked(api: Api, client: Any) -> None:
    for name in ("b", "c", "a"):
        client.placement_groups.create(name=name, type="spread")

    def names(query: str) -> str:
        _, _, answer = call(api, "GET", f"/placement_groups{query}")
        return "".join(group["name"] for group in answer["placement_groups"])

    assert names("") == "bca"
    assert names("?sort=name") == "abc"
    assert names("?sort=name:desc") == "cba"
    assert names("?sort=created:desc&sort=id:desc") == "acb"
    assert call(api, "GET", "/placement_groups?sort=colour")[0] == 422


def test_lists_are_filtered_by_name_and_status(client: Any) -> None:
    make_server(client, "on")
    make_server(client, "off", start_after_create=False)
    assert [server.name for server in client.servers.get_all(name="on")] == ["on"]
    assert [server.name for server in client.servers.get_all(status=["off"])] == ["off"]
    assert len(client.servers.get_all(status=["off", "running"])) == 2


# What is refused


def test_an_unknown_token_is_unauthorized(api: Api) -> None:
    assert refusal(client_of(api, "wrong").servers.get_all).code == "unauthorized"


def test_a_read_only_token_reads_but_does_not_write(api: Api) -> None:
    reader = client_of(api, api.read_only_token)
    assert reader.servers.get_all() == []
    assert refusal(lambda: make_network(reader)).code == "forbidden"
    assert api.calls[-1].status == 403


def test_names_are_unique(client: Any) -> None:
    make_network(client)
    error = refusal(lambda: make_network(client))
    assert error.code == "uniqueness_error"
    assert error.details == {"fields": [{"name": "name"}]}


def test_an_ssh_key_is_known_by_its_fingerprint(client: Any) -> None:
    key = client.ssh_keys.create(name="key", public_key=KEY)
    assert client.ssh_keys.get_by_fingerprint(key.fingerprint).name == "key"
    error = refusal(lambda: client.ssh_keys.create(name="again", public_key=KEY + " other comment"))
    assert error.code == "uniqueness_error"
    assert error.details == {"fields": [{"name": "public_key"}]}


def test_every_wrong_field_is_named(api: Api) -> None:
    body = {"name": "under_score", "server_type": "cx23", "image": "debian-13", "labels": {"-": "v"}}
    status, _, answer = call(api, "POST", "/servers", body)
    assert status == 422
    assert answer["error"]["code"] == "invalid_input"
    assert {field["name"] for field in answer["error"]["details"]["fields"]} == {"name", "labels"}


def test_a_body_that_is_not_json_is_refused(api: Api) -> None:
    status, _, answer = call(api, "POST", "/networks", b"{")
    assert (status, answer["error"]["code"]) == (400, "json_error")


@pytest.mark.parametrize(
    ("server_type", "location", "code"),
    [
        ("cax11", "ash", "invalid_input"),
        ("cax21", "nbg1", "resource_unavailable"),
        ("cx22", "fsn1", "invalid_input"),
        ("cx99", "fsn1", "invalid_input"),
    ],
)
def test_a_server_type_that_is_not_to_be_had_is_refused(
    client: Any, server_type: str, location: str, code: str
) -> None:
    error = refusal(
        lambda: make_server(
            client, "server", server_type=ServerType(name=server_type), location=Location(name=location)
        )
    )
    assert error.code == code
    assert client.primary_ips.get_all() == []


def test_what_is_to_be_had_where_can_be_read(client: Any) -> None:
    offers = {
        (server_type.name, offer.location.name): offer
        for server_type in client.server_types.get_all()
        for offer in server_type.locations
    }
    assert offers["cx23", "fsn1"].available
    assert not offers["cax21", "nbg1"].available
    assert offers["cx22", "fsn1"].deprecation is not None
    assert ("cax11", "ash") not in offers


def test_the_projects_quota_is_kept(api: Api, client: Any) -> None:
    api.state.limits["servers"] = 1
    make_server(client, "one")
    error = refusal(lambda: make_server(client, "two"))
    assert error.code == "resource_limit_exceeded"
    assert api.calls[-1].status == 403


def test_a_placement_group_has_room_for_ten(client: Any) -> None:
    group = client.placement_groups.create(name="group", type="spread").placement_group
    for number in range(10):
        make_server(client, f"server-{number}", placement_group=group)
    assert refusal(lambda: make_server(client, "eleventh", placement_group=group)).code == "placement_error"
    assert refusal(group.delete).code == "resource_in_use"


def test_protected_resources_are_not_deleted(client: Any) -> None:
    network = make_network(client)
    network.change_protection(delete=True)
    assert refusal(network.delete).code == "protected"
    network.change_protection(delete=False)
    network.delete()


def test_data_centers_are_gone(api: Api, client: Any) -> None:
    make_server(client, "server")
    status, _, answer = call(api, "GET", "/datacenters")
    assert (status, answer["error"]["code"]) == (410, "deprecated_api_endpoint")
    _, _, listed = call(api, "GET", "/servers")
    assert "datacenter" not in listed["servers"][0]
    assert listed["servers"][0]["location"]["network_zone"] == "eu-central"


def test_what_is_not_there_is_not_found(api: Api) -> None:
    for path in ("/servers/7", "/zones", "/servers/7/actions/poweron"):
        status, _, answer = call(api, "POST" if "actions" in path else "GET", path)
        assert (status, answer["error"]["code"]) == (404, "not_found")


# Actions


def test_an_action_goes_on_after_the_answer_and_locks_its_server(backend: Recorder) -> None:
    go_on = threading.Event()
    backend.before_create = lambda: await_event(go_on)
    with running(backend=backend) as api:
        client = client_of(api)
        answer = client.servers.create(
            name="server", server_type=ServerType(name="cx23"), image=Image(name="debian-13")
        )
        assert (answer.action.status, answer.action.command) == ("running", "create_server")
        assert [action.command for action in answer.next_actions] == ["start_server"]
        # The API answers while the backend works.
        server = client.servers.get_by_id(answer.server.id)
        assert (server.status, server.locked) == ("initializing", True)
        assert refusal(server.delete).code == "locked"
        assert api.calls[-1].status == 423
        go_on.set()
        for action in (answer.action, *answer.next_actions):
            action.wait_until_finished()
        server.reload()
        assert (server.status, server.locked) == ("running", False)


def test_actions_are_got_one_by_one_in_bulk_and_by_resource(api: Api, client: Any) -> None:
    server = make_server(client, "server")
    actions = server.get_actions()
    assert [action.command for action in actions] == ["create_server", "start_server"]
    assert all(action.status == "success" and action.progress == 100 for action in actions)
    ids = "&".join(f"id={action.id}" for action in actions)
    _, _, answer = call(api, "GET", f"/actions?{ids}&id=1")
    assert [action["id"] for action in answer["actions"]] == [action.id for action in actions]
    assert call(api, "GET", "/actions")[0] == 410
    assert client.servers.actions.get_by_id(actions[0].id).command == "create_server"


def test_an_action_takes_as_long_as_is_asked(backend: Recorder) -> None:
    with running(backend=backend, action_seconds=0.2) as api:
        started = time.monotonic()
        make_server(client_of(api), "server")
        assert time.monotonic() - started >= 0.4


def test_a_backend_that_fails_ends_the_action_in_an_error(client: Any, backend: Recorder) -> None:
    def fail() -> None:
        raise BackendError("no host is left")

    backend.before_create = fail
    answer = client.servers.create(
        name="server", server_type=ServerType(name="cx23"), image=Image(name="debian-13")
    )
    with pytest.raises(ActionFailedException, match="no host is left"):
        answer.action.wait_until_finished()
    with pytest.raises(ActionFailedException):
        answer.next_actions[0].wait_until_finished()
    assert client.servers.get_all() == []
    assert client.primary_ips.get_all() == []
    assert backend.deleted == [answer.server.id]


def test_a_change_of_a_network_meanwhile_is_a_conflict() -> None:
    with running(action_seconds=0.5) as api:
        network = make_network(client_of(api))
        path = f"/networks/{network.id}/actions/add_route"
        body = {"destination": "10.100.0.0/24", "gateway": "10.0.0.2"}
        assert call(api, "POST", path, body)[0] == 201
        status, _, answer = call(api, "POST", path, body)
        assert (status, answer["error"]["code"]) == (409, "conflict")


# Servers and what belongs to them


def test_a_server_is_made_as_ordered(client: Any, backend: Recorder) -> None:
    key = client.ssh_keys.create(name="key", public_key=KEY)
    network = make_network(client)
    server = make_server(
        client,
        "server",
        ssh_keys=[key],
        networks=[network],
        user_data="#cloud-config",
        labels={"a": "b"},
        server_type=ServerType(name="cax11"),
    )
    assert backend.machines == [
        Machine(
            id=server.id,
            name="server",
            image="debian-13",
            public_ipv4=server.public_net.ipv4.ip,
            ssh_keys=(KEY,),
            user_data="#cloud-config",
        )
    ]
    assert server.image.architecture == "arm"
    assert (server.status, server.labels) == ("running", {"a": "b"})
    private = server.private_net_for(network)
    assert private.ip == "10.0.0.2"
    assert private.mac_address.startswith("86:00:00:")
    network.reload()
    assert [one.id for one in network.servers] == [server.id]


def test_deleting_a_server_leaves_what_was_attached(client: Any, backend: Recorder) -> None:
    network = make_network(client)
    volume = client.volumes.create(size=10, name="volume", location=Location(name="fsn1")).volume
    kept = client.primary_ips.create(type="ipv6", name="kept", location=Location(name="fsn1")).primary_ip
    eventually(lambda: client.volumes.get_by_id(volume.id).status == "available")
    server = make_server(client, "server", networks=[network], volumes=[volume])
    kept_server = client.volumes.get_by_id(volume.id).server
    assert kept_server.id == server.id
    server.delete().wait_until_finished()
    assert refusal(server.reload).code == "not_found"
    assert client.volumes.get_by_id(volume.id).server is None
    assert [one.name for one in client.primary_ips.get_all()] == [kept.name]
    assert client.networks.get_by_id(network.id).servers == []
    assert backend.deleted == [server.id]


def test_ids_are_never_used_again(client: Any) -> None:
    first = make_server(client, "server")
    first.delete().wait_until_finished()
    assert make_server(client, "server").id > first.id


def test_deleting_a_network_detaches_its_servers(client: Any, backend: Recorder) -> None:
    network = make_network(client)
    server = make_server(client, "server", networks=[network])
    network.delete()
    assert backend.detached == [("server", server.id, network.id)]
    server.reload()
    assert server.private_net == []


def test_private_addresses_are_chosen_or_given(client: Any) -> None:
    network = make_network(client)
    first = make_server(client, "first", networks=[network])
    second = make_server(client, "second")
    second.attach_to_network(network, ip="10.0.0.9").wait_until_finished()
    third = make_server(client, "third")
    assert refusal(lambda: third.attach_to_network(network, ip="10.0.0.9")).code == "ip_not_available"
    assert refusal(lambda: first.attach_to_network(network)).code == "server_already_attached"
    far = make_server(client, "far", server_type=ServerType(name="cpx22"), location=Location(name="ash"))
    assert refusal(lambda: far.attach_to_network(network)).code == "no_subnet_available"
    assert [one.status for one in client.networks.get_member_all(network)] == ["ok", "ok"]


def test_power_and_type_need_each_other(client: Any) -> None:
    server = make_server(client, "server")
    bigger = ServerType(name="cx33")
    assert refusal(lambda: server.change_type(bigger, upgrade_disk=False)).code == "server_not_stopped"
    server.power_off().wait_until_finished()
    server.change_type(bigger, upgrade_disk=False).wait_until_finished()
    server.power_on().wait_until_finished()
    server.reload()
    assert (server.status, server.server_type.name, server.primary_disk_size) == ("running", "cx33", 40)


# Firewalls


def rules_of(backend: Recorder, server: Any) -> list[str] | None:
    rules = backend.firewalls.get(server.id)
    return None if rules is None else [rule["port"] for rule in rules]


def tcp(port: str) -> FirewallRule:
    return FirewallRule(direction="in", protocol="tcp", port=port, source_ips=["0.0.0.0/0", "::/0"])


def wait_all(actions: Any) -> None:
    for action in actions:
        action.wait_until_finished()


def test_a_selector_also_covers_servers_that_come_later(client: Any, backend: Recorder) -> None:
    before = make_server(client, "before", labels={"cluster": "demo"})
    answer = client.firewalls.create(
        name="firewall", rules=[tcp("22")], resources=[selected_by("cluster=demo")]
    )
    wait_all(answer.actions)
    after = make_server(client, "after", labels={"cluster": "demo"})
    other = make_server(client, "other")
    assert rules_of(backend, before) == rules_of(backend, after) == ["22"]
    assert rules_of(backend, other) is None
    assert [one.status for one in after.public_net.firewalls] == ["applied"]
    answer.firewall.reload()
    covered = answer.firewall.applied_to[0].applied_to_resources
    assert [one.server.id for one in covered] == [before.id, after.id]
    wait_all(answer.firewall.set_rules([tcp("22"), tcp("6443")]))
    assert rules_of(backend, after) == ["22", "6443"]
    after.update(labels={})
    assert backend.firewalls[after.id] is None
    other.update(labels={"cluster": "demo"})
    assert rules_of(backend, other) == ["22", "6443"]


def test_a_firewall_is_deleted_when_it_applies_to_nothing(client: Any) -> None:
    server = make_server(client, "server", labels={"cluster": "demo"})
    firewall = client.firewalls.create(name="firewall", resources=[selected_by("cluster=demo")]).firewall
    assert refusal(firewall.delete).code == "resource_in_use"
    itself = FirewallResource(type="server", server=server)
    error = refusal(lambda: firewall.remove_from_resources([itself]))
    assert error.code == "firewall_managed_by_label_selector"
    wait_all(firewall.remove_from_resources([selected_by("cluster=demo")]))
    firewall.delete()
    assert client.firewalls.get_all() == []


@pytest.mark.parametrize(
    "rule",
    [
        {"direction": "in", "protocol": "tcp", "source_ips": ["0.0.0.0/0"]},
        {"direction": "in", "protocol": "icmp", "port": "22", "source_ips": ["0.0.0.0/0"]},
        {"direction": "in", "protocol": "tcp", "port": "99999", "source_ips": ["0.0.0.0/0"]},
        {"direction": "in", "protocol": "tcp", "port": "22", "source_ips": []},
        {"direction": "in", "protocol": "tcp", "port": "22", "source_ips": ["10.0.0.1/8"]},
        {"direction": "in", "protocol": "ipip", "source_ips": ["0.0.0.0/0"]},
    ],
)
def test_a_firewall_rule_that_makes_no_sense_is_refused(api: Api, rule: dict[str, Any]) -> None:
    status, _, answer = call(api, "POST", "/firewalls", {"name": "firewall", "rules": [rule]})
    assert (status, answer["error"]["code"]) == (422, "invalid_input")


# Load balancers


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


def test_a_load_balancers_selector_follows_the_servers(client: Any, backend: Recorder) -> None:
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


def test_a_private_target_needs_the_network(client: Any) -> None:
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


def test_a_load_balancer_goes_with_its_addresses(client: Any) -> None:
    balancer = make_balancer(client, make_network(client))
    assert len(client.primary_ips.get_all()) == 2
    balancer.delete().action.wait_until_finished()
    assert client.load_balancers.get_all() == client.primary_ips.get_all() == []


# Rate limit


def test_every_answer_says_what_is_left_of_the_rate_limit(api: Api) -> None:
    _, first, _ = call(api, "GET", "/servers")
    _, second, _ = call(api, "GET", "/servers/1")
    assert first["RateLimit-Limit"] == "3600"
    assert int(second["RateLimit-Remaining"]) < 3600
    assert abs(int(second["RateLimit-Reset"]) - time.time()) < 10


def test_too_many_calls_are_refused() -> None:
    with running(calls_an_hour=2) as api:
        assert [call(api, "GET", "/servers")[0] for _ in range(3)] == [200, 200, 429]
        _, headers, answer = call(api, "GET", "/servers")
        assert answer["error"]["code"] == "rate_limit_exceeded"
        assert headers["RateLimit-Remaining"] == "0"


# Faults


@pytest.mark.parametrize("status", [401, 403, 409, 412, 422, 423, 429, 500, 503])
def test_an_ordered_status_comes_once(api: Api, status: int) -> None:
    api.faults.order(method="POST", path="/networks", fault=status, message="as ordered")
    body = {"name": "net", "ip_range": "10.0.0.0/16"}
    assert call(api, "GET", "/networks")[0] == 200
    answered, _, answer = call(api, "POST", "/networks", body)
    assert (answered, answer["error"]["message"]) == (status, "as ordered")
    assert call(api, "POST", "/networks", body)[0] == 201


def test_an_ordered_error_code_is_answered(api: Api) -> None:
    api.faults.order(fault=403, code="resource_limit_exceeded")
    assert call(api, "GET", "/servers")[2]["error"]["code"] == "resource_limit_exceeded"


def test_a_fault_waits_and_lasts_as_ordered(api: Api) -> None:
    api.faults.order(path="/server*", fault=503, after=1, times=2)
    assert [call(api, "GET", "/servers/7")[0] for _ in range(4)] == [404, 503, 503, 404]


def test_a_fault_for_writes_leaves_reads_alone(api: Api) -> None:
    api.faults.order(method="write", fault=500, times=None)
    assert call(api, "GET", "/servers")[0] == 200
    assert call(api, "DELETE", "/servers/1")[0] == call(api, "PUT", "/servers/1", {})[0] == 500
    api.faults.clear()
    assert call(api, "DELETE", "/servers/1")[0] == 404


def test_an_ordered_rate_limit_names_its_reset(api: Api) -> None:
    api.faults.order(fault=429, seconds=30)
    _, headers, answer = call(api, "GET", "/servers")
    assert answer["error"]["code"] == "rate_limit_exceeded"
    assert headers["RateLimit-Remaining"] == "0"
    assert 25 < int(headers["RateLimit-Reset"]) - time.time() <= 31


@pytest.mark.parametrize(("fault", "networks"), [("drop-before", 0), ("drop-after", 1)])
def test_a_connection_drops_before_or_after_the_work(
    api: Api, client: Any, fault: str, networks: int
) -> None:
    api.faults.order(method="POST", path="/networks", fault=fault)
    with pytest.raises(OSError):
        make_network(client)
    assert api.calls[-1].status == 0
    assert len(client.networks.get_all()) == networks


def test_a_slow_answer_comes_late(api: Api) -> None:
    api.faults.order(fault="slow", seconds=0.3)
    started = time.monotonic()
    assert call(api, "GET", "/servers")[0] == 200
    assert time.monotonic() - started >= 0.3


def test_an_ordered_action_error_leaves_the_work_undone(api: Api, client: Any) -> None:
    network = make_network(client)
    api.faults.order(path="*/add_subnet", fault="action-error", message="the switch is broken")
    subnet = NetworkSubnet(type="cloud", network_zone="eu-central", ip_range="10.0.1.0/24")
    with pytest.raises(ActionFailedException, match="the switch is broken"):
        network.add_subnet(subnet).wait_until_finished()
    network.reload()
    assert len(network.subnets) == 1
    network.add_subnet(subnet).wait_until_finished()


def test_a_server_whose_creation_is_ordered_to_fail_is_gone(api: Api, client: Any) -> None:
    api.faults.order(method="POST", path="/servers", fault="action-error")
    with pytest.raises(ActionFailedException):
        make_server(client, "server")
    assert client.servers.get_all() == []
    make_server(client, "server")


def test_an_unknown_fault_is_refused(api: Api) -> None:
    with pytest.raises(ValueError, match="drop-after"):
        api.faults.order(fault="flood")


def test_faults_calls_and_limits_are_there_for_other_processes(api: Api) -> None:
    base = root(api)
    assert call(api, "POST", "/_lab/faults", {"path": "/servers", "fault": 503}, base=base)[0] == 204
    assert len(call(api, "GET", "/_lab/faults", base=base)[2]["faults"]) == 1
    assert call(api, "POST", "/_lab/faults", {"fault": "flood"}, base=base)[0] == 422
    assert call(api, "GET", "/servers")[0] == 503
    assert call(api, "PUT", "/_lab/limits", {"networks": 0}, base=base)[0] == 200
    assert call(api, "POST", "/networks", {"name": "n", "ip_range": "10.0.0.0/16"})[0] == 403
    calls = call(api, "GET", "/_lab/calls", base=base)[2]["calls"]
    assert [(one["method"], one["path"], one["status"], one["write"]) for one in calls] == [
        ("GET", "/servers", 503, False),
        ("POST", "/networks", 403, True),
    ]
    call(api, "DELETE", "/_lab/calls", base=base)
    assert api.calls == []


# Server metadata


class OnThisMachine(MemoryBackend):
    """A data centre whose first server has the address that this test calls from."""

    def public_address(self) -> str:
        return "127.0.0.1"


def test_a_server_is_told_about_itself() -> None:
    with running(backend=OnThisMachine()) as api:
        client = client_of(api)
        assert call(api, "GET", "/hetzner/v1/metadata", base=root(api))[0] == 404
        server = make_server(client, "server", networks=[make_network(client)], user_data="#cloud-config")

        def told(item: str) -> str:
            with urllib.request.urlopen(f"{root(api)}/hetzner/v1/{item}") as answer:
                return str(answer.read().decode())

        assert told("metadata/hostname") == "server"
        assert told("metadata/instance-id") == str(server.id)
        assert told("metadata/public-ipv4") == "127.0.0.1"
        assert told("metadata/region") == "eu-central"
        assert told("metadata/availability-zone") == "fsn1-dc1"
        assert f"instance-id: {server.id}\n" in told("metadata")
        assert f"mac_address: {server.private_net[0].mac_address}\n" in told("metadata/private-networks")
        assert told("userdata") == "#cloud-config"
