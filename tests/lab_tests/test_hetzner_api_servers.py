"""The double's servers with their networks, volumes, addresses and metadata."""

import urllib.request
from typing import Any

from hcloud.locations import Location
from hcloud.server_types import ServerType

from tests.lab.hetzner.backend import Machine, MemoryBackend
from tests.lab.hetzner.server import running
from tests.support.hetzner_double import (
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

__all__ = ["api", "backend", "client"]


def test_server_is_created_as_requested(client: Any, backend: Recorder) -> None:
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


def test_deleting_a_server_keeps_attached_resources(client: Any, backend: Recorder) -> None:
    network = make_network(client)
    answer = client.volumes.create(size=10, name="volume", location=Location(name="fsn1"))
    answer.action.wait_until_finished()
    server = make_server(client, "server", networks=[network], volumes=[answer.volume])
    assert [volume.server.id for volume in client.volumes.get_all()] == [server.id]
    server.delete().wait_until_finished()
    assert refusal(server.reload).code == "not_found"
    assert [volume.server for volume in client.volumes.get_all()] == [None]
    assert client.primary_ips.get_all() == []
    assert client.networks.get_by_id(network.id).servers == []
    assert backend.deleted == [server.id]


def test_ids_are_never_reused(client: Any) -> None:
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


def test_private_addresses_are_assigned_or_requested(client: Any) -> None:
    network = make_network(client)
    first = make_server(client, "first", networks=[network])
    second = make_server(client, "second")
    second.attach_to_network(network, ip="10.0.0.9").wait_until_finished()
    third = make_server(client, "third")
    assert refusal(lambda: third.attach_to_network(network, ip="10.0.0.9")).code == "ip_not_available"
    assert refusal(lambda: first.attach_to_network(network)).code == "server_already_attached"
    far = make_server(client, "far", server_type=ServerType(name="cpx22"), location=Location(name="ash"))
    assert refusal(lambda: far.attach_to_network(network)).code == "no_subnet_available"
    network.reload()
    assert [one.id for one in network.servers] == [first.id, second.id]


def test_server_is_switched_off_and_on_and_rebooted(client: Any) -> None:
    server = make_server(client, "server")
    for change, status in (
        (server.power_off, "off"),
        (server.power_on, "running"),
        (server.reboot, "running"),
    ):
        change().wait_until_finished()
        server.reload()
        assert server.status == status


class OnThisMachine(MemoryBackend):
    """A backend whose first server has the address of this test process."""

    def public_address(self) -> str:
        return "127.0.0.1"


def test_server_reads_its_metadata() -> None:
    with running(backend=OnThisMachine()) as api:
        client = client_of(api)
        assert call(api, "GET", "/hetzner/v1/metadata", base=root(api))[0] == 404
        server = make_server(client, "server", networks=[make_network(client)], user_data="#cloud-config")

        def metadata(item: str) -> str:
            with urllib.request.urlopen(f"{root(api)}/hetzner/v1/{item}") as answer:
                return str(answer.read().decode())

        assert metadata("metadata/hostname") == "server"
        assert metadata("metadata/instance-id") == str(server.id)
        assert metadata("metadata/public-ipv4") == "127.0.0.1"
        assert metadata("metadata/region") == "eu-central"
        assert metadata("metadata/availability-zone") == "fsn1-dc1"
        assert f"instance-id: {server.id}\n" in metadata("metadata")
        assert f"mac_address: {server.private_net[0].mac_address}\n" in metadata("metadata/private-networks")
        assert metadata("userdata") == "#cloud-config"
