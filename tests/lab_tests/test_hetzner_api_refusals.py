"""The double refuses unknown tokens, wrong fields, used names, sold-out types and missing resources."""

from typing import Any

import pytest
from hcloud.locations import Location
from hcloud.server_types import ServerType

from tests.lab.hetzner.server import Api
from tests.support.hetzner_double import (
    KEY,
    api,
    backend,
    call,
    client,
    client_of,
    make_network,
    make_server,
    refusal,
)

__all__ = ["api", "backend", "client"]


def test_unknown_token_is_unauthorized(api: Api) -> None:
    assert refusal(client_of(api, "wrong").servers.get_all).code == "unauthorized"


def test_read_only_token_reads_but_does_not_write(api: Api) -> None:
    reader = client_of(api, api.read_only_token)
    assert reader.servers.get_all() == []
    assert refusal(lambda: make_network(reader)).code == "forbidden"
    assert api.calls[-1].status == 403


def test_names_are_unique(client: Any) -> None:
    make_network(client)
    error = refusal(lambda: make_network(client))
    assert error.code == "uniqueness_error"
    assert error.details == {"fields": [{"name": "name"}]}


def test_ssh_key_is_identified_by_its_fingerprint(client: Any) -> None:
    key = client.ssh_keys.create(name="key", public_key=KEY)
    assert client.ssh_keys.get_by_fingerprint(key.fingerprint).name == "key"
    error = refusal(lambda: client.ssh_keys.create(name="again", public_key=KEY + " other comment"))
    assert error.code == "uniqueness_error"
    assert error.details == {"fields": [{"name": "public_key"}]}


def test_all_wrong_fields_are_reported(api: Api) -> None:
    body = {"name": "under_score", "server_type": "cx23", "image": "debian-13", "labels": {"-": "v"}}
    status, _, answer = call(api, "POST", "/servers", body)
    assert status == 422
    assert answer["error"]["code"] == "invalid_input"
    assert {field["name"] for field in answer["error"]["details"]["fields"]} == {"name", "labels"}


def test_body_that_is_not_json_is_refused(api: Api) -> None:
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
def test_unavailable_server_type_is_refused(client: Any, server_type: str, location: str, code: str) -> None:
    error = refusal(
        lambda: make_server(
            client, "server", server_type=ServerType(name=server_type), location=Location(name=location)
        )
    )
    assert error.code == code
    assert client.primary_ips.get_all() == []


def test_availability_by_location_can_be_read(client: Any) -> None:
    offers = {
        (server_type.name, offer.location.name): offer
        for server_type in client.server_types.get_all()
        for offer in server_type.locations
    }
    assert offers["cx23", "fsn1"].available
    assert not offers["cax21", "nbg1"].available
    assert offers["cx22", "fsn1"].deprecation is not None
    assert ("cax11", "ash") not in offers


def test_quota_of_the_project_is_enforced(api: Api, client: Any) -> None:
    api.state.limits["servers"] = 1
    make_server(client, "one")
    error = refusal(lambda: make_server(client, "two"))
    assert error.code == "resource_limit_exceeded"
    assert api.calls[-1].status == 403


def test_placement_group_has_at_most_ten_servers(client: Any) -> None:
    group = client.placement_groups.create(name="group", type="spread").placement_group
    for number in range(10):
        make_server(client, f"server-{number}", placement_group=group)
    assert refusal(lambda: make_server(client, "eleventh", placement_group=group)).code == "placement_error"
    assert refusal(group.delete).code == "resource_in_use"


def test_protected_server_is_not_deleted(client: Any) -> None:
    server = make_server(client, "server")
    server.change_protection(delete=True, rebuild=True)
    assert refusal(server.delete).code == "protected"
    server.change_protection(delete=False, rebuild=False)
    server.delete()


def test_server_has_a_location_and_no_datacenter(api: Api, client: Any) -> None:
    make_server(client, "server")
    _, _, listed = call(api, "GET", "/servers")
    assert "datacenter" not in listed["servers"][0]
    assert listed["servers"][0]["location"]["network_zone"] == "eu-central"


def test_missing_resources_are_not_found(api: Api) -> None:
    for path in ("/servers/7", "/zones", "/servers/7/actions/poweron"):
        status, _, answer = call(api, "POST" if "actions" in path else "GET", path)
        assert (status, answer["error"]["code"]) == (404, "not_found")
