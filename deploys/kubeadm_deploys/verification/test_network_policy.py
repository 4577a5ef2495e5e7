"""NetworkPolicies block and allow connections on every node.

Two pods on the same node and two on the next node connect to each node's guarded pod: the clients, which no
rule allows, and the servers, which the second policy allows.
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
    """A connection to a node's guarded pod from the pod of a role."""

    target_node: str
    source_node: str
    role: str


Verdicts = Mapping[Attempt, str]
"""The reason why each attempt failed; empty if it succeeded."""


@dataclass(frozen=True, kw_only=True)
class Observed:
    """Verdicts without a policy, with one that denies all, and with a second one that allows the servers."""

    free: Verdicts
    denied: Verdicts
    allowed: Verdicts


@pytest.fixture(scope="module")
def observed(traffic: Traffic) -> Observed:
    """Try all nodes at once, and wait until each policy takes effect everywhere."""
    free = _watch(traffic, reaches=lambda attempt: True)
    traffic.cluster.create([policy(traffic.namespace, name="deny-all", ingress=[])])
    denied = _watch(traffic, reaches=lambda attempt: False)
    servers = {"from": [{"podSelector": {"matchLabels": {ROLE_LABEL: SERVER}}}]}
    traffic.cluster.create([policy(traffic.namespace, name="allow-servers", ingress=[servers])])
    allowed = _watch(traffic, reaches=lambda attempt: attempt.role == SERVER)
    return Observed(free=free, denied=denied, allowed=allowed)


def policy(namespace: str, *, name: str, ingress: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a NetworkPolicy for the guarded pods."""
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


def test_policy_that_allows_a_label_admits_its_pods(observed: Observed, machine: Machine) -> None:
    verdicts = _from(SERVER, _of(machine, observed.allowed))
    assert set(verdicts.values()) == {""}, verdicts


def test_policy_that_allows_a_label_blocks_the_others(observed: Observed, machine: Machine) -> None:
    verdicts = _from(CLIENT, _of(machine, observed.allowed))
    assert verdicts and all(verdicts.values()), verdicts


def _of(machine: Machine, verdicts: Verdicts) -> Verdicts:
    return {
        attempt: verdict for attempt, verdict in verdicts.items() if attempt.target_node == machine.node_name
    }


def _from(role: str, verdicts: Verdicts) -> Verdicts:
    return {attempt: verdict for attempt, verdict in verdicts.items() if attempt.role == role}


def _watch(traffic: Traffic, *, reaches: Callable[[Attempt], bool]) -> Verdicts:
    """Try until all verdicts are as expected or the time is up; return the last verdicts."""
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
