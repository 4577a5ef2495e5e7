"""The test double of Hetzner's API with the official client, for the tests of the double.

A test module that uses a fixture imports it and those it depends on, and lists them in ``__all__``.
"""

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hcloud import APIException, Client
from hcloud.images import Image
from hcloud.networks import NetworkSubnet
from hcloud.server_types import ServerType

from tests.lab.hetzner.backend import Machine, MemoryBackend
from tests.lab.hetzner.server import Api, running

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5o8yQ9Xg0m0d2V9y3j8uIYbqk3m9m4vJb9kq4l4n2P somebody"
DEADLINE = 10


class Recorder(MemoryBackend):
    """A backend that records its calls, and that a test can direct."""

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
    """Return the real client; `Any`, because half of its attributes may be None in its types."""
    return client_of(api)


def client_of(api: Api, token: str = "") -> Any:
    return Client(token=token or api.token, api_endpoint=api.url, poll_interval=0.005)


def call(
    api: Api, method: str, path: str, body: object = None, *, base: str = ""
) -> tuple[int, Mapping[str, str], Any]:
    """Make one plain call; return status, headers and JSON of the answer."""
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


def refusal(work: Callable[[], object]) -> APIException:
    with pytest.raises(APIException) as caught:
        work()
    return caught.value
