"""Before a node is drained, the cluster's controllers have to run."""

from collections.abc import Iterator, Mapping
from typing import cast

import pytest
from pyinfra.api import Host
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster import draining
from kubeadm_deploys.facts.upgrade_state import ControllerLeases

MANAGER, SCHEDULER = "kube-controller-manager", "kube-scheduler"


class Leader:
    """A host that gives one answer after the other, the last one for ever."""

    def __init__(self, *answers: Mapping[str, str]) -> None:
        self.answers = answers
        self.asked = 0

    def answer(self, *_: object) -> Mapping[str, str]:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


def awaited(monkeypatch: pytest.MonkeyPatch, *answers: Mapping[str, str]) -> int:
    """Return how often the leases were read."""
    leader = Leader(*answers)
    clock: Iterator[int] = iter(range(100))
    monkeypatch.setattr(draining, "ask", leader.answer)
    monkeypatch.setattr(draining, "sleep", lambda seconds: None)
    monkeypatch.setattr("kubeadm_deploys.cluster.draining.time.monotonic", lambda: next(clock))
    draining.await_controllers(leader=cast(Host, None), seconds=10)
    return leader.asked


def test_both_have_to_renew_their_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    old = {MANAGER: "1", SCHEDULER: "1"}
    assert awaited(monkeypatch, old, {MANAGER: "2", SCHEDULER: "2"}) == 2
    # The scheduler is still waiting for the lease of the one before.
    assert awaited(monkeypatch, old, old, {MANAGER: "2", SCHEDULER: "1"}, {MANAGER: "3", SCHEDULER: "2"}) == 4


def test_a_component_without_a_lease_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert awaited(monkeypatch, {}) == 1
    assert awaited(monkeypatch, {MANAGER: "1"}, {MANAGER: "2"}) == 2


def test_the_one_that_does_not_run_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeployError, match=SCHEDULER) as raised:
        awaited(monkeypatch, *({MANAGER: str(number), SCHEDULER: "1"} for number in range(100)))
    assert MANAGER not in str(raised.value)


def test_the_leases_of_others_are_left_out() -> None:
    lines = [
        "apiserver-abc|2026-11-30T05:22:45.920231Z",
        f"{MANAGER}|2026-11-30T05:22:46.000000Z",
        f"{SCHEDULER}|",
    ]
    assert ControllerLeases().process(lines) == {MANAGER: "2026-11-30T05:22:46.000000Z", SCHEDULER: ""}
