"""The double's rate limit and the faults that a test can order."""

import time
from typing import Any

import pytest
from hcloud.actions import ActionFailedException
from hcloud.networks import NetworkSubnet

from tests.lab.hetzner.server import Api, running
from tests.support.hetzner_double import api, backend, call, client, make_network, make_server, root

__all__ = ["api", "backend", "client"]


def test_every_answer_has_the_rate_limit_headers(api: Api) -> None:
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


@pytest.mark.parametrize("status", [401, 403, 409, 412, 422, 423, 429, 500, 503])
def test_ordered_status_is_answered_once(api: Api, status: int) -> None:
    api.faults.order(method="POST", path="/networks", fault=status, message="as ordered")
    body = {"name": "net", "ip_range": "10.0.0.0/16"}
    assert call(api, "GET", "/networks")[0] == 200
    answered, _, answer = call(api, "POST", "/networks", body)
    assert (answered, answer["error"]["message"]) == (status, "as ordered")
    assert call(api, "POST", "/networks", body)[0] == 201


def test_ordered_error_code_is_answered(api: Api) -> None:
    api.faults.order(fault=403, code="resource_limit_exceeded")
    assert call(api, "GET", "/servers")[2]["error"]["code"] == "resource_limit_exceeded"


def test_fault_has_the_ordered_delay_and_repetitions(api: Api) -> None:
    api.faults.order(path="/server*", fault=503, after=1, times=2)
    assert [call(api, "GET", "/servers/7")[0] for _ in range(4)] == [404, 503, 503, 404]


def test_fault_for_writes_does_not_affect_reads(api: Api) -> None:
    api.faults.order(method="write", fault=500, times=None)
    assert call(api, "GET", "/servers")[0] == 200
    assert call(api, "DELETE", "/servers/1")[0] == call(api, "PUT", "/load_balancers/1", {})[0] == 500
    api.faults.clear()
    assert call(api, "DELETE", "/servers/1")[0] == 404


def test_ordered_rate_limit_has_its_reset_time(api: Api) -> None:
    api.faults.order(fault=429, seconds=30)
    _, headers, answer = call(api, "GET", "/servers")
    assert answer["error"]["code"] == "rate_limit_exceeded"
    assert headers["RateLimit-Remaining"] == "0"
    assert 25 < int(headers["RateLimit-Reset"]) - time.time() <= 31


@pytest.mark.parametrize(("fault", "networks"), [("drop-before", 0), ("drop-after", 1)])
def test_connection_drops_before_or_after_the_work(api: Api, client: Any, fault: str, networks: int) -> None:
    api.faults.order(method="POST", path="/networks", fault=fault)
    with pytest.raises(OSError):
        make_network(client)
    assert api.calls[-1].status == 0
    assert len(client.networks.get_all()) == networks


def test_slow_answer_is_delayed(api: Api) -> None:
    api.faults.order(fault="slow", seconds=0.3)
    started = time.monotonic()
    assert call(api, "GET", "/servers")[0] == 200
    assert time.monotonic() - started >= 0.3


def test_ordered_action_error_prevents_the_work(api: Api, client: Any) -> None:
    network = make_network(client)
    api.faults.order(path="*/add_subnet", fault="action-error", message="the switch is broken")
    subnet = NetworkSubnet(type="cloud", network_zone="eu-central", ip_range="10.0.1.0/24")
    with pytest.raises(ActionFailedException, match="the switch is broken"):
        network.add_subnet(subnet).wait_until_finished()
    network.reload()
    assert len(network.subnets) == 1
    network.add_subnet(subnet).wait_until_finished()


def test_server_whose_creation_fails_does_not_exist(api: Api, client: Any) -> None:
    api.faults.order(method="POST", path="/servers", fault="action-error")
    with pytest.raises(ActionFailedException):
        make_server(client, "server")
    assert client.servers.get_all() == []
    make_server(client, "server")


def test_unknown_fault_is_refused(api: Api) -> None:
    with pytest.raises(ValueError, match="drop-after"):
        api.faults.order(fault="flood")


def test_other_processes_can_set_faults_and_limits_and_read_calls(api: Api) -> None:
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
