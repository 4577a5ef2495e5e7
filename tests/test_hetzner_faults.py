"""Every fault at every writing call of the two deploys: a clear message, and the next run completes the work.

A loop over all calls, not a sample, in this process and without waiting: the whole takes about a minute.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubeadm_deploys.hetzner.client import HetznerError
from kubeadm_deploys.hetzner.description import ClusterDescription
from tests.hetzner_cluster import (
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
from tests.lab.hetzner.server import Api, running

__all__ = ["api"]

Calls = list[tuple[str, str]]

# What a cluster with a load balancer takes: two control planes and one worker.
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

# What completes it again when everything was taken away that can be.
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


def each_fault_at(calls: Calls) -> list[Any]:
    """Every call, counted among its like, with every fault that it can meet."""
    return [
        pytest.param(method, path, calls[:index].count((method, path)), fault)
        for index, (method, path) in enumerate(calls)
        for fault in FAULTS
        if fault != "action-error" or _has_action(method, path)
    ]


def _has_action(method: str, path: str) -> bool:
    """Whether the call answers before its work is done."""
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
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an undisturbed run makes."""
    with running() as api:
        make(api, described(write_key(tmp_path_factory.mktemp("whole")), control_plane={"count": 2}))
        return shape(api)


def meet(
    api: Api, run: Callable[..., object], *, calls: Calls, call: tuple[str, str, int], fault: str
) -> str:
    """Let a run meet a fault at one of its calls; returns what it says."""
    method, path, number = call
    order_fault(api, fault, method=method, path=path, number=number)
    with pytest.raises(HetznerError) as caught:
        run(pace=IMPATIENT, read_timeout=2 if fault == "slow" else 10)
    wait_for_calls(api, method=method, path=path, count=calls.count((method, path)))
    api.faults.clear()
    message = str(caught.value)
    assert FAULTS[fault] in message
    # The actions that follow a failed one fail too, and say nothing new.
    assert message.count(FAULTS["action-error"]) <= 1
    assert "Done before and kept: " in message and "The same command goes on from there." in message
    return message


def test_the_loops_are_complete(api: Api, cluster: ClusterDescription, whole: dict[str, Any]) -> None:
    make(api, cluster)
    assert writes(api) == MAKING
    cripple(api)
    make(api, cluster)
    assert writes(api) == MENDING
    assert shape(api) == whole
    api.calls.clear()
    destroy(api)
    assert writes(api) == DESTROYING
    assert not any(shape(api).values())
    make(api, cluster)
    attach_by_hand(api)
    api.calls.clear()
    destroy(api)
    assert [call for call in writes(api) if "/detach" in call[1]] == DETACHING


@pytest.mark.parametrize(("method", "path", "number", "fault"), each_fault_at(MAKING))
def test_making(
    api: Api,
    cluster: ClusterDescription,
    whole: dict[str, Any],
    method: str,
    path: str,
    number: int,
    fault: str,
) -> None:
    meet(api, lambda **how: make(api, cluster, **how), calls=MAKING, call=(method, path, number), fault=fault)
    make(api, cluster)
    assert shape(api) == whole
    api.calls.clear()
    make(api, cluster)
    assert writes(api) == []


@pytest.mark.parametrize(("method", "path", "number", "fault"), each_fault_at(MENDING))
def test_mending(
    api: Api,
    cluster: ClusterDescription,
    whole: dict[str, Any],
    method: str,
    path: str,
    number: int,
    fault: str,
) -> None:
    make(api, cluster)
    cripple(api)
    meet(
        api, lambda **how: make(api, cluster, **how), calls=MENDING, call=(method, path, number), fault=fault
    )
    make(api, cluster)
    assert shape(api) == whole
    api.calls.clear()
    make(api, cluster)
    assert writes(api) == []


@pytest.mark.parametrize(("method", "path", "number", "fault"), each_fault_at(DESTROYING))
def test_destroying(
    api: Api, cluster: ClusterDescription, method: str, path: str, number: int, fault: str
) -> None:
    make(api, cluster)
    api.calls.clear()
    meet(api, lambda **how: destroy(api, **how), calls=DESTROYING, call=(method, path, number), fault=fault)
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
    meet(api, lambda **how: destroy(api, **how), calls=DETACHING, call=(method, path, number), fault=fault)
    destroy(api)
    assert [(volume.name, volume.server) for volume in api.state.volumes.values()] == [("customers", None)]
    assert [(one.name, one.networks) for one in api.state.load_balancers.values()] == [("shop", {})]
    assert not api.state.servers and not api.state.networks and not api.state.firewalls
    api.calls.clear()
    destroy(api)
    assert writes(api) == []
