"""Whether a run has the lock, and whether the inventory has most of the cluster's control planes."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

from kubeadm_deploys.cluster import membership
from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.model.findings import Finding, Severity
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.run import run_lock
from kubeadm_deploys.run.run_lock import Held, Holder, Vote, Voters
from tests.simulation.decisions import Search
from tests.simulation.decisions_machines import MEMBER, OURS
from tests.support.machines import A, B, C

NODES = (A, B, C)


class Plane(Enum):
    """A control plane's state in the cluster."""

    VOTER = "votes in etcd"
    RENAMED = "votes under another name"
    LABELLED = "has the label, and no vote yet"
    ABSENT = "is not one"


class Answer(Enum):
    """A control plane's answer to a request for the lock."""

    GRANTED = "granted"
    HELD = "another run has it"
    REFUSED = "answers, and cannot"
    SILENT = "cannot be reached"


_VOTES = {
    Answer.GRANTED: Vote(),
    Answer.HELD: Vote(held=Held(holder=Holder(run="x", who="ann@x", what="cluster.py"), age=5, remaining=60)),
    Answer.REFUSED: Vote(problem="lslocks shows which"),
    Answer.SILENT: Vote(problem="no route to host", reached=False),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LockCase:
    """Three control planes, those of them that are ``listed`` in the inventory, and their ``answers``.

    ``strangers`` is the number of further voters, which are in no inventory. ``known`` is whether the
    cluster's members could be read.
    """

    planes: tuple[Plane, ...]
    strangers: int
    listed: tuple[int, ...]
    answers: tuple[Answer, ...]
    known: bool = True

    @property
    def control_planes(self) -> int:
        """The number of the cluster's control planes."""
        return self.strangers + sum(plane is not Plane.ABSENT for plane in self.planes)

    def answering(self, answer: Answer) -> int:
        """Return how many control planes of the cluster give this answer."""
        return sum(
            listed_answer is answer and (self.planes[position] is not Plane.ABSENT or not self.known)
            for position, listed_answer in zip(self.listed, self.answers, strict=True)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LockOutcome:
    """The control planes whose locks count, the decision, and preflight's findings."""

    voters: Voters
    majority: bool
    all_that_answer: bool
    problems: tuple[str, ...]
    findings: tuple[Finding, ...]


def cases() -> Iterator[LockCase]:
    """Yield every cluster of up to five control planes with every inventory of up to three of them."""
    inventories = [listed for count in (1, 2, 3) for listed in itertools.combinations(range(3), count)]
    for planes, strangers, listed in itertools.product(
        itertools.product(Plane, repeat=3), (0, 1, 2), inventories
    ):
        for answers in itertools.product(Answer, repeat=len(listed)):
            if any(planes[position] in (Plane.VOTER, Plane.RENAMED) for position in listed):
                yield LockCase(planes=planes, strangers=strangers, listed=listed, answers=answers)
            if strangers == 0 and set(planes) == {Plane.VOTER}:
                yield LockCase(
                    planes=planes, strangers=strangers, listed=listed, answers=answers, known=False
                )


@cache
def _members(planes: tuple[Plane, ...], strangers: int) -> ClusterMembersState:
    nodes = {}
    etcd = []
    for node, plane in zip(NODES, planes, strict=True):
        name = f"old-{node.name}" if plane is Plane.RENAMED else node.name
        if plane in (Plane.VOTER, Plane.RENAMED):
            etcd.append(EtcdMember(id=node.name, name=name, peer_ip=node.ip))
        if plane is not Plane.ABSENT:
            nodes[name] = RegisteredNode(machine_id="m", control_plane=True)
    for number in range(strangers):
        name, ip = f"stranger-{number}", f"10.9.9.{number}"
        etcd.append(EtcdMember(id=name, name=name, peer_ip=ip))
        nodes[name] = RegisteredNode(machine_id="m", control_plane=True)
    return ClusterMembersState(etcd=tuple(etcd), nodes=nodes)


def decide(case: LockCase) -> LockOutcome:
    """Return the product's decision."""
    listed = tuple(NODES[position] for position in case.listed)
    serving = [node for node in listed if case.planes[NODES.index(node)] in (Plane.VOTER, Plane.RENAMED)]
    topology = Topology(control_planes=listed, workers=())
    leader = ApiLeader(
        leader=serving[0].host, exists=True, healthy=tuple(serving) if case.known else (), ca_certificate=OURS
    )
    members = _members(case.planes, case.strangers) if case.known else None
    voters = run_lock.lock_voters(topology, api_leader=leader, members=members)
    votes = {node.host: _VOTES[answer] for node, answer in zip(listed, case.answers, strict=True)}
    findings = membership.membership_findings(
        topology,
        api_leader=leader,
        found={node.host: MEMBER.read(node, machine_id="m") for node in listed},
        members=members,
    )
    return LockOutcome(
        voters=voters,
        majority=voters.majority(votes),
        all_that_answer=voters.all_that_answer(votes),
        problems=tuple(voters.problems(votes)),
        findings=tuple(findings),
    )


def an_inventory_lists_most_voters(case: LockCase, outcome: LockOutcome) -> bool:
    """An inventory that lacks most of the voting control planes is refused, and each missing one is named."""
    voting = {f"stranger-{number}" for number in range(case.strangers)}
    missing = voting | {
        f"{'old-' if plane is Plane.RENAMED else ''}{NODES[position].name}"
        for position, plane in enumerate(case.planes)
        if plane in (Plane.VOTER, Plane.RENAMED) and position not in case.listed
    }
    count = case.strangers + sum(plane in (Plane.VOTER, Plane.RENAMED) for plane in case.planes)
    refused = any(finding.severity is Severity.ERROR for finding in outcome.findings)
    named = all(any(name in finding.found for finding in outcome.findings) for name in missing)
    return not case.known or (refused is (len(missing) * 2 > count) and named)


def two_runs_never_both_hold_the_lock(case: LockCase, outcome: LockOutcome) -> bool:
    """A run with the majority holds the locks of more than half of the control planes; no other run can."""
    return not (case.known and outcome.majority) or (case.answering(Answer.GRANTED) * 2 > case.control_planes)


def each_control_plane_counts_once(case: LockCase, outcome: LockOutcome) -> bool:
    """Every control plane of the cluster counts once, whatever its name, in the inventory or not."""
    return not case.known or outcome.voters.count == case.control_planes


def unknown_members_count(case: LockCase, outcome: LockOutcome) -> bool:
    """While the cluster's members cannot be read, every control plane of the inventory counts."""
    return case.known or len(outcome.voters.listed) == len(case.listed)


def a_majority_is_enough(case: LockCase, outcome: LockOutcome) -> bool:
    """A run has the lock if most control planes have granted it."""
    return case.answering(Answer.GRANTED) * 2 <= case.control_planes or outcome.majority


def no_answering_control_plane_is_skipped(case: LockCase, outcome: LockOutcome) -> bool:
    """A run that repairs a lost majority holds the lock of every control plane that answers."""
    unwilling = case.answering(Answer.HELD) + case.answering(Answer.REFUSED)
    return not (outcome.all_that_answer and unwilling)


def a_majority_needs_grants(case: LockCase, outcome: LockOutcome) -> bool:
    """A control plane grants its lock only if it says so."""
    granted = case.answering(Answer.GRANTED)
    return bool(granted) or not outcome.majority


def every_missing_lock_is_reported(case: LockCase, outcome: LockOutcome) -> bool:
    """Every control plane that has not granted its lock is named with the reason, including unlisted ones."""
    names = [
        f"{NODES[position].name}: "
        for position, answer in zip(case.listed, case.answers, strict=True)
        if answer is not Answer.GRANTED and (case.planes[position] is not Plane.ABSENT or not case.known)
    ]
    if case.known:
        names += [f"stranger-{number}: " for number in range(case.strangers)]
    return all(any(problem.startswith(name) for problem in outcome.problems) for name in names)


LOCK = Search(
    cases=cases,
    decide=decide,
    invariants=(
        an_inventory_lists_most_voters,
        two_runs_never_both_hold_the_lock,
        each_control_plane_counts_once,
        unknown_members_count,
        a_majority_is_enough,
        no_answering_control_plane_is_skipped,
        a_majority_needs_grants,
        every_missing_lock_is_reported,
    ),
)
