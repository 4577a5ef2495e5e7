"""The double's firewalls: which servers they cover, when they can be deleted, which rules are refused."""

from typing import Any

import pytest
from hcloud.firewalls import FirewallResource, FirewallResourceLabelSelector, FirewallRule

from tests.lab.hetzner.server import Api
from tests.support.hetzner_double import Recorder, api, backend, call, client, make_server, refusal

__all__ = ["api", "backend", "client"]


def selected_by(selector: str) -> FirewallResource:
    return FirewallResource(type="label_selector", label_selector=FirewallResourceLabelSelector(selector))


def rules_of(backend: Recorder, server: Any) -> list[str] | None:
    rules = backend.firewalls.get(server.id)
    return None if rules is None else [rule["port"] for rule in rules]


def tcp(port: str) -> FirewallRule:
    return FirewallRule(direction="in", protocol="tcp", port=port, source_ips=["0.0.0.0/0", "::/0"])


def wait_all(actions: Any) -> None:
    for action in actions:
        action.wait_until_finished()


def test_label_selector_also_covers_later_servers(client: Any, backend: Recorder) -> None:
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
    [firewall] = client.firewalls.get_all()
    covered = firewall.applied_to[0].applied_to_resources
    assert [one.server.id for one in covered] == [before.id, after.id]
    wait_all(answer.firewall.set_rules([tcp("22"), tcp("6443")]))
    assert rules_of(backend, after) == ["22", "6443"]


def test_firewall_is_deleted_only_if_it_applies_to_nothing(client: Any) -> None:
    server = make_server(client, "server", labels={"cluster": "demo"})
    firewall = client.firewalls.create(name="firewall", resources=[selected_by("cluster=demo")]).firewall
    assert refusal(firewall.delete).code == "resource_in_use"
    server_resource = FirewallResource(type="server", server=server)
    error = refusal(lambda: firewall.remove_from_resources([server_resource]))
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
def test_invalid_firewall_rule_is_refused(api: Api, rule: dict[str, Any]) -> None:
    status, _, answer = call(api, "POST", "/firewalls", {"name": "firewall", "rules": [rule]})
    assert (status, answer["error"]["code"]) == (422, "invalid_input")
