"""What etcd's majority allows, with three control planes, each in every state in etcd."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from kubeadm_deploys.cluster import quorum
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.model.nodes import Topology
from tests.simulation.decisions import Search, has_fix
from tests.simulation.decisions_machines import InEtcd
from tests.support.machines import A, B, C

NODES = (A, B, C)
TOPOLOGY = Topology(control_planes=NODES, workers=())
_ELSEWHERE = "192.168.0.9"
_IN_ETCD = [state for state in InEtcd if state not in (InEtcd.TWO, InEtcd.NOT_READ)]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """A control plane's state in etcd; whether its member answers and its machine is reached and has data."""

    etcd: InEtcd
    answers: bool
    reached: bool
    data: bool

    @property
    def votes(self) -> bool:
        """Whether the member counts for the majority."""
        return self.etcd in (InEtcd.VOTER, InEtcd.OTHER_ADDRESS, InEtcd.OTHER_NAME)


@dataclass(frozen=True, kw_only=True, slots=True)
class QuorumCase:
    """Three control planes, of which the last is joined; ``has_data`` is whether it has data of etcd."""

    planes: tuple[Plane, ...]
    has_data: bool

    @property
    def voters(self) -> list[Plane]:
        """The voting control planes."""
        return [plane for plane in self.planes if plane.votes]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuorumOutcome:
    """The decisions about etcd.

    ``lost`` is why etcd has lost its majority. ``gone`` are the members that a join removes, ``refusal`` is
    why it may not. ``unready`` is why etcd may not get another member after that, and ``may_leave`` is why
    each control plane may not leave.
    """

    lost: str
    gone: tuple[EtcdMember, ...]
    refusal: str
    unready: tuple[str, ...]
    may_leave: tuple[str, str, str]


PLANES = tuple(
    Plane(etcd=etcd, answers=answers, reached=reached, data=data)
    for etcd, answers, reached, data in itertools.product(
        _IN_ETCD, (False, True), (False, True), (False, True)
    )
    # A member that never started, an unreachable one and one without data do not answer. The data of an
    # unreachable machine cannot be seen, and that of a machine without a vote does not matter.
    if not (answers and (etcd in (InEtcd.ABSENT, InEtcd.NEVER_STARTED) or not reached))
    and (
        data
        or (reached and not answers and etcd not in (InEtcd.ABSENT, InEtcd.NEVER_STARTED, InEtcd.LEARNER))
    )
)


def cases() -> Iterator[QuorumCase]:
    """Yield all combinations, in any order, since the last control plane is joined."""
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
    """Return the product's decision."""
    pairs = [(_member(position, plane), plane) for position, plane in enumerate(case.planes)]
    etcd = tuple(member for member, _ in pairs if member)
    healthy = frozenset(member.peer_ip for member, plane in pairs if member and plane.answers)
    reached = {
        member.peer_ip if member else node.ip: plane
        for node, (member, plane) in zip(NODES, pairs, strict=True)
        if plane.reached
    }
    with_data = {ip for ip, plane in reached.items() if plane.data}
    orphans = quorum.orphan_members(etcd, node=C, topology=TOPOLOGY, has_data=case.has_data)
    refusal = quorum.orphan_refusal(orphans, etcd=etcd, healthy=healthy)
    gone = () if refusal else tuple(orphans)
    remaining = tuple(member for member in etcd if member not in gone)
    a, b, c = (quorum.quorum_refusal(etcd, name=node.name, ip=node.ip, healthy=healthy) for node in NODES)
    return QuorumOutcome(
        lost=quorum.quorum_lost(members=etcd, reached=reached, with_data=with_data),
        gone=gone,
        refusal=refusal,
        unready=tuple(quorum.unready_members(remaining, healthy=healthy)),
        may_leave=(a, b, c),
    )


def quorum_loss_is_recognised(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """etcd has lost its majority if and only if at most half of its voters are reached and have its data."""
    left = sum(plane.reached and plane.data for plane in case.voters)
    return bool(outcome.lost) is (bool(case.voters) and left * 2 <= len(case.voters))


def a_removal_keeps_a_majority(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """A control plane may leave if and only if it has no vote or most of the remaining voters answer."""
    for position, (plane, refusal) in enumerate(zip(case.planes, outcome.may_leave, strict=True)):
        others = (*case.planes[:position], *case.planes[position + 1 :])
        rest = [other for other in others if other.votes]
        answering = sum(other.answers for other in rest)
        if bool(refusal) is not (plane.votes and answering * 2 <= len(rest)):
            return False
    return True


def a_join_removes_no_live_vote(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """A join removes only the machine's own vote, and only if it has no etcd data and its member is down."""
    for plane, name in zip(case.planes, ("id-a", "id-b", "id-c"), strict=True):
        if not plane.votes or name not in {member.id for member in outcome.gone}:
            continue
        if name != "id-c" or case.has_data or plane.answers:
            return False
    return True


def a_join_keeps_a_majority(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """If a join removes a vote, most of the remaining voters answer."""
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


def only_a_healthy_etcd_grows(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """etcd gets another member only if every remaining member votes and answers."""
    gone = {member.id for member in outcome.gone}
    rest = [
        plane
        for node, plane in zip(NODES, case.planes, strict=True)
        if plane.etcd is not InEtcd.ABSENT and f"id-{node.name}" not in gone
    ]
    return bool(outcome.unready) is not all(plane.votes and plane.answers for plane in rest)


def refusals_are_true(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """Members reported as silent, unreachable or without data are so."""
    for words in (*outcome.may_leave, outcome.refusal):
        if "last control plane" in words and len(case.voters) > 1:
            return False
        if silent := re.search(r"need \d+ of them, but (.*) do(es)? not answer", words):
            for name in silent[1].split(", "):
                if not name:
                    return False
                plane = case.planes["abc".index(name[-1])]
                if plane.answers or not plane.votes:
                    return False
    named = {
        statement: {case.planes["abc".index(name[-1])] for name in match[1].split(", ")} if match else set()
        for statement in ("cannot be reached", "ha(?:s|ve) no etcd data")
        for match in [re.search(rf"(?:but|and) ((?:[\w-]+, )*[\w-]+) {statement}", outcome.lost)]
    }
    unreached, empty = named.values()
    return all(not plane.reached and plane.votes for plane in unreached) and all(
        plane.reached and not plane.data and plane.votes for plane in empty
    )


def refusals_say_what_to_do(case: QuorumCase, outcome: QuorumOutcome) -> bool:
    """Every refusal says what to do."""
    return all(has_fix(words) for words in (*outcome.may_leave, outcome.refusal) if words)


QUORUM = Search(
    cases=cases,
    decide=decide,
    invariants=(
        quorum_loss_is_recognised,
        a_removal_keeps_a_majority,
        a_join_removes_no_live_vote,
        a_join_keeps_a_majority,
        only_a_healthy_etcd_grows,
        refusals_are_true,
        refusals_say_what_to_do,
    ),
)
