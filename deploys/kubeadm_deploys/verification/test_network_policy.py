"""NetworkPolicies block what they forbid and let through what they allow, on every node.

Each node's guarded pod is tried from two pods of its own node and two of the next: from the clients, which
no rule allows, and from the servers, which the second policy allows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from kubeadm_deploys.verification.cluster import in_parallel
from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.probes import refusal
from kubeadm_deploys.verification.traffic import CLIENT, GUARDED, ROLE_LABEL, SERVER, Traffic
from kubeadm_deploys.verification.waiting import SETTLING_TIME, watch


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A connection to the guarded pod of a node from a pod of a role."""

    target_node: str
    source_node: str
    role: str


Verdicts = Mapping[Attempt, str]
"""Why each attempt failed; empty for those that came through."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """The verdicts without a policy, with one that denies all, and with one more that allows the servers."""

    free: Verdicts
    denied: Verdicts
    allowed: Verdicts


@pytest.fixture(scope="module")
def observed(traffic: Traffic) -> Observed:
    """Try every node at once, and wait for each policy to take effect everywhere."""
    free = _watch(traffic, reaches=lambda attempt: True)
    traffic.cluster.create([policy(traffic.namespace, name="deny-all", ingress=[])])
    denied = _watch(traffic, reaches=lambda attempt: False)
    servers = {"from": [{"podSelector": {"matchLabels": {ROLE_LABEL: SERVER}}}]}
    traffic.cluster.create([policy(traffic.namespace, name="allow-servers", ingress=[servers])])
    allowed = _watch(traffic, reaches=lambda attempt: attempt.role == SERVER)
    return Observed(free=free, denied=denied, allowed=allowed)


def policy(namespace: str, *, name: str, ingress: list[dict[str, Any]]) -> dict[str, Any]:
    """A NetworkPolicy for the guarded pods."""
    spec = {
        "podSelector": {"matchLabels": {ROLE_LABEL: GUARDED}},
        "policyTypes": ["Ingress"],
        "ingress": ingress,
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def test_guarded_pod_is_reachable_without_a_policy(observed: Observed, machine: Machine) -> None:
    assert set(_of(machine, observed.free).values()) == {""}, observed.free


def test_policy_that_denies_all_blocks_every_pod(observed: Observed, machine: Machine) -> None:
    verdicts = _of(machine, observed.denied)
    assert verdicts and all(verdicts.values()), verdicts


def test_policy_that_allows_a_label_lets_its_pods_through(observed: Observed, machine: Machine) -> None:
    verdicts = {a: verdict for a, verdict in _of(machine, observed.allowed).items() if a.role == SERVER}
    assert set(verdicts.values()) == {""}, verdicts


def test_policy_that_allows_a_label_blocks_the_others(observed: Observed, machine: Machine) -> None:
    verdicts = {a: verdict for a, verdict in _of(machine, observed.allowed).items() if a.role == CLIENT}
    assert verdicts and all(verdicts.values()), verdicts


def _of(machine: Machine, verdicts: Verdicts) -> Verdicts:
    return {
        attempt: verdict for attempt, verdict in verdicts.items() if attempt.target_node == machine.node_name
    }


def _watch(traffic: Traffic, *, reaches: Callable[[Attempt], bool]) -> Verdicts:
    """Try until the verdicts are as they should be, or give those that are not when the time is up."""
    verdicts = {
        Attempt(target_node=node, source_node=source, role=role): "not tried"
        for node in traffic.nodes
        for source in dict.fromkeys((node, traffic.neighbour(node)))
        for role in (CLIENT, SERVER)
    }
    unsettled = list(verdicts)

    def try_unsettled() -> list[Attempt]:
        answers = in_parallel(lambda attempt: _try(traffic, attempt), unsettled)
        verdicts.update(zip(unsettled, answers, strict=True))
        unsettled[:] = [attempt for attempt in unsettled if reaches(attempt) is bool(verdicts[attempt])]
        return unsettled

    watch(try_unsettled, until=lambda left: not left, timeout=SETTLING_TIME)
    return verdicts


def _try(traffic: Traffic, attempt: Attempt) -> str:
    source = traffic.pod(attempt.role, attempt.source_node)
    target = traffic.pod(GUARDED, attempt.target_node)
    return refusal(traffic.cluster, source, target=f"{target.ip}:{target.http_port}")
