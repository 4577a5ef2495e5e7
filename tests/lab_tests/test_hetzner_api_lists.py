"""The double's lists: label selectors, pages, order and filters."""

from typing import Any

import pytest

from tests.lab.hetzner.server import Api
from tests.support.hetzner_double import api, backend, call, client, make_server, refusal

__all__ = ["api", "backend", "client"]


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
def test_label_selectors_filter(client: Any, selector: str, names: str) -> None:
    if selector == "tier=":
        client.placement_groups.create(name="prod-empty", type="spread", labels={"tier": ""})
    client.placement_groups.create(name="prod", type="spread", labels={"env": "prod"})
    labels = {"env": "test", "tier": "web", "example.com/role": "control-plane"}
    client.placement_groups.create(name="both", type="spread", labels=labels)
    client.placement_groups.create(name="bare", type="spread")
    found = client.placement_groups.get_all(label_selector=selector)
    assert sorted(group.name for group in found) == names.split()


@pytest.mark.parametrize("selector", ["a=b=c", "a in b", "=b", "a,,b", "a b"])
def test_invalid_label_selector_is_refused(client: Any, selector: str) -> None:
    error = refusal(lambda: client.servers.get_all(label_selector=selector))
    assert error.code == "invalid_input"
    assert selector in error.message


def test_pages_have_at_most_50_entries(api: Api, client: Any) -> None:
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


def test_lists_are_sorted_as_requested(api: Api, client: Any) -> None:
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
