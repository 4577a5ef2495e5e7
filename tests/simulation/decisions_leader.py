"""Who leads, whether there is a cluster, and whether one is created: three control planes, in every combination."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from kubeadm_deploys import election, kubeadm_steps, membership
from kubeadm_deploys.election import Election
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.findings import Finding, Severity
from kubeadm_deploys.kubeadm_steps import InitStep
from kubeadm_deploys.nodes import Topology
from tests.machines import A, B, C
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

NODES = (A, B, C)
TOPOLOGY = Topology(control_planes=NODES, workers=())
_ALL = frozenset(node.host for node in NODES)
_MACHINES = (*NOT_READ, *READ)
_READINGS = {
    (machine, node.host): machine.read(node, machine_id=f"m-{node.name}")
    for machine in _MACHINES
    for node in NODES
}

_NONE = Election(leader=A.host, exists=False)
_OUR_CLUSTER = Election(leader=A.host, exists=True, healthy=(A,), ca_certificate=OURS)
_ANOTHER = Election(leader=B.host, exists=True, healthy=(B,), ca_certificate=OTHERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaderCase:
    """What is on the three control planes, hosts that can still be told to do something, and what the run knew."""

    machines: tuple[Machine, ...]
    able: frozenset[str] = _ALL
    before: Election | None = None

    @property
    def clusters(self) -> set[Whose]:
        """Whose control planes there are."""
        return {machine.whose for machine in self.machines if machine.cluster}

    def on(self, host: str) -> Machine:
        """What is on a host."""
        return next(machine for node, machine in zip(NODES, self.machines, strict=True) if node.host == host)


@dataclass(frozen=True, kw_only=True, slots=True)
class LeaderOutcome:
    """What is decided: the election, what is found against the run, and what an init does (None: there is none)."""

    election: Election
    refusals: tuple[Finding, ...]
    init: InitStep | None

    @property
    def creates(self) -> bool:
        """Whether the run creates a cluster."""
        return self.init is not None and not self.init.refusal and not self.refusals

    @property
    def goes_on(self) -> bool:
        """Whether the run works on a cluster that is there."""
        return self.election.exists and not self.election.problem and not self.refusals


def cases() -> Iterator[LeaderCase]:
    """Three machines in any order; and in one order, with hosts that have failed and with what the run knew before."""
    for machines in itertools.product(_MACHINES, repeat=3):
        yield LeaderCase(machines=machines)
    unable = [frozenset(hosts) for hosts in (_ALL - {A.host}, {C.host}, ())]
    for machines in itertools.combinations_with_replacement(_MACHINES, 3):
        for able in unable:
            yield LeaderCase(machines=machines, able=able)
        for before in (_NONE, _OUR_CLUSTER, _ANOTHER):
            yield LeaderCase(machines=machines, before=before)


def decide(case: LeaderCase) -> LeaderOutcome:
    """What the product decides."""
    found = {
        node.host: _READINGS[machine, node.host] for node, machine in zip(NODES, case.machines, strict=True)
    }
    elected = election.elect(TOPOLOGY, found=found, able=case.able, before=case.before)
    findings = membership.membership_findings(
        TOPOLOGY,
        election=elected,
        found=found,
        members=None if elected.exists else ClusterMembersState(),
    )
    joining = [
        finding
        for node in NODES
        if not (elected.exists or elected.problem) and isinstance(state := found[node.host], KubeadmNodeState)
        for finding in membership.join_findings(
            TOPOLOGY,
            node=node,
            found=state,
            election=elected,
            members=ClusterMembersState(),
            endpoint=ENDPOINT,
        )
    ]
    leader = found[elected.leader]
    return LeaderOutcome(
        election=elected,
        refusals=tuple(each for each in (*findings, *joining) if each.severity is Severity.DANGER),
        init=(
            kubeadm_steps.init_step(leader, election=elected)
            if isinstance(leader, KubeadmNodeState) and not elected.exists
            else None
        ),
    )


def no_cluster_beside_another(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """No cluster is created while a control plane holds one, or when the run has seen one before."""
    existed = bool(case.before and case.before.exists)
    return not (outcome.creates and (existed or case.clusters))


def no_cluster_beside_the_unknown(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """No cluster is created while what is on any control plane is not known."""
    return not outcome.creates or all(machine.reading for machine in case.machines)


def init_asks_for_itself(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """An init refuses by itself what is not known or exists, also where no preflight has."""
    known = all(machine.reading for machine in case.machines) and not case.clusters
    return known or outcome.init is None or bool(outcome.init.refusal)


def no_node_becomes_a_cluster(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """No cluster is created on a machine whose kubelet has joined one, or that has another etcd's data."""
    leader = case.on(outcome.election.leader)
    joined = leader.kubelet and leader.words != _RUNS_NO_KUBELET
    return not (outcome.creates and (joined or leader.others_etcd))


_RUNS_NO_KUBELET = "init that ended before its kubelet ran"


def a_cluster_is_seen(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """There is a cluster exactly when a control plane holds one, or one was there before in this run."""
    existed = bool(case.before and case.before.exists)
    return outcome.election.exists is (existed or bool(case.clusters))


def leader_answers(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """A run works only through a control plane whose API server answers."""
    return not outcome.goes_on or case.on(outcome.election.leader).serves


def only_what_answers_is_healthy(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """No control plane counts as healthy whose API server does not answer, and none is left out of a run that goes on."""
    serving = tuple(node for node, machine in zip(NODES, case.machines, strict=True) if machine.serves)
    healthy = outcome.election.healthy
    return set(healthy) <= set(serving) and (not outcome.goes_on or healthy == serving)


def two_clusters_are_never_one(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """A run does not go on while control planes of different clusters are in the inventory."""
    return not (outcome.goes_on and len(case.clusters) > 1)


def the_cluster_stays_the_same(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """The cluster with which a run began is the one on which it works."""
    if not (case.before and case.before.exists and outcome.goes_on):
        return True
    whose = Whose.OURS if case.before.ca_certificate == OURS else Whose.OTHERS
    return case.on(outcome.election.leader).whose is whose


def the_ca_is_known(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """No run goes on without the cluster's CA certificate: nothing would then show which machines are another's."""
    return not outcome.goes_on or bool(outcome.election.ca_certificate)


def the_leader_can_act(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """A host that has failed in this run leads only where no other can whose API server answers."""
    able = [
        node
        for node, machine in zip(NODES, case.machines, strict=True)
        if machine.serves and node.host in case.able
    ]
    return not (outcome.goes_on and able) or outcome.election.leader in case.able


def refusals_say_what_to_do(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """Every refusal names a machine, says what was seen on it, and what to do."""
    sentences = [each.sentence for each in outcome.refusals]
    if outcome.election.problem:
        sentences.append(outcome.election.problem)
    return all(
        has_fix(words) and any(f" {node.name} " in f" {words}" or node.host in words for node in NODES)
        for words in sentences
    ) and all(each.found and each.cure for each in outcome.refusals)


def refusals_are_true(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """What a refusal says of a machine is so."""
    words = " | ".join(["", outcome.election.problem, *(each.found for each in outcome.refusals)])
    for node, machine in zip(NODES, case.machines, strict=True):
        state = machine.reading
        for said, true in (
            ("cannot be reached", state is None and not machine.reached),
            ("could not be read", state is None and machine.reached),
            ("has none", state is not None and not machine.cluster and not state.api),
            ("not ready", state is not None and state.api.startswith("not ready")),
            ("lacks the manifest", machine.cluster),
            ("has etcd data and no kubelet.conf", machine.data and not machine.kubelet),
            ("has no CA certificate", state is not None and not state.ca_certificate),
        ):
            if not true and f" {node.name} {said}" in words:
                return False
    existed = bool(case.before and case.before.exists)
    return all(
        true
        for said, true in (
            ("different clusters", len(case.clusters) > 1),
            ("no API server answers", not any(machine.serves for machine in case.machines)),
            ("cannot be found any more", existed and not case.clusters),
            ("no control plane that answers has a cluster", not case.clusters),
            (
                "another CA certificate than at the beginning",
                existed and len(case.clusters - {_before(case)}) > 0,
            ),
        )
        if said in words
    )


def _before(case: LeaderCase) -> Whose:
    return Whose.OURS if case.before and case.before.ca_certificate == OURS else Whose.OTHERS


def what_is_whole_goes_on(case: LeaderCase, outcome: LeaderOutcome) -> bool:
    """What is well is not refused: control planes of one cluster one of which answers, beside bare machines; and a first
    init on bare machines, or where one ended early.
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
        no_cluster_beside_the_unknown,
        init_asks_for_itself,
        no_node_becomes_a_cluster,
        a_cluster_is_seen,
        leader_answers,
        only_what_answers_is_healthy,
        two_clusters_are_never_one,
        the_cluster_stays_the_same,
        the_ca_is_known,
        the_leader_can_act,
        refusals_say_what_to_do,
        refusals_are_true,
        what_is_whole_goes_on,
    ),
)


def order_decides_something_else() -> Iterator[str]:
    """Cases in which the order of the control planes decides more than who leads among equals."""
    for machines in itertools.combinations_with_replacement(_MACHINES, 3):
        seen = {}
        for order in set(itertools.permutations(machines)):
            outcome = decide(LeaderCase(machines=order))
            elected = outcome.election
            seen[elected.exists, elected.healthy == (), outcome.goes_on, outcome.creates] = order
        if len(seen) > 1:
            yield f"{machines}: {seen}"
