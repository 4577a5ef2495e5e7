"""Faults at every writing call of the two deploys: a clear message, and the next run completes the work.

A call with a fault has no effect, its full effect, or an action that fails. Every call meets one fault of
each of these kinds, and one call of each deploy meets every fault.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeadm_deploys.hetzner.api.client import HetznerError
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from tests.lab.hetzner.server import Api, running
from tests.support.hetzner_cluster import (
    FAULTS,
    IMPATIENT,
    api,
    attach_by_hand,
    cripple,
    described,
    destroy,
    make,
    order_fault,
    shape,
    wait_for_calls,
    write_key,
    writes,
)

__all__ = ["api"]

Calls = list[tuple[str, str]]

# Calls that create a cluster with a load balancer: two control planes and one worker.
MAKING = [
    ("POST", "/firewalls"),
    ("POST", "/load_balancers"),
    ("POST", "/networks"),
    ("POST", "/placement_groups"),
    ("POST", "/placement_groups"),
    ("POST", "/servers"),
    ("POST", "/servers"),
    ("POST", "/servers"),
    ("POST", "/ssh_keys"),
]

# Calls that repair it after ``cripple``.
MENDING = [
    ("POST", "/firewalls/*/actions/apply_to_resources"),
    ("POST", "/firewalls/*/actions/set_rules"),
    ("POST", "/load_balancers/*/actions/add_service"),
    ("POST", "/load_balancers/*/actions/add_target"),
    ("POST", "/load_balancers/*/actions/attach_to_network"),
    ("POST", "/networks/*/actions/add_subnet"),
    ("POST", "/servers/*/actions/attach_to_network"),
    ("POST", "/servers/*/actions/attach_to_network"),
    ("POST", "/servers/*/actions/attach_to_network"),
]

DESTROYING = [
    ("DELETE", "/firewalls/*"),
    ("DELETE", "/load_balancers/*"),
    ("DELETE", "/networks/*"),
    ("DELETE", "/placement_groups/*"),
    ("DELETE", "/placement_groups/*"),
    ("DELETE", "/servers/*"),
    ("DELETE", "/servers/*"),
    ("DELETE", "/servers/*"),
    ("DELETE", "/ssh_keys/*"),
    ("POST", "/firewalls/*/actions/remove_from_resources"),
]

DETACHING = [
    ("POST", "/load_balancers/*/actions/detach_from_network"),
    ("POST", "/volumes/*/actions/detach"),
]


KINDS = {"503", "drop-after", "action-error"}
"""A fault of each kind: without effect, with full effect, and with an action that fails."""


def each_fault_at(calls: Calls) -> list[Any]:
    """Return every call with a fault of each kind, and the first call that has an action with all faults."""
    first = next(index for index, call in enumerate(calls) if _has_action(*call))
    return [
        pytest.param(method, path, calls[:index].count((method, path)), fault)
        for index, (method, path) in enumerate(calls)
        for fault in FAULTS
        if (index == first or fault in KINDS) and (fault != "action-error" or _has_action(method, path))
    ]


def _has_action(method: str, path: str) -> bool:
    """Return whether the call answers before its work is done."""
    return "/actions/" in path or f"{method} {path}" in (
        "POST /firewalls",
        "POST /load_balancers",
        "POST /servers",
        "DELETE /servers/*",
    )


@pytest.fixture
def cluster(tmp_path: Path) -> ClusterDescription:
    return described(write_key(tmp_path), control_plane={"count": 2})


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the project after a run without faults."""
    with running() as api:
        make(api, described(write_key(tmp_path_factory.mktemp("undisturbed")), control_plane={"count": 2}))
        return shape(api)


def run_with_fault(
    api: Api, run: Callable[..., object], *, calls: Calls, call: tuple[str, str, int], fault: str
) -> str:
    """Make one of a run's calls fail; check and return the error message."""
    method, path, number = call
    order_fault(api, fault, method=method, path=path, number=number)
    with pytest.raises(HetznerError) as caught:
        run(retry_policy=IMPATIENT, read_timeout=1 if fault == "slow" else 10)
    wait_for_calls(api, method=method, path=path, count=calls.count((method, path)))
    api.faults.clear()
    message = str(caught.value)
    assert FAULTS[fault] in message
    # Actions after a failed one fail too, without new information.
    assert message.count(FAULTS["action-error"]) <= 1
    assert "Done and kept: " in message and "Run the same command again" in message
    return message


def test_the_lists_of_calls_are_complete(
    api: Api, cluster: ClusterDescription, undisturbed: dict[str, Any]
) -> None:
    make(api, cluster)
    assert writes(api) == MAKING
    cripple(api)
    make(api, cluster)
    assert writes(api) == MENDING
    assert shape(api) == undisturbed
    api.calls.clear()
    destroy(api)
    assert writes(api) == DESTROYING
    assert not any(shape(api).values())
    make(api, cluster)
    attach_by_hand(api)
    api.calls.clear()
    destroy(api)
    assert [call for call in writes(api) if "/detach" in call[1]] == DETACHING


def assert_the_next_run_completes_it(
    api: Api, cluster: ClusterDescription, undisturbed: dict[str, Any]
) -> None:
    make(api, cluster)
    assert shape(api) == undisturbed
    api.calls.clear()
    make(api, cluster)
    assert writes(api) == []


@pytest.mark.parametrize(("method", "path", "number", "fault"), each_fault_at(MAKING))
def test_making(
    api: Api,
    cluster: ClusterDescription,
    undisturbed: dict[str, Any],
    method: str,
    path: str,
    number: int,
    fault: str,
) -> None:
    run_with_fault(
        api,
        lambda **settings: make(api, cluster, **settings),
        calls=MAKING,
        call=(method, path, number),
        fault=fault,
    )
    assert_the_next_run_completes_it(api, cluster, undisturbed)


@pytest.mark.parametrize(("method", "path", "number", "fault"), each_fault_at(MENDING))
def test_mending(
    api: Api,
    cluster: ClusterDescription,
    undisturbed: dict[str, Any],
    method: str,
    path: str,
    number: int,
    fault: str,
) -> None:
    make(api, cluster)
    cripple(api)
    run_with_fault(
        api,
        lambda **settings: make(api, cluster, **settings),
        calls=MENDING,
        call=(method, path, number),
        fault=fault,
    )
    assert_the_next_run_completes_it(api, cluster, undisturbed)


@pytest.mark.parametrize(("method", "path", "number", "fault"), each_fault_at(DESTROYING))
def test_destroying(
    api: Api, cluster: ClusterDescription, method: str, path: str, number: int, fault: str
) -> None:
    make(api, cluster)
    api.calls.clear()
    run_with_fault(
        api,
        lambda **settings: destroy(api, **settings),
        calls=DESTROYING,
        call=(method, path, number),
        fault=fault,
    )
    destroy(api)
    assert not any(shape(api).values())
    api.calls.clear()
    destroy(api)
    assert writes(api) == []


@pytest.mark.parametrize(("method", "path", "number", "fault"), each_fault_at(DETACHING))
def test_detaching_what_is_kept(
    api: Api, cluster: ClusterDescription, method: str, path: str, number: int, fault: str
) -> None:
    make(api, cluster)
    attach_by_hand(api)
    api.calls.clear()
    run_with_fault(
        api,
        lambda **settings: destroy(api, **settings),
        calls=DETACHING,
        call=(method, path, number),
        fault=fault,
    )
    destroy(api)
    assert [(volume.name, volume.server) for volume in api.state.volumes.values()] == [("customers", None)]
    assert [(balancer.name, balancer.networks) for balancer in api.state.load_balancers.values()] == [
        ("shop", {})
    ]
    assert not api.state.servers and not api.state.networks and not api.state.firewalls
    api.calls.clear()
    destroy(api)
    assert writes(api) == []
