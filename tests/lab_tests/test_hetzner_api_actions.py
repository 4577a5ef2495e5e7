"""The double's actions continue after the answer, lock the resources that they change, and can fail."""

import threading
import time
from typing import Any

import pytest
from hcloud.actions import ActionFailedException
from hcloud.images import Image
from hcloud.server_types import ServerType

from tests.lab.hetzner.backend import BackendError
from tests.lab.hetzner.server import Api, running
from tests.support.hetzner_double import (
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

__all__ = ["api", "backend", "client"]


def await_event(event: threading.Event) -> None:
    assert event.wait(DEADLINE)


def test_action_continues_after_the_answer_and_locks_its_server(backend: Recorder) -> None:
    may_finish = threading.Event()
    backend.before_create = lambda: await_event(may_finish)
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
        may_finish.set()
        for action in (answer.action, *answer.next_actions):
            action.wait_until_finished()
        server.reload()
        assert (server.status, server.locked) == ("running", False)


def test_actions_are_read_one_by_one_and_in_bulk(api: Api, client: Any) -> None:
    make_server(client, "server")
    first, second = api.state.actions.all
    _, _, answer = call(api, "GET", f"/actions?id={first}&id={second}&id=1")
    assert [action["id"] for action in answer["actions"]] == [first, second]
    assert [action["command"] for action in answer["actions"]] == ["create_server", "start_server"]
    assert all((action["status"], action["progress"]) == ("success", 100) for action in answer["actions"])
    assert call(api, "GET", "/actions")[0] == 410
    assert client.actions.get_by_id(first).command == "create_server"
    assert call(api, "GET", "/actions/1")[0] == 404


def test_action_takes_at_least_action_seconds(backend: Recorder) -> None:
    with running(backend=backend, action_seconds=0.2) as api:
        started = time.monotonic()
        make_server(client_of(api), "server")
        assert time.monotonic() - started >= 0.4


def test_action_fails_if_the_backend_fails(client: Any, backend: Recorder) -> None:
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


def test_concurrent_change_of_a_network_is_a_conflict() -> None:
    with running(action_seconds=0.5) as api:
        network = make_network(client_of(api))
        path = f"/networks/{network.id}/actions/add_subnet"
        body = {"type": "cloud", "network_zone": "eu-central"}
        assert call(api, "POST", path, body)[0] == 201
        status, _, answer = call(api, "POST", path, body)
        assert (status, answer["error"]["code"]) == (409, "conflict")
