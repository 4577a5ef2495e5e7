"""What etcd's majority allows: three control planes, each in every state that etcd can have it in."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from kubeadm_deploys import quorum
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.nodes import Topology
from tests.machines import A, B, C
from tests.simulation.decisions import Search, has_fix

NODES = (A, B, C)
TOPOLOGY = Topology(control_planes=NODES, workers=())
_ELSEWHERE = "192.168.0.9"


class InEtcd(Enum):
    """What etcd has of a control plane."""

    ABSENT = "no member"
    VOTER = "voter"
    LEARNER = "learner"
    NEVER_STARTED = "member that never started"
    OTHER_ADDRESS = "voter at another address"
    OTHER_NAME = "voter of another name"


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A control plane: what etcd has of it, whether that answers, and whether the machine can be reached."""

    etcd: InEtcd
    answers: bool
    reached: bool

    @property
    def votes(self) -> bool:
        """Whether it counts for the majority."""
        return self.etcd in (InEtcd.VOTER, InEtcd.OTHER_ADDRESS, InEtcd.OTHER_NAME)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuorumCase:
    """Three control planes, the last of which is to be joined; ``has_data`` is whether data of etcd are on it."""

    planes: tuple[Plane, ...]
    has_data: bool

    @property
    def voters(self) -> list[Plane]:
        """Those that vote."""
        return [plane for plane in self.planes if plane.votes]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuorumOutcome:
    """Why etcd has lost its majority, which members make room for the join or why none does, and why etcd is not yet
    ready for another member when they have gone.
    """

    lost: str
    gone: tuple[EtcdMember, ...]
    refusal: str
    unready: tuple[str, ...]
    may_leave: tuple[str, str, str]


PLANES = tuple(
    Plane(etcd=etcd, answers=answers, reached=reached)
    for etcd, answers, reached in itertools.product(InEtcd, (False, True), (False, True))
    # What does not vote yet answers nobody, and what cannot be reached does not either.
    if not (answers and (etcd in (InEtcd.ABSENT, InEtcd.NEVER_STARTED) or not reached))
)


def cases() -> Iterator[QuorumCase]:
    """All of them; in any order, since the last one is to be joined."""
    for planes in itertools.product(PLANES, repeat=3):
        for has_data in (False, True):
            yield QuorumCase(planes=planes, has_data=has_data)


def _member(position: int, plane: Plane) -> EtcdMember | None:
    node = NODES[position]
    if plane.etcd is InEtcd.ABSENT:
        return None
    return EtcdMember(
        id=f"id-{node.name}",
        name={InEtcd.NEVER_STARTED: "", InEtcd.OTHER_NAME: f"old-{node.name}"}.get(plane.etcd, node.name),
        peer_ip=_ELSEWHERE[:-1] + str(position) if plane.etcd is InEtcd.OTHER_ADDRESS else node.ip,
        learner=plane.etcd is InEtcd.LEARNER,
    )


def decide(case: QuorumCase) -> QuorumOutcome:
    """What the product decides."""
    pairs = [(_member(position, plane), plane) for position, plane in enumerate(case.planes)]
    etcd = tuple(member for member, _ in pairs if member)
    healthy = frozenset(member.peer_ip for member, plane in pairs if member and plane.answers)
    there = {
        member.peer_ip if member else node.ip
        for node, (member, plane) in zip(NODES, pairs, strict=True)
        if plane.reached
    }
    orphans = quorum.orphan_members(etcd, node=C, topology=TOPOLOGY, has_data=case.has_data)
    refusal = quorum.orphan_refusal(orphans, etcd=etcd, healthy=healthy)
    gone = () if refusal else tuple(orphans)
    remaining = tuple(member for member in etcd if member not in gone)
    a, b, c = (quorum.quorum_refusal(etcd, name=node.name, ip=node.ip, healthy=healthy) for node in NODES)
    return QuorumOutcome(
        lost=quorum.quorum_lost(members=etcd, there=there),
        gone=gone,
        refusal=refusal,
        unready=tuple(quorum.unready_members(remaining, healthy=healthy)),
        may_leave=(a, b, c),
    )


def lost_is_lost(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """etcd is said to have lost its majority exactly when at most half of its voters can be reached."""
    reached = sum(plane.reached for plane in case.voters)
    return bool(outcome.lost) is (bool(case.voters) and reached * 2 <= len(case.voters))


def a_majority_stays(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """A control plane may leave exactly when it has no vote, or most of the votes that stay answer."""
    for position, (plane, refusal) in enumerate(zip(case.planes, outcome.may_leave, strict=True)):
        others = (*case.planes[:position], *case.planes[position + 1 :])
        rest = [each for each in others if each.votes]
        answering = sum(each.answers for each in rest)
        if bool(refusal) is not (plane.votes and answering * 2 <= len(rest)):
            return False
    return True


def no_live_vote_makes_room(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """A join takes no vote out of etcd but that of the machine itself: without data of etcd, and not answering."""
    for plane, name in zip(case.planes, ("id-a", "id-b", "id-c"), strict=True):
        if not plane.votes or name not in {member.id for member in outcome.gone}:
            continue
        if name != "id-c" or case.has_data or plane.answers:
            return False
    return True


def room_keeps_a_majority(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """When a join takes a vote out of etcd, most of the votes that stay answer."""
    gone = {member.id for member in outcome.gone}
    if not any(
        plane.votes and f"id-{node.name}" in gone for node, plane in zip(NODES, case.planes, strict=True)
    ):
        return True
    rest = [
        plane
        for node, plane in zip(NODES, case.planes, strict=True)
        if plane.votes and f"id-{node.name}" not in gone
    ]
    return sum(plane.answers for plane in rest) * 2 > len(rest)


def only_a_whole_etcd_grows(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """etcd takes another member only when every one that stays votes and answers."""
    gone = {member.id for member in outcome.gone}
    rest = [
        plane
        for node, plane in zip(NODES, case.planes, strict=True)
        if plane.etcd is not InEtcd.ABSENT and f"id-{node.name}" not in gone
    ]
    return bool(outcome.unready) is not all(plane.votes and plane.answers for plane in rest)


def refusals_are_true(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """Who is said not to answer does not, and who is said not to be reachable is not."""
    for words in (*outcome.may_leave, outcome.refusal):
        if "last control plane" in words and len(case.voters) > 1:
            return False
        if silent := re.search(r"need \d+ of them, and (.*) do(es)? not answer", words):
            for name in silent[1].split(", "):
                if not name:
                    return False
                plane = case.planes["abc".index(name[-1])]
                if plane.answers or not plane.votes:
                    return False
    if gone := re.search(r"but (.*) cannot be reached", outcome.lost):
        return all(
            not plane.reached and plane.votes
            for name in gone[1].split(", ")
            for plane in [case.planes["abc".index(name[-1])]]
        )
    return True


def refusals_say_what_to_do(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """Every refusal says what to do about it."""
    return all(has_fix(words) for words in (*outcome.may_leave, outcome.refusal) if words)


QUORUM = Search(
    cases=cases,
    decide=decide,
    invariants=(
        lost_is_lost,
        a_majority_stays,
        no_live_vote_makes_room,
        room_keeps_a_majority,
        only_a_whole_etcd_grows,
        refusals_are_true,
        refusals_say_what_to_do,
    ),
)
