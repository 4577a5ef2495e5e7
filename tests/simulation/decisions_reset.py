"""Whether machines may be reset, with control planes inside and outside the run, and a worker."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from kubeadm_deploys.cluster import api_leader, membership
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.lifecycle import reset
from kubeadm_deploys.model.findings import Finding, errors_of
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.preflight import check as preflight
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
    WORKER,
    Machine,
    Whose,
)
from tests.support.machines import A, B, C, W

NODES = (A, B, C)
TOPOLOGY = Topology(control_planes=NODES, workers=(W,))
OPTIONS = ClusterOptions(cluster_name="kubernetes", control_plane_endpoint=ENDPOINT)

_FEW = (
    *NOT_READ,
    BARE,
    MEMBER,
    DOWN,
    BEGAN,
    WORKER,
    *(machine for machine in READ if machine.whose is Whose.OTHERS or machine.others_etcd),
)


class Rest(Enum):
    """Control planes in the API that the inventory does not have."""

    NONE = "none"
    VOTES = "one votes"
    LEARNS = "one learns"


class Kubeconfig(Enum):
    """The cluster of the CA certificate in the operator's kubeconfig."""

    NONE = "no file"
    OURS = "the inventory's cluster"
    OTHERS = "another cluster's"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResetCase:
    """Three control planes and a worker, those of them in the run, and the operator's intended cluster."""

    planes: tuple[Machine, ...]
    worker: Machine
    limited_to: frozenset[str]
    rest: Rest = Rest.NONE
    kubeconfig: Kubeconfig = Kubeconfig.NONE
    cluster_name: str = "kubernetes"

    @property
    def cleaned(self) -> list[Machine]:
        """The machines of the run."""
        return [
            machine
            for node, machine in zip((*NODES, W), (*self.planes, self.worker), strict=True)
            if node.host in self.limited_to
        ]

    @property
    def left_out(self) -> list[Machine]:
        """The control planes outside the run."""
        return [
            machine
            for node, machine in zip(NODES, self.planes, strict=True)
            if node.host not in self.limited_to
        ]

    @property
    def clusters(self) -> set[Whose]:
        """Owners of the clusters on the control planes."""
        return {machine.whose for machine in self.planes if machine.cluster}


@dataclass(frozen=True, kw_only=True, slots=True)
class ResetOutcome:
    """Errors that force does not override, and the refusal without force."""

    findings: tuple[Finding, ...]
    refusal: str
    unread: bool = False

    @property
    def forced(self) -> bool:
        """Whether the machines are cleaned with force."""
        return not self.unread and not self.findings

    @property
    def cleans(self) -> bool:
        """Whether the machines are cleaned without force."""
        return self.forced and not self.refusal


_ALL = tuple(node.host for node in (*NODES, W))


def cases() -> Iterator[ResetCase]:
    """Yield control planes inside and outside the run, workers with clusters, and what the operator means."""
    for planes in itertools.product(_FEW, repeat=3):
        for limited_to in (_ALL, _ALL[:3], _ALL[1:], (A.host, W.host), (W.host,)):
            yield ResetCase(planes=planes, worker=WORKER, limited_to=frozenset(limited_to))
    for plane, worker, limited_to, rest in itertools.product(_FEW, READ, (_ALL, (W.host,), (A.host,)), Rest):
        yield ResetCase(
            planes=(plane, BARE, BARE), worker=worker, limited_to=frozenset(limited_to), rest=rest
        )
    for plane, worker, kubeconfig, name in itertools.product(
        (*NOT_READ, *READ), READ, Kubeconfig, ("kubernetes", "staging")
    ):
        yield ResetCase(
            planes=(plane, BARE, BARE),
            worker=worker,
            limited_to=frozenset(_ALL),
            kubeconfig=kubeconfig,
            cluster_name=name,
        )


def _members(case: ResetCase) -> ClusterMembersState:
    strangers = {
        Rest.NONE: (),
        Rest.VOTES: (EtcdMember(id="x", name="lost", peer_ip="10.9.9.9"),),
        Rest.LEARNS: (EtcdMember(id="x", name="lost", peer_ip="10.9.9.9", learner=True),),
    }[case.rest]
    own = tuple(
        EtcdMember(id=node.name, name=node.name, peer_ip=node.ip)
        for node, machine in zip(NODES, case.planes, strict=True)
        if machine.serves
    )
    return ClusterMembersState(etcd=(*own, *strangers))


_MACHINE = MachineState()
_WITH_ETCD = MachineState(etcd_entries=frozenset({"member"}))
_OPTIONS = {
    name: ClusterOptions(cluster_name=name, control_plane_endpoint=ENDPOINT)
    for name in ("kubernetes", "staging")
}
_READINGS = {
    (machine, node.host): machine.read(node, machine_id=f"m-{node.name}")
    for machine in (*NOT_READ, *READ)
    for node in (*NODES, W)
}


def decide(case: ResetCase) -> ResetOutcome:
    """Return the product's decision."""
    options = _OPTIONS[case.cluster_name]
    machines = dict(zip(_ALL, (*case.planes, case.worker), strict=True))
    read = {host: _READINGS[machine, host] for host, machine in machines.items()}
    planes = {node.host: read[node.host] for node in NODES}
    found = {
        host: state
        for host, state in read.items()
        if host in case.limited_to and isinstance(state, KubeadmNodeState)
    }
    if len(found) < len(case.limited_to):
        return ResetOutcome(findings=(), refusal="", unread=True)
    leader = api_leader.choose_leader(TOPOLOGY, found=planes, able=case.limited_to)
    kubeconfig_ca = {Kubeconfig.OURS: OURS, Kubeconfig.OTHERS: OTHERS}.get(case.kubeconfig)
    findings = list(
        membership.ownership_findings(
            api_leader=leader,
            cluster_name=options.cluster_name,
            kubeconfig="x.kubeconfig",
            kubeconfig_ca=kubeconfig_ca,
        )
    )
    candidates = preflight.candidates_of(
        TOPOLOGY,
        machines={host: _WITH_ETCD if machines[host].data else _MACHINE for host in found},
        found=found,
        cluster_ca=leader.ca_certificate,
        members=ClusterMembersState(),
    )
    for candidate in candidates:
        findings += reset.subject_findings(
            candidate,
            options=options,
            topology=TOPOLOGY,
            kubeconfig_ca=None if leader.exists else kubeconfig_ca,
            leader=planes[leader.leader],
        )
    return ResetOutcome(
        findings=tuple(errors_of(findings)),
        refusal=reset.reset_refusal(
            TOPOLOGY,
            found=found,
            control_planes=planes,
            api_leader=leader,
            members=_members(case) if not leader.problem else None,
        ),
    )


def another_etcd_is_left_alone(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Even force does not clean a machine with data of an etcd that kubeadm did not create."""
    return not (outcome.forced and any(machine.others_etcd for machine in case.cleaned))


def two_clusters_are_not_reset_at_once(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Even force does not clean machines of two clusters in one run if a control plane has one of them."""
    clusters = {machine.whose for machine in case.cleaned if machine.whose in (Whose.OURS, Whose.OTHERS)}
    return not outcome.forced or len(clusters) < 2 or not case.clusters


def another_clusters_machine_is_left_alone(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Even force does not clean a machine of another cluster than that of the inventory's control planes."""
    if len(case.clusters) != 1:
        return True
    (whose,) = case.clusters
    others = Whose.OURS if whose is Whose.OTHERS else Whose.OTHERS
    return not (outcome.forced and any(machine.whose is others for machine in case.cleaned))


def only_the_operators_cluster_is_reset(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Even force does not reset a cluster whose name or CA differs from the operator's."""
    named = {machine.reading.cluster_name for machine in case.cleaned if machine.reading}
    if outcome.forced and not named <= {"", case.cluster_name}:
        return False
    if not outcome.forced:
        return True
    if not case.clusters:
        wrong = {Kubeconfig.OURS: Whose.OTHERS, Kubeconfig.OTHERS: Whose.OURS}.get(case.kubeconfig)
        return all(machine.whose is not wrong for machine in case.cleaned)
    if len(case.clusters) > 1:
        return True
    (whose,) = case.clusters
    means = {Kubeconfig.OURS: Whose.OURS, Kubeconfig.OTHERS: Whose.OTHERS}.get(case.kubeconfig, whose)
    return means is whose


def an_unread_control_plane_protects_its_cluster(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Without force, no machine of a cluster is cleaned if a control plane outside the run is unread."""
    unread = any(machine.reading is None for machine in case.left_out)
    return not (outcome.cleans and unread and not all(machine.bare for machine in case.cleaned))


def a_running_cluster_keeps_its_machines(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Without force, no machine is cleaned of a cluster that has a control plane outside the run."""
    outside = any(machine.cluster for machine in case.left_out) or (
        case.rest is Rest.VOTES and any(machine.serves for machine in case.planes)
    )
    return not (outcome.cleans and outside and not all(machine.bare for machine in case.cleaned))


def refusals_say_what_to_do(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Every refusal says what was found and what to do, and names the machine."""
    if not all(finding.found and finding.fix for finding in outcome.findings):
        return False
    named = all(
        finding.host or "the inventory's control planes" in finding.found for finding in outcome.findings
    )
    words = outcome.refusal
    return named and (
        not words or (words[0] in "abcw" and "no changes were made; " in words and has_fix(words))
    )


def refusals_are_true(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Every statement in a refusal is true."""
    words = " | ".join([*(finding.found for finding in outcome.findings), outcome.refusal])
    if words == "":
        return True
    known = {
        "that kubeadm did not create": any(machine.data for machine in case.cleaned),
        "is a node of another cluster": len({machine.whose for machine in (*case.cleaned, *case.planes)}) > 1
        or any(machine.mixed for machine in case.cleaned),
        "its kubelet belongs to the cluster at": any(
            machine.whose is Whose.OTHERS for machine in case.cleaned
        ),
        "is called 'kubernetes'": case.cluster_name != "kubernetes",
        "its cluster is called": case.cluster_name != "kubernetes",
        "its CA certificate is not the one (": case.kubeconfig is not Kubeconfig.NONE,
        "has a different CA certificate": case.kubeconfig is not Kubeconfig.NONE,
        "could not be read": any(machine.reading is None for machine in case.left_out),
        "not part of this run": any(machine.cluster for machine in case.left_out),
        "not in the inventory": case.rest is Rest.VOTES,
    }
    return all(true for sentence, true in known.items() if sentence in words)


def a_whole_cluster_can_be_reset(case: ResetCase, outcome: ResetOutcome) -> bool:
    """A whole cluster whose name is confirmed can be reset without force, even if its API is down."""
    own_machines = {MEMBER, DOWN, WORKER, BARE, BEGAN}
    if case.limited_to != frozenset(_ALL) or not {*case.planes, case.worker} <= own_machines:
        return True
    if case.rest is Rest.VOTES or case.cluster_name != "kubernetes" or case.kubeconfig is Kubeconfig.OTHERS:
        return True
    return outcome.cleans


RESET = Search(
    cases=cases,
    decide=decide,
    invariants=(
        another_etcd_is_left_alone,
        two_clusters_are_not_reset_at_once,
        another_clusters_machine_is_left_alone,
        only_the_operators_cluster_is_reset,
        an_unread_control_plane_protects_its_cluster,
        a_running_cluster_keeps_its_machines,
        refusals_say_what_to_do,
        refusals_are_true,
        a_whole_cluster_can_be_reset,
    ),
)
