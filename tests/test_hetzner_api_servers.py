"""The double's servers and what belongs to them: networks, volumes, addresses, what they are told."""

import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

from hcloud.locations import Location
from hcloud.server_types import ServerType

from tests.hetzner_double import (
    DEADLINE,
    KEY,
    Recorder,
    api,
    backend,
    call,
    client,
    client_of,
    make_network,
    make_server,
    refusal,
    root,
)
from tests.lab.hetzner.backend import Machine, MemoryBackend
from tests.lab.hetzner.server import running

__all__ = ["api", "backend", "client"]


def eventually(condition: Callable[[], bool]) -> None:
    """Poll a condition until it holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        threading.Event().wait(0.005)


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
