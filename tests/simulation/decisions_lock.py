"""Whether a run has the lock, and most control planes: those of the cluster, those of the inventory, and what these
answer.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

from kubeadm_deploys import membership, run_lock
from kubeadm_deploys.election import Election
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.findings import Finding, Severity
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.run_lock import Held, Holder, Vote, Voters
from tests.machines import A, B, C
from tests.simulation.decisions import Search
from tests.simulation.decisions_machines import MEMBER, OURS

NODES = (A, B, C)


class Plane(Enum):
    """What the cluster has of a control plane."""

    VOTER = "votes in etcd"
    RENAMED = "votes under another name"
    LABELLED = "has the label, and no vote yet"
    ABSENT = "is not one"


class Answer(Enum):
    """What a control plane answers that is asked for the lock."""

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
    """Three control planes and ``strangers`` that vote and that no inventory has; which of the three this one has, and
    what these answer. ``known`` is whether somebody could say who belongs to the cluster.
    """

    planes: tuple[Plane, ...]
    strangers: int
    listed: tuple[int, ...]
    answers: tuple[Answer, ...]
    known: bool = True

    @property
    def control_planes(self) -> int:
        """How many control planes the cluster has."""
        return self.strangers + sum(plane is not Plane.ABSENT for plane in self.planes)

    def answering(self, answer: Answer) -> int:
        """How many control planes of the cluster answer so."""
        return sum(
            given is answer and (self.planes[position] is not Plane.ABSENT or not self.known)
            for position, given in zip(self.listed, self.answers, strict=True)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class LockOutcome:
    """Whose lock counts, what is decided, and what preflight finds in the inventory."""

    voters: Voters
    majority: bool
    all_that_answer: bool
    problems: tuple[str, ...]
    findings: tuple[Finding, ...]


def cases() -> Iterator[LockCase]:
    """Every cluster of up to five control planes, under every inventory of up to three of them."""
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
    """What the product decides."""
    listed = tuple(NODES[position] for position in case.listed)
    serving = [node for node in listed if case.planes[NODES.index(node)] in (Plane.VOTER, Plane.RENAMED)]
    topology = Topology(control_planes=listed, workers=())
    elected = Election(
        leader=serving[0].host, exists=True, healthy=tuple(serving) if case.known else (), ca_certificate=OURS
    )
    members = _members(case.planes, case.strangers) if case.known else None
    voters = run_lock.lock_voters(topology, election=elected, members=members)
    votes = {node.host: _VOTES[answer] for node, answer in zip(listed, case.answers, strict=True)}
    findings = membership.membership_findings(
        topology,
        election=elected,
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


def most_control_planes_are_listed(case: LockCase, outcome: LockOutcome) -> bool:
    """An inventory without most of the control planes that vote is refused, and each one that it lacks is named."""
    voting = {f"stranger-{number}" for number in range(case.strangers)}
    lacking = voting | {
        f"{'old-' if plane is Plane.RENAMED else ''}{NODES[position].name}"
        for position, plane in enumerate(case.planes)
        if plane in (Plane.VOTER, Plane.RENAMED) and position not in case.listed
    }
    count = case.strangers + sum(plane in (Plane.VOTER, Plane.RENAMED) for plane in case.planes)
    refused = any(each.severity is Severity.DANGER for each in outcome.findings)
    named = all(any(name in each.found for each in outcome.findings) for name in lacking)
    return not case.known or (refused is (len(lacking) * 2 > count) and named)


def two_runs_cannot_both(case: LockCase, outcome: LockOutcome) -> bool:
    """A run with the majority has the lock of more than half of the cluster's control planes, so no other run has."""
    return not (case.known and outcome.majority) or (case.answering(Answer.GRANTED) * 2 > case.control_planes)


def each_counts_once(case: LockCase, outcome: LockOutcome) -> bool:
    """Every control plane of the cluster counts once, whether or not the inventory has it and whatever its name."""
    return not case.known or outcome.voters.count == case.control_planes


def unknown_is_not_absent(case: LockCase, outcome: LockOutcome) -> bool:
    """While nobody can say who belongs to the cluster, every control plane of the inventory counts."""
    return case.known or len(outcome.voters.listed) == len(case.listed)


def most_is_enough(case: LockCase, outcome: LockOutcome) -> bool:
    """A run whose lock most control planes have granted has it."""
    return case.answering(Answer.GRANTED) * 2 <= case.control_planes or outcome.majority


def nobody_is_passed_over(case: LockCase, outcome: LockOutcome) -> bool:
    """Who repairs a majority that is lost has the lock of every control plane that answers."""
    unwilling = case.answering(Answer.HELD) + case.answering(Answer.REFUSED)
    return not (outcome.all_that_answer and unwilling)


def nothing_granted_is_no_majority(case: LockCase, outcome: LockOutcome) -> bool:
    """A control plane that answers something else, or nothing, has granted no lock."""
    granted = case.answering(Answer.GRANTED)
    return bool(granted) or not outcome.majority


def every_missing_lock_is_named(case: LockCase, outcome: LockOutcome) -> bool:
    """Every control plane that has not granted the lock is named with its reason, also one that cannot be asked."""
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
        most_control_planes_are_listed,
        two_runs_cannot_both,
        each_counts_once,
        unknown_is_not_absent,
        most_is_enough,
        nobody_is_passed_over,
        nothing_granted_is_no_majority,
        every_missing_lock_is_named,
    ),
)
