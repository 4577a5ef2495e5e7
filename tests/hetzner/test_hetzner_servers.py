"""The servers deploy against the double of Hetzner's API: what it creates, leaves alone and refuses."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubeadm_deploys.hetzner.api.client import HetznerError, connect
from kubeadm_deploys.hetzner.api.names import recorded_servers
from kubeadm_deploys.hetzner.api.steps import RetryPolicy
from kubeadm_deploys.hetzner.servers.deploy import make_servers, plan_servers
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.model.errors import InputError
from tests.lab.hetzner.server import Api, running
from tests.support.hetzner_cluster import PATIENT, api, client_of, described, key, make, shape, writes

__all__ = ["api", "key"]


@pytest.fixture
def six(key: Path) -> ClusterDescription:
    """Three control planes and three workers."""
    return described(key, control_plane={"count": 3}, worker_pools={"worker": {"count": 3}})


def test_a_new_cluster(api: Api, six: ClusterDescription) -> None:
    make(api, six)
    made = shape(api)
    assert [server["name"] for server in made["servers"]] == [
        *(f"demo-control-plane-{number}" for number in (1, 2, 3)),
        *(f"demo-worker-{number}" for number in (1, 2, 3)),
    ]
    assert all(server["networks"] == ["demo"] for server in made["servers"])
    assert {server["status"] for server in made["servers"]} == {"running"}
    assert {server["group"] for server in made["servers"]} == {"demo-control-plane-1", "demo-worker-1"}
    assert made["servers"][0]["labels"] == {
        "kubeadm-deploys/cluster": "demo",
        "kubeadm-deploys/role": "control-plane",
        "kubeadm-deploys/pool": "control-plane",
    }
    [balancer] = made["load_balancers"]
    assert balancer["networks"] == ["demo"] and balancer["public"]
    assert [target["use_private_ip"] for target in balancer["targets"]] == [True]
    [firewall] = made["firewalls"]
    assert firewall[2] == [
        {"type": "label_selector", "label_selector": {"selector": "kubeadm-deploys/cluster=demo"}}
    ]


def test_targets_are_in_the_network_before_the_load_balancer_is_created(
    api: Api, six: ClusterDescription
) -> None:
    make(api, six)
    posted = [call.path for call in api.calls if call.write]
    assert posted[-1] == "/load_balancers" and posted.count("/servers") == 6


def test_servers_are_created_after_their_firewall(api: Api, six: ClusterDescription) -> None:
    make(api, six)
    when = {call.path: call.time for call in api.calls if call.write}
    first_server = min(call.time for call in api.calls if call.write and call.path == "/servers")
    assert when["/firewalls"] < first_server and when["/networks"] < first_server


def test_six_servers_take_at_most_forty_calls(tmp_path: Path, key: Path, six: ClusterDescription) -> None:
    # Actions as slow as Hetzner's, polled as slowly as in production.
    with running(action_seconds=1) as api:
        make(api, six, retry_policy=RetryPolicy())
        assert len(api.calls) <= 40


def test_a_second_run_reads_at_most_eight_times_and_writes_nothing(api: Api, six: ClusterDescription) -> None:
    make(api, six)
    api.calls.clear()
    assert make(api, six).steps == ()
    assert writes(api) == []
    assert len(api.calls) <= 8


def test_one_control_plane_has_no_load_balancer(api: Api, key: Path) -> None:
    make(api, described(key))
    assert shape(api)["load_balancers"] == []


def test_more_servers_are_added_and_nothing_else_is_changed(api: Api, key: Path) -> None:
    make(api, described(key))
    api.calls.clear()
    make(api, described(key, worker_pools={"worker": {"count": 3}}))
    assert writes(api) == [("POST", "/servers"), ("POST", "/servers")]


def test_eleven_servers_of_a_pool_take_two_placement_groups(api: Api, key: Path) -> None:
    make(api, described(key, worker_pools={"worker": {"count": 11}}))
    groups = [server["group"] for server in shape(api)["servers"] if "worker" in server["name"]]
    assert sorted(groups) == ["demo-worker-1"] * 10 + ["demo-worker-2"]


def test_a_private_api_gets_a_private_load_balancer(api: Api, key: Path) -> None:
    make(api, described(key, control_plane={"count": 3}, api_from=["203.0.113.0/24"]))
    assert [balancer["public"] for balancer in shape(api)["load_balancers"]] == [False]


def test_an_ssh_key_is_reused_whatever_its_name(api: Api, key: Path) -> None:
    client_of(api).ssh_keys.create(name="laptop", public_key=key.read_text())
    make(api, described(key))
    assert [name for name, *_ in shape(api)["ssh_keys"]] == ["laptop"]
    assert len({server["keys"] for server in shape(api)["servers"]}) == 1


def test_two_clusters_do_not_see_each_other(api: Api, key: Path) -> None:
    make(api, described(key))
    before = shape(api)
    plan = make(api, described(key, name="other", network="10.1.0.0/16"))
    assert plan.unmanaged == () and plan.differences == ()
    api.calls.clear()
    assert make(api, described(key)).steps == ()
    assert make(api, described(key, name="other", network="10.1.0.0/16")).steps == ()
    assert writes(api) == []
    names = {server["name"] for server in shape(api)["servers"]}
    assert names - {server["name"] for server in before["servers"]} == {
        "other-control-plane-1",
        "other-worker-1",
    }


def test_firewall_rules_follow_the_description_and_other_rules_stay(api: Api, key: Path) -> None:
    make(api, described(key))
    client = client_of(api)
    [wall] = client.firewalls.get_all()
    own = [rule.to_payload() for rule in wall.rules or []]
    web = {"direction": "in", "protocol": "tcp", "port": "80", "source_ips": ["0.0.0.0/0"]}
    client.request("POST", f"/firewalls/{wall.id}/actions/set_rules", json={"rules": [*own, web]})
    plan = make(api, described(key, ssh_from=["203.0.113.0/24"]))
    assert any("tcp 80" in text and "hcloud firewall delete-rule" in text for text in plan.differences)
    rules = {(rule.port, tuple(rule.source_ips)) for rule in client.firewalls.get_all()[0].rules or []}
    assert ("80", ("0.0.0.0/0",)) in rules and ("22", ("203.0.113.0/24",)) in rules
    assert ("22", ("0.0.0.0/0", "::/0")) not in rules


def test_smaller_numbers_and_other_types_change_nothing(api: Api, key: Path) -> None:
    make(api, described(key, worker_pools={"worker": {"count": 3}}))
    api.calls.clear()
    plan = make(
        api,
        described(
            key,
            image="ubuntu-24.04",
            worker_pools={"worker": {"count": 1, "type": "cx33", "labels": {"a": "b"}}},
        ),
    )
    assert plan.steps == () and writes(api) == []
    assert [text.partition(":")[0] for text in plan.unmanaged] == [
        "server demo-worker-3",
        "server demo-worker-2",
    ]
    text = "\n".join(plan.differences)
    assert "hcloud server change-type --keep-disk demo-worker-1 cx33" in text
    assert "debian-13, but described as ubuntu-24.04" in text
    assert "hcloud server add-label --overwrite demo-worker-1 a=b" in text


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"location": "fsn2"}, "hetzner.location: 'fsn2' is not a location; did you mean fsn1?"),
        ({"control_plane": {"type": "cx24"}}, "hetzner.control_plane.type: 'cx24' is not a server type"),
        (
            {"worker_pools": {"big": {"type": "cx43"}}},
            "hetzner.worker_pools.big.type: 'cx43' is not available in fsn1 now, only in nbg1, hel1",
        ),
        ({"image": "debian-99"}, "hetzner.image: 'debian-99' is not an image"),
        (
            {"control_plane": {"count": 3}, "load_balancer_type": "lb99"},
            "hetzner.load_balancer_type: 'lb99' is not available in fsn1",
        ),
    ],
)
def test_impossible_orders_are_refused_before_anything_is_written(
    api: Api, key: Path, settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError) as caught:
        make(api, described(key, **settings))
    assert words in str(caught.value)
    assert writes(api) == []


@pytest.mark.parametrize("kind", ["networks", "firewalls", "placement_groups", "servers", "ssh_keys"])
def test_a_name_that_is_taken_is_refused_before_anything_is_written(api: Api, key: Path, kind: str) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ9Y7x0n3rU0k2d4wzS6n3VtH1l8oY3cYQm3mZl7rJ5W"
    name, body = {
        "networks": ("demo", {"ip_range": "10.9.0.0/16"}),
        "firewalls": ("demo", {}),
        "placement_groups": ("demo-worker-1", {"type": "spread"}),
        "servers": ("demo-worker-1", {"server_type": "cx23", "image": "debian-13"}),
        "ssh_keys": ("demo", {"public_key": other}),
    }[kind]
    client_of(api).request("POST", f"/{kind}", json={"name": name, **body})
    api.calls.clear()
    with pytest.raises(InputError) as caught:
        make(api, described(key))
    assert repr(name) in str(caught.value) and "hcloud " in str(caught.value)
    assert writes(api) == []


def test_the_project_limit_is_reported_and_created_servers_are_kept(
    api: Api, six: ClusterDescription
) -> None:
    api.state.limits["servers"] = 2
    with pytest.raises(HetznerError) as caught:
        make(api, six)
    assert "the project's limit is reached" in str(caught.value)
    assert len(shape(api)["servers"]) == 2
    del api.state.limits["servers"]
    make(api, six)
    assert len(shape(api)["servers"]) == 6


def test_a_reason_shared_by_several_steps_is_reported_once(api: Api, six: ClusterDescription) -> None:
    api.faults.order(fault=401, method="POST", times=None)
    with pytest.raises(HetznerError) as caught:
        make(api, six)
    assert str(caught.value).count("the API rejects the token") == 1
    assert "5 of 12 steps failed" in str(caught.value)


def test_calls_to_a_busy_api_are_retried(api: Api, key: Path) -> None:
    for path in ("/networks", "/servers"):
        api.faults.order(fault=409, method="POST", path=path)
    make(api, described(key), retry_policy=PATIENT)
    assert len(shape(api)["servers"]) == 2


def test_a_call_waits_once_for_the_rate_limit(api: Api, key: Path) -> None:
    api.faults.order(fault=429, method="POST", path="/networks", seconds=2)
    started = time.time()
    make(api, described(key))
    assert time.time() - started >= 1
    assert [call.status for call in api.calls if call.path == "/networks" and call.write] == [429, 201]


def test_calls_that_wait_together_warn_once(api: Api, key: Path, caplog: pytest.LogCaptureFixture) -> None:
    api.faults.order(fault=429, method="GET", times=6, seconds=1)
    plan_servers(client_of(api), described(key))
    assert caplog.text.count("rate limit is reached; continuing at") == 1


def test_a_rate_limit_that_persists_ends_the_run(api: Api, key: Path) -> None:
    api.faults.order(fault=429, method="POST", path="/networks", times=None, seconds=0)
    with pytest.raises(HetznerError, match=r"hourly rate limit.*run this again after"):
        make(api, described(key))
    assert len([call for call in api.calls if call.path == "/networks" and call.write]) == 2


def test_a_reset_in_the_far_future_is_not_waited_for(api: Api, key: Path) -> None:
    api.faults.order(fault=429, method="GET", path="/networks", seconds=90000)
    with pytest.raises(HetznerError, match="reading networks: the API's hourly rate limit"):
        plan_servers(client_of(api), described(key))


def test_reads_are_retried(api: Api, key: Path) -> None:
    for fault in ("503", "drop-before"):
        api.faults.order(fault=fault, method="GET", path="/servers")
    plan_servers(client_of(api), described(key))


def test_waiting_for_an_action_has_a_deadline(tmp_path: Path, key: Path) -> None:
    impatient = RetryPolicy(busy=(), first_poll=0.01, deadline=0.05)
    with running(action_seconds=1) as api, pytest.raises(HetznerError, match="not finished after 0 s"):
        make(api, described(key), retry_policy=impatient)


def test_a_long_wait_says_what_it_waits_for(tmp_path: Path, key: Path) -> None:
    reports: list[str] = []
    with running(action_seconds=1) as api:
        client = client_of(api)
        plan = plan_servers(client, described(key))
        make_servers(client, plan, report=reports.append, retry_policy=replace(PATIENT, longest_silence=0.1))
    assert any(
        line.startswith("waiting for Hetzner to create server demo-") and "s so far" in line
        for line in reports
    )


def test_the_inventorys_cached_answer_is_removed(api: Api, key: Path) -> None:
    recorded = recorded_servers("demo")
    recorded.parent.mkdir(parents=True)
    recorded.write_text("{}")
    make(api, described(key))
    assert not recorded.exists()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "HCLOUD_TOKEN is not set in the environment; create one in the Hetzner Console"),
        ({"HCLOUD_TOKEN": "two words"}, "HCLOUD_TOKEN is malformed"),
        ({"HCLOUD_TOKEN": "t", "HCLOUD_ENDPOINT": "nowhere"}, "HCLOUD_ENDPOINT: 'nowhere' is not a URL"),
    ],
)
def test_a_wrong_environment_is_refused(environment: dict[str, str], words: str) -> None:
    with pytest.raises(HetznerError) as caught:
        connect(environment)
    assert words in str(caught.value)


def test_an_unreachable_api_is_reported(key: Path) -> None:
    client = connect({"HCLOUD_TOKEN": "t", "HCLOUD_ENDPOINT": "http://127.0.0.1:9"}, backoff=0)
    with pytest.raises(HetznerError, match=r"the API cannot be reached \(Connection refused\)"):
        plan_servers(client, described(key))
