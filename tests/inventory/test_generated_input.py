"""Any data becomes options, or one error that names every wrong field with its value and fix."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeadm_deploys.inventory.data import options_from_data, topology_from_inventory
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.options import ClusterOptions
from tests.support.generated_clusters import hosts, inventory, settings, topology_of
from tests.support.hypothesis_profile import few, many, some
from tests.support.node_strategies import NODE_FIELDS
from tests.support.strategies import ANYTHING, FIELDS, TEXT


def problems_of(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the problems of the data, none if it is valid."""
    try:
        assert isinstance(options_from_data(data), ClusterOptions)
    except InputError as error:
        assert error.problems
        assert all(problem in str(error) for problem in error.problems)
        return error.problems
    return ()


def fields_of(problems: Iterable[str]) -> list[str]:
    return sorted({problem.partition(": ")[0] for problem in problems})


def assert_helpful(problem: str, data: Mapping[str, Any]) -> None:
    """Check that a problem is one printable line of readable length, with field, value and fix."""
    assert problem.isprintable()
    assert len(problem) < 1000
    field, separator, rest = problem.partition(": ")
    assert separator
    if field in data and field in FIELDS:
        hidden = ["its value"] if field == "control_plane_files" else []
        assert any(rest.startswith(text) for text in (*written(data.get(field)), *hidden))
    _, separator, fix = rest.rpartition("; ")
    assert separator and fix.strip()


def written(value: object) -> list[str]:
    """Return the forms of a value in a message: its repr or, if it was parsed, its text."""
    try:
        if isinstance(value, str):
            value = redacted(value)
        texts = [redacted(repr(value))[:150]]
    except (ValueError, RecursionError):
        return [f"<{type(value).__name__} too big to show>"]
    if isinstance(value, str):
        texts += [value.removeprefix("v"), repr(str(Path(value)))[:150]]
    return [*texts, *(re.sub("://[^/@]+@", "://<redacted>@", text) for text in texts)]


def redacted(text: str) -> str:
    """Return the text without what may be user and password of a URL."""
    before, _, host = text.rpartition("@")
    return f"<redacted>@{host}" if ":" in before else text


def test_every_option_has_generated_values() -> None:
    assert set(FIELDS) == set(ClusterOptions.model_fields)


@many
@given(st.dictionaries(st.sampled_from(list(FIELDS)) | TEXT, ANYTHING, max_size=6))
def test_any_data_are_options_or_an_input_error(data: dict[str, Any]) -> None:
    for problem in problems_of(data):
        assert_helpful(problem, data)


@many
@given(settings())
def test_valid_settings_are_options(data: dict[str, Any]) -> None:
    assert problems_of(data) == ()


@pytest.mark.parametrize("field", FIELDS)
@few
@given(data=st.data())
def test_only_the_wrong_value_is_reported(field: str, data: st.DataObject) -> None:
    wrong = {field: data.draw(FIELDS[field].wrong)}
    problems = problems_of(wrong)
    assert fields_of(problems) == [field]
    for problem in problems:
        assert_helpful(problem, wrong)


@many
@given(settings(), st.data())
def test_all_wrong_values_are_reported_at_once(right: dict[str, Any], data: st.DataObject) -> None:
    fields = data.draw(st.lists(st.sampled_from(list(FIELDS)), min_size=2, max_size=6, unique=True))
    wrong = {field: data.draw(FIELDS[field].wrong) for field in fields}
    assert fields_of(problems_of({**right, **wrong, "colour": "green"})) == sorted([*fields, "colour"])


@some
@given(settings(), st.data())
def test_valid_hosts_are_nodes(right: dict[str, Any], data: st.DataObject) -> None:
    options = ClusterOptions(**right)
    written_data = data.draw(hosts(most=options.max_nodes))
    nodes = topology_of(written_data, options).nodes
    assert [(node.name, node.ip) for node in nodes] == [
        (host["node_name"], host["node_ip"]) for host in written_data
    ]
    assert [(node.labels, node.taints, node.roles, node.kubelet_configuration) for node in nodes] == [
        (
            host.get("node_labels", {}),
            None if host.get("node_taints") is None else tuple(host["node_taints"]),
            tuple(host.get("node_roles", ())),
            host.get("node_kubelet_configuration", {}),
        )
        for host in written_data
    ]


@pytest.mark.parametrize("field", NODE_FIELDS)
@few
@given(data=st.data())
def test_only_the_wrong_value_of_a_host_is_reported(field: str, data: st.DataObject) -> None:
    written_data = data.draw(hosts(most=5))
    place = data.draw(st.integers(0, len(written_data) - 1))
    written_data[place][field] = data.draw(NODE_FIELDS[field].wrong)
    with pytest.raises(InputError) as error:
        topology_of(written_data, ClusterOptions())
    (problem,) = error.value.problems
    assert problem.startswith(f"{field}: ")
    assert f" of host host-{place} " in problem
    assert_helpful(problem, {})


@few
@given(st.lists(st.dictionaries(st.sampled_from(list(NODE_FIELDS)), ANYTHING), max_size=3), st.integers(0, 3))
def test_any_hosts_are_nodes_or_an_input_error(data: list[dict[str, Any]], workers: int) -> None:
    try:
        topology_from_inventory(inventory(data, workers=min(workers, len(data))), options=ClusterOptions())
    except InputError as error:
        for problem in error.problems:
            assert_helpful(problem, {"pod_subnet": "10.244.0.0/16"})
