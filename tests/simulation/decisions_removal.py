"""Whether a node may be removed, what is cleaned, and what etcd keeps, for every target in every cluster."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache

from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster import quorum
from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.lifecycle import removal
from kubeadm_deploys.lifecycle.removal import Removal
from kubeadm_deploys.model.nodes import Node, Topology
from tests.simulation.decisions import Search, has_fix
from tests.simulation.decisions_machines import ENDPOINT, OURS, READ, UNREACHABLE, InEtcd, Machine, Whose
from tests.support.machines import A, B, C, W

TOPOLOGY = Topology(control_planes=(A, B, C), workers=(W,))
ID = "m-own"


class Target(Enum):
    """The node to remove."""

    CONTROL_PLANE = "a control plane of the inventory"
    WORKER = "a worker of the inventory"
    UNLISTED = "a node that the inventory does not have"


class InApi(Enum):
    """The Node object with the node's name."""

    ABSENT = "no Node object"
    OWN = "the machine's"
    OTHERS = "another machine's"
    OTHER_NAME = "no Node object, and another node is this machine"


_IN_ETCD = [state for state in InEtcd if state is not InEtcd.NOT_READ]


class Peer(Enum):
    """Another control plane's state in etcd."""

    WELL = "votes and answers"
    SILENT = "votes and does not answer"
    LEARNER = "learns"
    ABSENT = "no member"


@dataclass(frozen=True, kw_only=True, slots=True)
class RemovalCase:
    """A target, its machine, what the cluster reports about it, and the two other control planes.

    ``answers`` is whether the target's own etcd answers, ``is_leader`` whether the run uses the target's API
    server.
    """

    target: Target
    machine: Machine
    api: InApi
    etcd: InEtcd
    answers: bool
    peers: tuple[Peer, Peer]
    is_leader: bool = False
    force: bool = False

    @property
    def listed(self) -> Node | None:
        """The inventory's node, None if it has none."""
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
        """Whether the target's machine takes part in the run."""
        return self.listed is not None and self.machine.reading is not None

    @property
    def own_votes(self) -> int:
        """The number of the node's votes."""
        return {InEtcd.VOTER: 1, InEtcd.OTHER_ADDRESS: 1, InEtcd.TWO: 2}.get(self.etcd, 0)

    @property
    def voting_peers(self) -> int:
        """The number of voting peers; a member of another name at the target's address is not counted."""
        return sum(peer in (Peer.WELL, Peer.SILENT) for peer in self.peers)

    @property
    def well_peers(self) -> int:
        """The number of peers that vote and answer."""
        return self.peers.count(Peer.WELL)


@dataclass(frozen=True, kw_only=True, slots=True)
class RemovalOutcome:
    """The removal with its ``steps`` of etcd members in order, or its ``refusal``."""

    removal: Removal | None = None
    refusal: str = ""
    steps: tuple[EtcdMember, ...] = ()


def cases() -> Iterator[RemovalCase]:
    """Yield a target on every machine, with peers up to symmetry."""
    peers = list(itertools.combinations_with_replacement(Peer, 2))
    machines = (UNREACHABLE, *READ)
    for machine, target, api, etcd, answers, pair, is_leader, force in itertools.product(
        machines, Target, InApi, _IN_ETCD, (False, True), peers, (False, True), (False, True)
    ):
        if target is Target.UNLISTED and (machine is not UNREACHABLE or is_leader or api is InApi.OTHER_NAME):
            continue
        if answers and etcd is InEtcd.ABSENT:
            continue
        if is_leader and not (target is Target.CONTROL_PLANE and machine.serves):
            continue
        if Peer.WELL not in pair and not is_leader:
            # No API server would answer.
            continue
        yield RemovalCase(
            target=target,
            machine=machine,
            api=api,
            etcd=etcd,
            answers=answers,
            peers=pair,
            is_leader=is_leader,
            force=force,
        )


_ELSEWHERE = "192.168.0.9"


def etcd_of(case: RemovalCase) -> tuple[EtcdMember, ...]:
    """Return etcd's members, the target's first, because they are removed first."""
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
    """Return the addresses of the members that answer."""
    own = _ELSEWHERE if case.etcd is InEtcd.OTHER_ADDRESS else case.ip
    return frozenset(
        {
            *(node.ip for node, peer in zip((A, B), case.peers, strict=True) if peer is Peer.WELL),
            *((own,) if case.answers else ()),
        }
    )


def decide(case: RemovalCase) -> RemovalOutcome:
    """Return the product's decision."""
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
            api_leader=ApiLeader(
                leader=C.host if case.is_leader else well[0].host,
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
    """If a vote is removed, most of the remaining voters answer, with force too."""
    if outcome.removal is None or case.own_votes == 0:
        return True
    return case.well_peers * 2 > case.voting_peers


def each_step_keeps_a_majority(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """Members are removed in an order in which etcd keeps its majority after each."""
    if outcome.removal is None:
        return True
    members, healthy = list(etcd_of(case)), healthy_in(case)
    for leaving in outcome.steps:
        voters = [member for member in members if member.name and not member.learner]
        if leaving not in voters:
            continue
        if sum(member.peer_ip in healthy for member in voters) * 2 <= len(voters):
            # There is no majority now: removing a silent member can only help.
            return leaving.peer_ip not in healthy
        members.remove(leaving)
        voters = [member for member in members if member.name and not member.learner]
        if sum(member.peer_ip in healthy for member in voters) * 2 <= len(voters):
            return False
    return True


def another_clusters_machine_is_not_cleaned(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """A machine of another cluster, or with a foreign etcd's data, is not cleaned, with force or without."""
    cleans = outcome.removal is not None and outcome.removal.machine is not None
    return not (cleans and (case.machine.whose is Whose.OTHERS or case.machine.others_etcd))


def another_nodes_machine_is_not_cleaned(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """A machine that belongs to another node, or whose name belongs to another machine, is not cleaned."""
    cleans = outcome.removal is not None and outcome.removal.machine is not None
    return not (cleans and case.api in (InApi.OTHERS, InApi.OTHER_NAME))


def an_unidentified_machine_is_not_cleaned(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """A machine is cleaned only if a Node object or CA certificate shows that it belongs to this cluster."""
    cleans = outcome.removal is not None and outcome.removal.machine is not None
    state = case.machine.reading
    shown = case.machine.bare or (state is not None and bool(state.ca_certificate))
    return not cleans or shown or case.api is InApi.OWN


def only_force_removes_without_cleaning(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """Without force, a node is removed only if its machine can be cleaned."""
    return outcome.removal is None or outcome.removal.machine is not None or case.force


def a_remaining_control_plane_removes_the_node(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """A remaining control plane that answers removes the node."""
    if outcome.removal is None:
        return True
    coordinator = outcome.removal.coordinator
    well = [node.name for node, peer in zip((A, B), case.peers, strict=True) if peer is Peer.WELL]
    return coordinator.name in well


def only_the_nodes_etcd_members_go(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """etcd loses exactly the members of the node."""
    if outcome.removal is None:
        return True
    gone = {member.id for member in outcome.removal.members}
    own = {
        InEtcd.ABSENT: set(),
        InEtcd.OTHER_NAME: set(),
        InEtcd.TWO: {"own", "old"},
    }.get(case.etcd, {"own"})
    if case.target is Target.UNLISTED and case.etcd is InEtcd.NEVER_STARTED:
        # Its address is not known.
        own = set()
    return gone == own


def refusals_say_what_to_do(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """Every refusal names the node or host, what was found, that nothing was changed, and what to do."""
    if not outcome.refusal:
        return True
    begins = re.match(rf"(host-)?{case.name}: ", outcome.refusal)
    return bool(begins) and has_fix(outcome.refusal) and "no changes were made" in outcome.refusal


def refusals_are_true(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """Every statement in a refusal is true."""
    if not outcome.refusal:
        return True
    words, machine = outcome.refusal, case.machine
    known = {
        "(same machine ID)": case.api is InApi.OTHER_NAME,
        "etcd data in /var/lib/etcd that kubeadm did not create": machine.others_etcd,
        "is a node of another cluster": machine.whose is Whose.OTHERS,
        "its kubelet belongs to the cluster at": machine.whose is Whose.OTHERS,
        "not known whether it belonged to this cluster": case.api is InApi.ABSENT and not machine.bare,
        "no other control plane answers": case.well_peers == 0,
        "its machine cannot be reached": not case.here or case.api is InApi.OTHERS,
        "etcd has the member strange at its address": case.etcd is InEtcd.OTHER_NAME,
        "is the last control plane": case.voting_peers == 0,
        "cannot be removed: etcd would have": case.well_peers * 2 <= case.voting_peers,
    }
    stated = [true for sentence, true in known.items() if sentence in words]
    if silent := re.search(r"need \d+ of them, but (.*) do(es)? not answer", words):
        names = set(silent[1].split(", "))
        really = {node.name for node, peer in zip((A, B), case.peers, strict=True) if peer is Peer.SILENT}
        stated.append(names == really)
    return bool(stated) and all(stated)


def healthy_machines_are_not_refused(case: RemovalCase, outcome: RemovalOutcome) -> bool:
    """A member of three that answer, and a worker that can be read, can be removed."""
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
        an_unidentified_machine_is_not_cleaned,
        only_force_removes_without_cleaning,
        a_remaining_control_plane_removes_the_node,
        only_the_nodes_etcd_members_go,
        refusals_say_what_to_do,
        refusals_are_true,
        healthy_machines_are_not_refused,
    ),
)
