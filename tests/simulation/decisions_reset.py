"""Whose cluster is given up, and whether it is one that goes on: control planes in the run and out of it, and a worker."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from kubeadm_deploys import election, membership, preflight, reset
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.findings import Finding, dangers
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.options import ClusterOptions
from tests.machines import A, B, C, W
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
    """What the API says of control planes that the inventory does not have."""

    NONE = "none"
    VOTES = "one votes"
    LEARNS = "one learns"


class Kubeconfig(Enum):
    """Whose CA certificate the operator's kubeconfig has."""

    NONE = "no file"
    OURS = "the inventory's cluster"
    OTHERS = "another cluster's"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResetCase:
    """What is on the control planes and on a worker, which of them are in the run, and what the operator means."""

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
        """The control planes that are not in the run."""
        return [
            machine
            for node, machine in zip(NODES, self.planes, strict=True)
            if node.host not in self.limited_to
        ]

    @property
    def clusters(self) -> set[Whose]:
        """Whose control planes there are."""
        return {machine.whose for machine in self.planes if machine.cluster}


@dataclass(frozen=True, kw_only=True, slots=True)
class ResetOutcome:
    """What is found against it, with force too, and why it is refused without force."""

    findings: tuple[Finding, ...]
    refusal: str
    unread: bool = False

    @property
    def forced(self) -> bool:
        """Whether the machines are cleaned with force."""
        return not self.unread and not self.findings

    @property
    def cleans(self) -> bool:
        """Whether they are cleaned without force."""
        return self.forced and not self.refusal


_ALL = tuple(node.host for node in (*NODES, W))


def cases() -> Iterator[ResetCase]:
    """Control planes in the run and out of it; each worker beside each cluster; and what the operator means."""
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


def _own_node(case: ResetCase) -> ClusterMembersState:
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
    """What the product decides."""
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
    elected = election.elect(TOPOLOGY, found=planes, able=case.limited_to)
    kubeconfig_ca = {Kubeconfig.OURS: OURS, Kubeconfig.OTHERS: OTHERS}.get(case.kubeconfig)
    findings = list(
        membership.ownership_findings(
            election=elected,
            cluster_name=options.cluster_name,
            kubeconfig="x.kubeconfig",
            kubeconfig_ca=kubeconfig_ca,
        )
    )
    subjects = preflight.subjects_of(
        TOPOLOGY,
        machines={host: _WITH_ETCD if machines[host].data else _MACHINE for host in found},
        found=found,
        cluster_ca=elected.ca_certificate,
        members=ClusterMembersState(),
    )
    for subject in subjects:
        findings += reset.subject_findings(
            subject,
            options=options,
            topology=TOPOLOGY,
            kubeconfig_ca=None if elected.exists else kubeconfig_ca,
            leader=planes[elected.leader],
        )
    return ResetOutcome(
        findings=tuple(dangers(findings)),
        refusal=reset.reset_refusal(
            TOPOLOGY,
            found=found,
            control_planes=planes,
            election=elected,
            members=_own_node(case) if not elected.problem else None,
        ),
    )


def another_etcd_is_left_alone(case: ResetCase, outcome: ResetOutcome) -> bool:
    """No force cleans a machine with data of an etcd that kubeadm did not make."""
    return not (outcome.forced and any(machine.others_etcd for machine in case.cleaned))


def two_clusters_are_not_given_up_at_once(case: ResetCase, outcome: ResetOutcome) -> bool:
    """No force cleans machines of two clusters in one run, where a control plane holds one of them."""
    clusters = {machine.whose for machine in case.cleaned if machine.whose in (Whose.OURS, Whose.OTHERS)}
    return not outcome.forced or len(clusters) < 2 or not case.clusters


def another_clusters_machine_is_left_alone(case: ResetCase, outcome: ResetOutcome) -> bool:
    """No force cleans a machine of another cluster than that of the inventory's control planes."""
    if len(case.clusters) != 1:
        return True
    (whose,) = case.clusters
    others = Whose.OURS if whose is Whose.OTHERS else Whose.OTHERS
    return not (outcome.forced and any(machine.whose is others for machine in case.cleaned))


def what_the_operator_means_counts(case: ResetCase, outcome: ResetOutcome) -> bool:
    """No force gives up a cluster of another name, or with another CA than the operator's kubeconfig has."""
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


def what_was_not_read_goes_on(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Without force nothing of a cluster is cleaned while a control plane outside of the run could not be read."""
    unread = any(machine.reading is None for machine in case.left_out)
    return not (outcome.cleans and unread and not all(machine.bare for machine in case.cleaned))


def a_cluster_that_goes_on_keeps_its_machines(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Without force nothing is cleaned of a cluster that has a control plane outside of the run."""
    outside = any(machine.cluster for machine in case.left_out) or (
        case.rest is Rest.VOTES and any(machine.serves for machine in case.planes)
    )
    return not (outcome.cleans and outside and not all(machine.bare for machine in case.cleaned))


def refusals_say_what_to_do(case: ResetCase, outcome: ResetOutcome) -> bool:
    """Every refusal says what was seen and what to do; what is found on a machine names it."""
    if not all(each.found and each.cure for each in outcome.findings):
        return False
    about = all(each.host or "the inventory's control planes" in each.found for each in outcome.findings)
    words = outcome.refusal
    return about and (
        not words or (words[0] in "abcw" and "no changes were made; " in words and has_fix(words))
    )


def refusals_are_true(case: ResetCase, outcome: ResetOutcome) -> bool:
    """What a refusal says is so."""
    words = " | ".join([*(each.found for each in outcome.findings), outcome.refusal])
    if words == "":
        return True
    known = {
        "that kubeadm did not create": any(machine.data for machine in case.cleaned),
        "is a node of another cluster": len({each.whose for each in (*case.cleaned, *case.planes)}) > 1
        or any(machine.mixed for machine in case.cleaned),
        "its kubelet belongs to the cluster at": any(each.whose is Whose.OTHERS for each in case.cleaned),
        "is called 'kubernetes'": case.cluster_name != "kubernetes",
        "its cluster is called": case.cluster_name != "kubernetes",
        "its CA certificate is not the one (": case.kubeconfig is not Kubeconfig.NONE,
        "has another CA certificate": case.kubeconfig is not Kubeconfig.NONE,
        "could not be asked": any(machine.reading is None for machine in case.left_out),
        "not part of this run": any(machine.cluster for machine in case.left_out),
        "not in the inventory": case.rest is Rest.VOTES,
    }
    return all(true for sentence, true in known.items() if sentence in words)


def what_is_whole_can_be_given_up(case: ResetCase, outcome: ResetOutcome) -> bool:
    """A whole cluster is given up without force by whoever names it, also one whose API is down."""
    ours = {MEMBER, DOWN, WORKER, BARE, BEGAN}
    if case.limited_to != frozenset(_ALL) or not {*case.planes, case.worker} <= ours:
        return True
    if case.rest is Rest.VOTES or case.cluster_name != "kubernetes" or case.kubeconfig is Kubeconfig.OTHERS:
        return True
    return outcome.cleans


RESET = Search(
    cases=cases,
    decide=decide,
    invariants=(
        another_etcd_is_left_alone,
        two_clusters_are_not_given_up_at_once,
        another_clusters_machine_is_left_alone,
        what_the_operator_means_counts,
        what_was_not_read_goes_on,
        a_cluster_that_goes_on_keeps_its_machines,
        refusals_say_what_to_do,
        refusals_are_true,
        what_is_whole_can_be_given_up,
    ),
)
