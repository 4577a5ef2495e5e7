"""Which of three control planes leads, whether a cluster exists, and whether one is created."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from kubeadm_deploys.cluster import api_leader, kubeadm_steps, membership
from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.cluster.kubeadm_steps import InitStep
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.model.findings import Finding, Severity
from kubeadm_deploys.model.nodes import Topology
from tests.simulation.decisions import Search, has_fix
from tests.simulation.decisions_machines import (
    BARE,
    BEGAN,
    DOWN,
    ENDPOINT,
    MEMBER,
    NOT_READ,
    OTHERS,
    OURS,
    READ,
    UNREACHABLE,
    Machine,
    Whose,
)
from tests.support.machines import A, B, C

NODES = (A, B, C)
TOPOLOGY = Topology(control_planes=NODES, workers=())
_ALL = frozenset(node.host for node in NODES)
_MACHINES = (*NOT_READ, *READ)
_READINGS = {
    (machine, node.host): machine.read(node, machine_id=f"m-{node.name}")
    for machine in _MACHINES
    for node in NODES
}

_NONE = ApiLeader(leader=A.host, exists=False)
_OUR_CLUSTER = ApiLeader(leader=A.host, exists=True, healthy=(A,), ca_certificate=OURS)
_ANOTHER = ApiLeader(leader=B.host, exists=True, healthy=(B,), ca_certificate=OTHERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaderCase:
    """The three control planes' machines, the hosts that have not failed, and the run's earlier decision."""

    machines: tuple[Machine, ...]
    able: frozenset[str] = _ALL
    before: ApiLeader | None = None

    @property
    def clusters(self) -> set[Whose]:
        """Owners of the clusters on the control planes."""
        return {machine.whose for machine in self.machines if machine.cluster}

    def on(self, host: str) -> Machine:
        """Return the machine of a host."""
        return next(machine for node, machine in zip(NODES, self.machines, strict=True) if node.host == host)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaderOutcome:
    """The leader, errors against the run, and the init step (None if there is no init)."""

    api_leader: ApiLeader
    refusals: tuple[Finding, ...]
    init: InitStep | None

    @property
    def creates(self) -> bool:
        """Whether the run creates a cluster."""
        return self.init is not None and not self.init.refusal and not self.refusals

    @property
    def goes_on(self) -> bool:
        """Whether the run works on an existing cluster."""
        return self.api_leader.exists and not self.api_leader.problem and not self.refusals


def cases() -> Iterator[LeaderCase]:
    """Yield three machines in any order; and in one order, with failed hosts and with earlier decisions."""
    for machines in itertools.product(_MACHINES, repeat=3):
        yield LeaderCase(machines=machines)
    able_hosts = [frozenset(hosts) for hosts in (_ALL - {A.host}, {C.host}, ())]
    for machines in itertools.combinations_with_replacement(_MACHINES, 3):
        for able in able_hosts:
            yield LeaderCase(machines=machines, able=able)
        for before in (_NONE, _OUR_CLUSTER, _ANOTHER):
            yield LeaderCase(machines=machines, before=before)


def decide(case: LeaderCase) -> LeaderOutcome:
    """Return the product's decision."""
    found = {
        node.host: _READINGS[machine, node.host] for node, machine in zip(NODES, case.machines, strict=True)
    }
    chosen = api_leader.choose_leader(TOPOLOGY, found=found, able=case.able, before=case.before)
    findings = membership.membership_findings(
        TOPOLOGY,
        api_leader=chosen,
        found=found,
        members=None if chosen.exists else ClusterMembersState(),
    )
    joining = [
        finding
        for node in NODES
        if not (chosen.exists or chosen.problem) and isinstance(state := found[node.host], KubeadmNodeState)
        for finding in membership.join_findings(
            TOPOLOGY,
            node=node,
            found=state,
            api_leader=chosen,
            members=ClusterMembersState(),
            endpoint=ENDPOINT,
        )
    ]
    leader = found[chosen.leader]
    return LeaderOutcome(
        api_leader=chosen,
        refusals=tuple(finding for finding in (*findings, *joining) if finding.severity is Severity.ERROR),
        init=(
            kubeadm_steps.init_step(leader, api_leader=chosen)
            if isinstance(leader, KubeadmNodeState) and not chosen.exists
            else None
        ),
    )


def no_cluster_beside_another(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """No cluster is created if a control plane has one, or if the run has seen one before."""
    existed = bool(case.before and case.before.exists)
    return not (outcome.creates and (existed or case.clusters))


def no_cluster_while_a_machine_is_unread(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """No cluster is created if any control plane could not be read."""
    return not outcome.creates or all(machine.reading for machine in case.machines)


def init_checks_on_its_own(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """An init itself refuses unread control planes and existing clusters, even if preflight did not run."""
    known = all(machine.reading for machine in case.machines) and not case.clusters
    return known or outcome.init is None or bool(outcome.init.refusal)


def no_cluster_on_a_joined_machine(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """No cluster is created on a machine whose kubelet has joined one, or that has a foreign etcd's data."""
    leader = case.on(outcome.api_leader.leader)
    joined = leader.kubelet and leader.words != _RUNS_NO_KUBELET
    return not (outcome.creates and (joined or leader.others_etcd))


_RUNS_NO_KUBELET = "init that ended before its kubelet ran"


def an_existing_cluster_is_recognised(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """A cluster exists if and only if a control plane has one, or the run has seen one before."""
    existed = bool(case.before and case.before.exists)
    return outcome.api_leader.exists is (existed or bool(case.clusters))


def the_leader_answers(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """A run uses only a control plane whose API server answers."""
    return not outcome.goes_on or case.on(outcome.api_leader.leader).serves


def healthy_means_the_api_answers(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """Only control planes whose API servers answer count as healthy; if the run continues, all of them do."""
    serving = tuple(node for node, machine in zip(NODES, case.machines, strict=True) if machine.serves)
    healthy = outcome.api_leader.healthy
    return set(healthy) <= set(serving) and (not outcome.goes_on or healthy == serving)


def two_clusters_are_never_mixed(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """A run does not continue if the inventory has control planes of different clusters."""
    return not (outcome.goes_on and len(case.clusters) > 1)


def the_cluster_stays_the_same(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """A run works on the cluster with which it began."""
    if not (case.before and case.before.exists and outcome.goes_on):
        return True
    whose = Whose.OURS if case.before.ca_certificate == OURS else Whose.OTHERS
    return case.on(outcome.api_leader.leader).whose is whose


def the_ca_is_known(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """No run continues without the cluster's CA certificate, which identifies foreign machines."""
    return not outcome.goes_on or bool(outcome.api_leader.ca_certificate)


def the_leader_can_act(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """A host that failed in this run leads only if no other control plane's API server answers."""
    able = [
        node
        for node, machine in zip(NODES, case.machines, strict=True)
        if machine.serves and node.host in case.able
    ]
    return not (outcome.goes_on and able) or outcome.api_leader.leader in case.able


def refusals_say_what_to_do(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """Every refusal names a machine, and says what was found on it and what to do."""
    sentences = [finding.sentence for finding in outcome.refusals]
    if outcome.api_leader.problem:
        sentences.append(outcome.api_leader.problem)
    return all(
        has_fix(words) and any(f" {node.name} " in f" {words}" or node.host in words for node in NODES)
        for words in sentences
    ) and all(finding.found and finding.fix for finding in outcome.refusals)


def refusals_are_true(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """Every statement in a refusal is true."""
    words = " | ".join(["", outcome.api_leader.problem, *(finding.found for finding in outcome.refusals)])
    for node, machine in zip(NODES, case.machines, strict=True):
        state = machine.reading
        for statement, true in (
            ("cannot be reached", state is None and not machine.reached),
            ("could not be read", state is None and machine.reached),
            ("has none", state is not None and not machine.cluster and not state.api),
            ("not ready", state is not None and state.api.startswith("not ready")),
            ("lacks the manifest", machine.cluster),
            ("has etcd data and no kubelet.conf", machine.data and not machine.kubelet),
            ("has no CA certificate", state is not None and not state.ca_certificate),
        ):
            if not true and f" {node.name} {statement}" in words:
                return False
    existed = bool(case.before and case.before.exists)
    return all(
        true
        for statement, true in (
            ("different clusters", len(case.clusters) > 1),
            ("no API server answers", not any(machine.serves for machine in case.machines)),
            ("can no longer be found", existed and not case.clusters),
            ("no control plane that answers has a cluster", not case.clusters),
            (
                "a different CA certificate than when this run began",
                existed and len(case.clusters - {_before(case)}) > 0,
            ),
        )
        if statement in words
    )


def _before(case: LeaderCase) -> Whose:
    return Whose.OURS if case.before and case.before.ca_certificate == OURS else Whose.OTHERS


def healthy_machines_are_not_refused(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """A run continues on a healthy cluster, and creates one on bare machines.

    Bare, failed or unreachable control planes beside the cluster do not matter, nor does an init that ended
    early.
    """
    machines = set(case.machines)
    if case.before or case.able != _ALL:
        return True
    if MEMBER in machines and machines <= {MEMBER, DOWN, BARE, UNREACHABLE}:
        return outcome.goes_on
    return not machines <= {BARE, BEGAN} or outcome.creates


LEADER = Search(
    cases=cases,
    decide=decide,
    invariants=(
        no_cluster_beside_another,
        no_cluster_while_a_machine_is_unread,
        init_checks_on_its_own,
        no_cluster_on_a_joined_machine,
        an_existing_cluster_is_recognised,
        the_leader_answers,
        healthy_means_the_api_answers,
        two_clusters_are_never_mixed,
        the_cluster_stays_the_same,
        the_ca_is_known,
        the_leader_can_act,
        refusals_say_what_to_do,
        refusals_are_true,
        healthy_machines_are_not_refused,
    ),
)


def cases_that_depend_on_order() -> Iterator[str]:
    """Yield cases in which the order decides more than which of several equal control planes leads."""
    for machines in itertools.combinations_with_replacement(_MACHINES, 3):
        results = {}
        for order in set(itertools.permutations(machines)):
            outcome = decide(LeaderCase(machines=order))
            chosen = outcome.api_leader
            results[chosen.exists, chosen.healthy == (), outcome.goes_on, outcome.creates] = order
        if len(results) > 1:
            yield f"{machines}: {results}"
