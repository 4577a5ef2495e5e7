"""The double's actions: they go on after the answer, lock what they change, and can fail."""

import threading
import time
from typing import Any

import pytest
from hcloud.actions import ActionFailedException
from hcloud.images import Image
from hcloud.server_types import ServerType

from tests.hetzner_double import (
    DEADLINE,
    Recorder,
    api,
    backend,
    call,
    client,
    client_of,
    make_network,
    make_server,
    refusal,
)
from tests.lab.hetzner.backend import BackendError
from tests.lab.hetzner.server import Api, running

__all__ = ["api", "backend", "client"]


def await_event(event: threading.Event) -> None:
    assert event.wait(DEADLINE)


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
