"""Whether a node may leave, what of it is cleaned, and what etcd keeps: every target beside every rest of the cluster."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

from pyinfra.api.exceptions import DeployError

from kubeadm_deploys import quorum, removal
from kubeadm_deploys.election import Election
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.removal import Removal
from tests.machines import A, B, C, W
from tests.simulation.decisions import Search, has_fix
from tests.simulation.decisions_machines import ENDPOINT, OURS, READ, UNREACHABLE, Machine, Whose

TOPOLOGY = Topology(control_planes=(A, B, C), workers=(W,))
ID = "m-own"


class Target(Enum):
    """Which node is named."""

    CONTROL_PLANE = "a control plane of the inventory"
    WORKER = "a worker of the inventory"
    UNLISTED = "a node that the inventory does not have"


class InApi(Enum):
    """What the API has under the node's name."""

    ABSENT = "no Node object"
    OWN = "the machine's"
    OTHERS = "another machine's"
    OTHER_NAME = "no Node object, and another node is this machine"


class InEtcd(Enum):
    """What etcd has of the node."""

    ABSENT = "no member"
    VOTER = "voter"
    LEARNER = "learner"
    NEVER_STARTED = "member that never started"
    OTHER_ADDRESS = "voter of its name at another address"
    TWO = "voters of its name at its address and at another one"
    OTHER_NAME = "voter of another name at its address"


class Peer(Enum):
    """What another control plane is in etcd."""

    WELL = "votes and answers"
    SILENT = "votes and does not answer"
    LEARNER = "learns"
    ABSENT = "no member"


@dataclass(frozen=True, kw_only=True, slots=True)
class RemovalCase:
    """A target, what is on its machine and what the cluster says of it, and the two other control planes.

    ``answers`` is whether the target's own etcd does. ``leads`` is whether the run speaks through the target's machine.
    """

    target: Target
    machine: Machine
    api: InApi
    etcd: InEtcd
    answers: bool
    peers: tuple[Peer, Peer]
    leads: bool = False
    force: bool = False

    @property
    def listed(self) -> Node | None:
        """The node as the inventory has it."""
        if self.target is Target.UNLISTED:
            return None
        return C if self.target is Target.CONTROL_PLANE else W

    @property
    def name(self) -> str:
        """The node's name."""
        return self.listed.name if self.listed else "gone"

    @property
    def ip(self) -> str:
        """The node's address."""
        return self.listed.ip if self.listed else "10.0.0.77"

    @property
    def here(self) -> bool:
        """Whether the target's machine has a part in the run."""
        return self.listed is not None and self.machine.reading is not None

    @property
    def own_votes(self) -> int:
        """How many votes the node has."""
        return {InEtcd.VOTER: 1, InEtcd.OTHER_ADDRESS: 1, InEtcd.TWO: 2}.get(self.etcd, 0)

    @property
    def voting_peers(self) -> int:
        """How many others vote. A member of another name at the target's address is another one."""
        return sum(peer in (Peer.WELL, Peer.SILENT) for peer in self.peers)

    @property
    def well_peers(self) -> int:
        """How many others vote and answer."""
        return self.peers.count(Peer.WELL)


@dataclass(frozen=True, kw_only=True, slots=True)
class RemovalOutcome:
    """What is removed, in which ``steps`` etcd loses members, or why nothing is."""

    removal: Removal | None = None
    refusal: str = ""
    steps: tuple[EtcdMember, ...] = ()


def cases() -> Iterator[RemovalCase]:
    """A target on every machine, with peers up to symmetry."""
    peers = list(itertools.combinations_with_replacement(Peer, 2))
    machines = (UNREACHABLE, *READ)
    for machine, target, api, etcd, answers, pair, leads, force in itertools.product(
        machines, Target, InApi, InEtcd, (False, True), peers, (False, True), (False, True)
    ):
        if target is Target.UNLISTED and (machine is not UNREACHABLE or leads or api is InApi.OTHER_NAME):
            continue
        if answers and etcd is InEtcd.ABSENT:
            continue
        if leads and not (target is Target.CONTROL_PLANE and machine.serves):
            continue
        if Peer.WELL not in pair and not leads:
            # Nobody would answer for the cluster.
            continue
        yield RemovalCase(
            target=target,
            machine=machine,
            api=api,
            etcd=etcd,
            answers=answers,
            peers=pair,
            leads=leads,
            force=force,
        )


_ELSEWHERE = "192.168.0.9"


def etcd_of(case: RemovalCase) -> tuple[EtcdMember, ...]:
    """etcd's members, the target's first, as whose removal comes first."""
    return _etcd(case.name, case.ip, case.etcd, case.peers)


@cache
def _etcd(name: str, ip: str, etcd: InEtcd, peers: tuple[Peer, Peer]) -> tuple[EtcdMember, ...]:
    own: dict[InEtcd, tuple[EtcdMember, ...]] = {
        InEtcd.VOTER: (EtcdMember(id="own", name=name, peer_ip=ip),),
        InEtcd.LEARNER: (EtcdMember(id="own", name=name, peer_ip=ip, learner=True),),
        InEtcd.NEVER_STARTED: (EtcdMember(id="own", name="", peer_ip=ip),),
        InEtcd.OTHER_ADDRESS: (EtcdMember(id="own", name=name, peer_ip=_ELSEWHERE),),
        InEtcd.TWO: (
            EtcdMember(id="own", name=name, peer_ip=ip),
            EtcdMember(id="old", name=name, peer_ip=_ELSEWHERE),
        ),
        InEtcd.OTHER_NAME: (EtcdMember(id="strange", name="strange", peer_ip=ip),),
    }
    others = tuple(
        EtcdMember(id=node.name, name=node.name, peer_ip=node.ip, learner=peer is Peer.LEARNER)
        for node, peer in zip((A, B), peers, strict=True)
        if peer is not Peer.ABSENT
    )
    return (*own.get(etcd, ()), *others)


def healthy_in(case: RemovalCase) -> frozenset[str]:
    """Addresses of the members that answer."""
    own = _ELSEWHERE if case.etcd is InEtcd.OTHER_ADDRESS else case.ip
    return frozenset(
        {
            *(node.ip for node, peer in zip((A, B), case.peers, strict=True) if peer is Peer.WELL),
            *((own,) if case.answers else ()),
        }
    )


def decide(case: RemovalCase) -> RemovalOutcome:
    """What the product decides."""
    nodes = {node.name: RegisteredNode(machine_id=f"m-{node.name}", control_plane=True) for node in (A, B)}
    if case.api is InApi.OWN:
        nodes[case.name] = RegisteredNode(machine_id=ID)
    if case.api is InApi.OTHERS:
        nodes[case.name] = RegisteredNode(machine_id="m-others")
    if case.api is InApi.OTHER_NAME:
        nodes["x-renamed"] = RegisteredNode(machine_id=ID)
    well = tuple(node for node, peer in zip((A, B), case.peers, strict=True) if peer is Peer.WELL)
    healthy = (*well, *((C,) if case.target is Target.CONTROL_PLANE and case.machine.serves else ()))
    etcd = etcd_of(case)
    found = case.machine.read(case.listed, machine_id=ID) if case.listed and case.here else None
    assert found is None or isinstance(found, KubeadmNodeState)
    try:
        planned = removal.planned_removal(
            TOPOLOGY,
            name=case.name,
            listed=case.listed,
            found=found,
            election=Election(
                leader=C.host if case.leads else well[0].host,
                exists=True,
                healthy=healthy,
                ca_certificate=OURS,
            ),
            members=ClusterMembersState(etcd=etcd, nodes=nodes),
            force=case.force,
            endpoint=ENDPOINT,
        )
    except DeployError as error:
        return RemovalOutcome(refusal=str(error))
    healthy_ips = healthy_in(case)
    if refusal := removal.majority_refusal(planned, etcd=etcd, healthy=healthy_ips):
        return RemovalOutcome(refusal=refusal)
    steps = quorum.removal_order(planned.members, healthy=healthy_ips)
    return RemovalOutcome(removal=planned, steps=tuple(steps))


def etcd_keeps_a_majority(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """When a vote goes, most of the votes that stay answer; force changes nothing about it."""
    if outcome.removal is None or case.own_votes == 0:
        return True
    return case.well_peers * 2 > case.voting_peers


def each_step_keeps_a_majority(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """Members are taken out in an order in which etcd can go on after each."""
    if outcome.removal is None:
        return True
    members, healthy = list(etcd_of(case)), healthy_in(case)
    for leaving in outcome.steps:
        voters = [each for each in members if each.name and not each.learner]
        if leaving not in voters:
            continue
        if sum(each.peer_ip in healthy for each in voters) * 2 <= len(voters):
            # It has none now: taking one out that does not answer can only help.
            return leaving.peer_ip not in healthy
        members.remove(leaving)
        voters = [each for each in members if each.name and not each.learner]
        if sum(each.peer_ip in healthy for each in voters) * 2 <= len(voters):
            return False
    return True


def another_clusters_machine_is_not_cleaned(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """A machine of another cluster, or with another etcd's data, is not cleaned by any name, with force or without."""
    cleans = outcome.removal is not None and outcome.removal.machine is not None
    return not (cleans and (case.machine.whose is Whose.OTHERS or case.machine.others_etcd))


def another_nodes_machine_is_not_cleaned(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """A machine that is another node's, or whose name is another machine's, is not cleaned."""
    cleans = outcome.removal is not None and outcome.removal.machine is not None
    return not (cleans and case.api in (InApi.OTHERS, InApi.OTHER_NAME))


def what_shows_nothing_is_not_cleaned(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """A machine that neither a Node object nor a CA certificate shows to be of this cluster is not cleaned."""
    cleans = outcome.removal is not None and outcome.removal.machine is not None
    state = case.machine.reading
    shown = case.machine.bare or (state is not None and bool(state.ca_certificate))
    return not cleans or shown or case.api is InApi.OWN


def only_force_gives_a_machine_up(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """Without force no node is removed whose machine is not there to be cleaned."""
    return outcome.removal is None or outcome.removal.machine is not None or case.force


def another_stays_and_acts(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """A control plane that answers and stays takes the node out."""
    if outcome.removal is None:
        return True
    coordinator = outcome.removal.coordinator
    well = [node.name for node, peer in zip((A, B), case.peers, strict=True) if peer is Peer.WELL]
    return coordinator.name in well


def nobody_elses_member_goes(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """etcd loses the members of the node, all of them, and none of another."""
    if outcome.removal is None:
        return True
    gone = {member.id for member in outcome.removal.members}
    own = {
        InEtcd.ABSENT: set(),
        InEtcd.OTHER_NAME: set(),
        InEtcd.TWO: {"own", "old"},
    }.get(case.etcd, {"own"})
    if case.target is Target.UNLISTED and case.etcd is InEtcd.NEVER_STARTED:
        # Nobody knows its address any more.
        own = set()
    return gone == own


def refusals_say_what_to_do(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """Every refusal names the node or its host, what was seen, that nothing was changed, and what to do."""
    if not outcome.refusal:
        return True
    begins = re.match(rf"(host-)?{case.name}: ", outcome.refusal)
    return bool(begins) and has_fix(outcome.refusal) and "no changes were made" in outcome.refusal


def refusals_are_true(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """What a refusal says is so."""
    if not outcome.refusal:
        return True
    words, machine = outcome.refusal, case.machine
    known = {
        "(same machine ID)": case.api is InApi.OTHER_NAME,
        "etcd data in /var/lib/etcd that kubeadm did not create": machine.others_etcd,
        "is a node of another cluster": machine.whose is Whose.OTHERS,
        "its kubelet belongs to the cluster at": machine.whose is Whose.OTHERS,
        "nothing shows that it was of this cluster": case.api is InApi.ABSENT and not machine.bare,
        "no other control plane answers": case.well_peers == 0,
        "its machine cannot be reached": not case.here or case.api is InApi.OTHERS,
        "etcd has the member strange at its address": case.etcd is InEtcd.OTHER_NAME,
        "is the last control plane": case.voting_peers == 0,
        "cannot go: etcd would have": case.well_peers * 2 <= case.voting_peers,
    }
    said = [true for sentence, true in known.items() if sentence in words]
    if silent := re.search(r"need \d+ of them, and (.*) do(es)? not answer", words):
        names = set(silent[1].split(", "))
        truly = {node.name for node, peer in zip((A, B), case.peers, strict=True) if peer is Peer.SILENT}
        said.append(names == truly)
    return bool(said) and all(said)


def what_is_whole_goes_on(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """What is well is not refused: a member of three that answer, and a worker that is there."""
    if case.peers != (Peer.WELL, Peer.WELL) or case.api is not InApi.OWN:
        return True
    role = {"control plane": Target.CONTROL_PLANE, "worker": Target.WORKER}.get(case.machine.words)
    right = InEtcd.VOTER if case.target is Target.CONTROL_PLANE else InEtcd.ABSENT
    return not (role is case.target and case.etcd is right) or outcome.removal is not None


REMOVAL = Search(
    cases=cases,
    decide=decide,
    invariants=(
        etcd_keeps_a_majority,
        each_step_keeps_a_majority,
        another_clusters_machine_is_not_cleaned,
        another_nodes_machine_is_not_cleaned,
        what_shows_nothing_is_not_cleaned,
        only_force_gives_a_machine_up,
        another_stays_and_acts,
        nobody_elses_member_goes,
        refusals_say_what_to_do,
        refusals_are_true,
        what_is_whole_goes_on,
    ),
)
