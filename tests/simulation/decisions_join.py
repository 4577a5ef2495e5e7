"""How a machine is joined, for everything that may lie on it, times what API and etcd report about it."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from kubeadm_deploys.cluster import kubeadm_steps, membership
from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.cluster.kubeadm_steps import JoinStep
from kubeadm_deploys.facts import etcd as etcd_fact
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.model.findings import Finding
from kubeadm_deploys.model.nodes import Node, Topology
from tests.simulation.decisions import Search, has_fix
from tests.simulation.decisions_machines import ENDPOINT, OURS, READ, InEtcd, Machine, Whose, by_traces
from tests.support.machines import A, B, C, W

ID = "m-own"
"""The machine's ID, if it has one."""


class InApi(Enum):
    """The Node objects that concern a machine."""

    ABSENT = "no Node object"
    READY = "Ready"
    NOT_READY = "not Ready"
    OTHERS = "its name is another machine's"
    OTHER_NAME = "Ready under another name"
    CLONE = "Ready, and another node has its machine ID"


_IN_ETCD = [state for state in InEtcd if state is not InEtcd.TWO]

_OTHERS: tuple[tuple[Node, ...], ...] = (
    (A, B),
    (B, A),
    tuple(
        Node(host=f"host-{name}", name=name, ip=ip, address=ip)
        for name, ip in (("zz", "10.0.0.200"), ("w2", "10.1.0.1"))
    ),
)
"""The other two control planes, which vote and are Ready: in both orders, and with other names."""

_TOPOLOGIES = tuple(Topology(control_planes=(*others, C), workers=(W,)) for others in _OTHERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinCase:
    """A machine, its role in the inventory, and what the cluster reports about it.

    ``labelled`` is whether its Node object has the control plane's label, ``has_id`` whether its machine ID
    could be read. ``asked`` is whether the cluster's API answers, ``exists`` whether a cluster exists,
    ``is_leader`` whether the run uses this machine's API server.
    """

    machine: Machine
    control_plane: bool
    api: InApi = InApi.ABSENT
    etcd: InEtcd = InEtcd.ABSENT
    labelled: bool = False
    has_id: bool = True
    asked: bool = True
    exists: bool = True
    is_leader: bool = False

    @property
    def node(self) -> Node:
        """The inventory's node for the machine."""
        return C if self.control_plane else W

    @property
    def votes(self) -> bool:
        """Whether etcd counts the machine as a voter, by its name or address."""
        return self.etcd in (InEtcd.VOTER, InEtcd.OTHER_ADDRESS, InEtcd.OTHER_NAME)

    @property
    def registered(self) -> bool:
        """Whether a Node object of any name has this machine's ID."""
        return self.has_id and self.api not in (InApi.ABSENT, InApi.OTHERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinOutcome:
    """Preflight's findings, and the later join step (None without a cluster)."""

    findings: tuple[Finding, ...]
    step: JoinStep | None

    @property
    def joins(self) -> bool:
        """Whether kubeadm join runs on the machine."""
        return self.step is not None and not (self.step.refusal or self.step.member)

    @property
    def cleans(self) -> bool:
        """Whether the machine is cleaned."""
        return self.joins and self.step is not None and self.step.clean

    @property
    def changes(self) -> bool:
        """Whether the machine may be changed: the join of a member may be completed too."""
        return self.step is not None and not self.step.refusal


def cases() -> Iterator[JoinCase]:
    """Yield every combination of traces, and the machines that occur in practice."""
    everything = (*by_traces(), *READ)
    for machine, control_plane, api, etcd in itertools.product(everything, (False, True), InApi, _IN_ETCD):
        yield JoinCase(machine=machine, control_plane=control_plane, api=api, etcd=etcd)
    for machine, control_plane in itertools.product(everything, (False, True)):
        yield JoinCase(machine=machine, control_plane=control_plane, asked=False)
        yield JoinCase(machine=machine, control_plane=control_plane, exists=False)
    for machine, control_plane, api, etcd, (labelled, has_id, is_leader) in itertools.product(
        READ,
        (False, True),
        InApi,
        _IN_ETCD,
        ((True, True, False), (False, False, False), (True, False, False), (False, True, True)),
    ):
        yield JoinCase(
            machine=machine,
            control_plane=control_plane,
            api=api,
            etcd=etcd,
            labelled=labelled,
            has_id=has_id,
            is_leader=is_leader and control_plane,
        )


@cache
def _members(
    node: Node, api: InApi, etcd: InEtcd, labelled: bool, has_id: bool, others: int
) -> ClusterMembersState:
    nodes = {
        other.name: RegisteredNode(machine_id=f"m-{other.name}", control_plane=True)
        for other in _OTHERS[others]
    }
    own = RegisteredNode(
        machine_id=ID if has_id else "", ready=api is not InApi.NOT_READY, control_plane=labelled
    )
    if api in (InApi.READY, InApi.NOT_READY, InApi.CLONE):
        nodes[node.name] = own
    if api is InApi.OTHERS:
        nodes[node.name] = RegisteredNode(machine_id="m-others", control_plane=labelled)
    if api in (InApi.OTHER_NAME, InApi.CLONE):
        nodes["x-renamed"] = own
    name, ip, learner = {
        InEtcd.VOTER: (node.name, node.ip, False),
        InEtcd.LEARNER: (node.name, node.ip, True),
        InEtcd.NEVER_STARTED: ("", node.ip, False),
        InEtcd.OTHER_ADDRESS: (node.name, "192.168.0.9", False),
        InEtcd.OTHER_NAME: ("x-renamed", node.ip, False),
    }.get(etcd, ("", "", False))
    own_member = (EtcdMember(id="id-own", name=name, peer_ip=ip, learner=learner),) if ip else ()
    voters = (EtcdMember(id=other.host, name=other.name, peer_ip=other.ip) for other in _OTHERS[others])
    return ClusterMembersState(etcd=(*voters, *own_member), nodes=nodes)


_NO_MEMBERS = ClusterMembersState()


def decide(case: JoinCase, *, others: int = 0) -> JoinOutcome:
    """Return the product's decision; ``others`` selects names and order of the other control planes."""
    members: ClusterMembersState | None = _NO_MEMBERS
    if not case.asked:
        members = None
    elif case.exists:
        members = _members(case.node, case.api, case.etcd, case.labelled, case.has_id, others)
        if case.etcd is InEtcd.NOT_READ:
            try:
                members = dataclasses.replace(members, etcd=etcd_fact.parse_members('{"members": []}'))
            except ValueError:
                # The answer cannot be parsed: the operation fails, and nothing is decided.
                return JoinOutcome(findings=(), step=JoinStep(refusal="not read; run again"))
    found = case.machine.read(case.node, machine_id=ID if case.has_id else "")
    assert isinstance(found, KubeadmNodeState)
    leader = _OTHERS[others][0]
    api_leader = ApiLeader(
        leader=case.node.host if case.is_leader else leader.host,
        exists=case.exists,
        healthy=(leader,) if case.asked and case.exists else (),
        ca_certificate=OURS if case.exists else "",
    )
    read: dict[str, Any] = {
        "node": case.node,
        "found": found,
        "api_leader": api_leader,
        "members": members,
        "endpoint": ENDPOINT,
    }
    topology = _TOPOLOGIES[others]
    return JoinOutcome(
        findings=tuple(membership.join_findings(topology, **read)),
        step=kubeadm_steps.join_step(topology, **read) if case.exists else None,
    )


def another_clusters_machine_is_left_alone(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine with another cluster's CA or client certificate is not changed, and preflight reports it."""
    if case.machine.whose is not Whose.OTHERS or not case.exists:
        return True
    return not outcome.changes and (bool(outcome.findings) or case.etcd is InEtcd.NOT_READ)


def another_etcd_is_left_alone(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine with data of an etcd that kubeadm did not create is not changed."""
    return not (case.machine.others_etcd and outcome.changes)


def a_voter_is_not_joined(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine that etcd counts as a voter, by name or by address, is neither cleaned nor joined.

    Exception: a machine without any trace of kubeadm replaces its own vote. Whether etcd can lose that vote
    is a separate decision; see "What etcd's majority allows".
    """
    replaced = case.machine.bare and case.etcd is InEtcd.VOTER
    return not (case.votes and outcome.joins) or replaced


def a_registered_machine_is_not_joined(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine whose ID belongs to a Ready Node object of any name is neither cleaned nor joined.

    Exceptions: a control plane without a vote, whose join stopped between kubelet and etcd; and a machine
    without any trace of kubeadm whose ID a node of another name has: it is a clone, which the check of
    machine IDs refuses.
    """
    if not case.registered or case.api is InApi.NOT_READY or not outcome.joins:
        return True
    if case.machine.bare and case.api is InApi.OTHER_NAME:
        return True
    return case.control_plane and (case.machine.keys or not case.machine.kubelet)


def a_not_ready_node_is_not_cleaned(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine whose Node object is not Ready is cleaned only if its files show an unfinished join."""
    if not (case.registered and case.api is InApi.NOT_READY and outcome.cleans):
        return True
    return case.machine.unfinished or (case.control_plane and case.machine.keys)


def a_running_api_server_is_not_cleaned(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine whose own API server answers is neither cleaned nor joined."""
    return not (case.machine.serves and outcome.joins)


def unread_is_not_absent(case: JoinCase, outcome: JoinOutcome) -> bool:
    """No machine is cleaned or joined if the API is silent, and no control plane if etcd lists no members."""
    unknown = not case.asked or (case.etcd is InEtcd.NOT_READ and case.machine.keys)
    return not (unknown and outcome.joins)


def a_used_name_is_not_given_again(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine does not get a name that another machine has in the cluster."""
    return not (case.api is InApi.OTHERS and case.exists and case.asked and outcome.changes)


def a_conflicting_etcd_member_is_refused(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine is not changed if etcd has its name at another address, or its address under another name."""
    return not (case.etcd in (InEtcd.OTHER_ADDRESS, InEtcd.OTHER_NAME) and outcome.changes)


def a_member_keeps_its_role(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine counts as a member only in its role: a worker has no vote, and a control plane has one."""
    if not (outcome.step and outcome.step.member):
        return True
    return case.control_plane is case.votes


def only_a_clean_machine_is_joined(case: JoinCase, outcome: JoinOutcome) -> bool:
    """Only a machine without any trace of kubeadm is joined without being cleaned."""
    return not outcome.joins or outcome.cleans or case.machine.bare


def preflight_and_join_agree(case: JoinCase, outcome: JoinOutcome) -> bool:
    """What preflight refuses, the join refuses too."""
    return not outcome.findings or outcome.step is None or bool(outcome.step.refusal)


def refusals_say_what_to_do(case: JoinCase, outcome: JoinOutcome) -> bool:
    """Every refusal says what was found and what to do, and preflight's findings name the machine."""
    if not all(
        finding.host == case.node.host and finding.found and finding.fix for finding in outcome.findings
    ):
        return False
    refusal = outcome.step.refusal if outcome.step else ""
    return not refusal or has_fix(refusal)


def refusals_are_true(case: JoinCase, outcome: JoinOutcome) -> bool:
    """Every statement in a refusal is true."""
    machine, api, etcd = case.machine, case.api, case.etcd
    words = " | ".join(
        [*(finding.found for finding in outcome.findings), outcome.step.refusal if outcome.step else ""]
    )
    known = {
        "that kubeadm did not create": machine.others_etcd,
        "is a node of another cluster": machine.whose is Whose.OTHERS,
        "its kubelet belongs to the cluster at": machine.whose is Whose.OTHERS,
        "but none of the inventory's control planes has a cluster": not case.exists and not machine.bare,
        "already belongs to another machine in the cluster": api is InApi.OTHERS and case.has_id,
        "(same machine ID)": api is InApi.OTHER_NAME and case.has_id,
        "etcd has the member": etcd in (InEtcd.OTHER_ADDRESS, InEtcd.OTHER_NAME),
        "no etcd data in /var/lib/etcd": case.votes and not machine.data,
        "it has its own etcd": machine.serves and not case.votes and etcd is not InEtcd.NOT_READ,
        "is a worker of the cluster": not (machine.serves or case.votes),
        "is a control plane of the cluster": case.votes
        or case.labelled
        or machine.serves
        or (machine.keys and api in (InApi.ABSENT, InApi.OTHERS, InApi.OTHER_NAME)),
        "is the cluster's leader, but the cluster does not": case.is_leader and not case.votes,
        "is the cluster's leader, but its kubeadm files": case.is_leader and machine.bare,
        "API does not answer": not case.asked,
        "has no machine ID": not case.has_id,
        "not read": etcd is InEtcd.NOT_READ,
        "which is Ready, but its kubeadm files": machine.bare and api in (InApi.READY, InApi.CLONE),
    }
    stated = [true for sentence, true in known.items() if sentence in words]
    return all(stated) and (bool(stated) or words in ("", " | "))


def healthy_machines_are_not_refused(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A bare machine unknown to the cluster is joined, and a healthy member in its role is accepted."""
    if not (case.exists and case.asked and case.has_id) or case.is_leader or outcome.step is None:
        return True
    if case.machine.bare and (case.api, case.etcd) == (InApi.ABSENT, InEtcd.ABSENT):
        return outcome.joins
    role = {"control plane": True, "worker": False}.get(case.machine.words)
    right = InEtcd.VOTER if case.control_plane else InEtcd.ABSENT
    healthy = role is case.control_plane and case.api is InApi.READY and case.etcd is right
    return not healthy or (case.labelled and not case.control_plane) or outcome.step.member


JOIN = Search(
    cases=cases,
    decide=decide,
    invariants=(
        another_clusters_machine_is_left_alone,
        another_etcd_is_left_alone,
        a_voter_is_not_joined,
        a_registered_machine_is_not_joined,
        a_not_ready_node_is_not_cleaned,
        a_running_api_server_is_not_cleaned,
        unread_is_not_absent,
        a_used_name_is_not_given_again,
        a_conflicting_etcd_member_is_refused,
        a_member_keeps_its_role,
        only_a_clean_machine_is_joined,
        preflight_and_join_agree,
        refusals_say_what_to_do,
        refusals_are_true,
        healthy_machines_are_not_refused,
    ),
)


def cases_that_depend_on_other_control_planes() -> Iterator[str]:
    """Yield cases whose decision depends on the other control planes' names or order."""
    for machine, control_plane, api, etcd in itertools.product(READ, (False, True), InApi, _IN_ETCD):
        case = JoinCase(machine=machine, control_plane=control_plane, api=api, etcd=etcd)
        plain = decide(case)
        for others in range(1, len(_OTHERS)):
            other = decide(case, others=others)
            if (plain.step, [finding.check for finding in plain.findings]) != (
                other.step,
                [finding.check for finding in other.findings],
            ):
                yield f"{case}: {plain}, and {other} beside {_OTHERS[others]}"
