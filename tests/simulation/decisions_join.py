"""What becomes of a machine that is to be a node: all that may lie on it, times what the API and etcd say of it."""

import dataclasses
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Any

from kubeadm_deploys import kubeadm_steps, membership
from kubeadm_deploys.election import Election
from kubeadm_deploys.facts import etcd as etcd_fact
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.findings import Finding
from kubeadm_deploys.kubeadm_steps import JoinStep
from kubeadm_deploys.nodes import Node, Topology
from tests.machines import A, B, C, W
from tests.simulation.decisions import Search, has_fix
from tests.simulation.decisions_machines import ENDPOINT, OURS, READ, Machine, Whose, by_traces

ID = "m-own"
"""The machine's ID, where it has one."""


class InApi(Enum):
    """The Node objects that have to do with a machine."""

    ABSENT = "no Node object"
    READY = "Ready"
    NOT_READY = "not Ready"
    OTHERS = "its name is another machine's"
    OTHER_NAME = "Ready under another name"
    CLONE = "Ready, and another node has its machine ID"


class InEtcd(Enum):
    """What etcd says of a machine."""

    ABSENT = "no member"
    VOTER = "voter"
    LEARNER = "learner"
    NEVER_STARTED = "member that never started"
    OTHER_ADDRESS = "voter of its name at another address"
    OTHER_NAME = "voter of another name at its address"
    NOT_READ = "etcd named no member at all"


_OTHERS: tuple[tuple[Node, ...], ...] = (
    (A, B),
    (B, A),
    tuple(
        Node(host=f"host-{name}", name=name, ip=ip, address=ip)
        for name, ip in (("zz", "10.0.0.200"), ("w2", "10.1.0.1"))
    ),
)
"""The other two control planes, which vote and are Ready: in their order, and by other names."""

_TOPOLOGIES = tuple(Topology(control_planes=(*others, C), workers=(W,)) for others in _OTHERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinCase:
    """A machine, the role that the inventory gives it, and what the cluster says of it.

    ``labelled`` is whether its Node object is labelled as a control plane's, ``has_id`` whether its machine ID could be
    read. ``asked`` is whether the cluster's API answers, ``exists`` whether there is a cluster, ``leads`` whether the
    run speaks through this machine.
    """

    machine: Machine
    control_plane: bool
    api: InApi = InApi.ABSENT
    etcd: InEtcd = InEtcd.ABSENT
    labelled: bool = False
    has_id: bool = True
    asked: bool = True
    exists: bool = True
    leads: bool = False

    @property
    def node(self) -> Node:
        """As which node the inventory has it."""
        return C if self.control_plane else W

    @property
    def votes(self) -> bool:
        """Whether etcd counts the machine as a voter, by its name or by its address."""
        return self.etcd in (InEtcd.VOTER, InEtcd.OTHER_ADDRESS, InEtcd.OTHER_NAME)

    @property
    def registered(self) -> bool:
        """Whether a Node object stands for this machine, by its machine ID and whatever its name."""
        return self.has_id and self.api not in (InApi.ABSENT, InApi.OTHERS)


@dataclass(frozen=True, kw_only=True, slots=True)
class JoinOutcome:
    """What preflight finds, and what is done with the machine when its turn has come (None without a cluster)."""

    findings: tuple[Finding, ...]
    step: JoinStep | None

    @property
    def joins(self) -> bool:
        """Whether kubeadm join runs there."""
        return self.step is not None and not (self.step.refusal or self.step.member)

    @property
    def cleans(self) -> bool:
        """Whether what is there is removed."""
        return self.joins and self.step is not None and self.step.clean

    @property
    def changes(self) -> bool:
        """Whether anything is done to the machine: a member may be completed too."""
        return self.step is not None and not self.step.refusal


def cases() -> Iterator[JoinCase]:
    """Every machine by its traces, and those that are met."""
    everything = (*by_traces(), *READ)
    for machine, control_plane, api, etcd in itertools.product(everything, (False, True), InApi, InEtcd):
        yield JoinCase(machine=machine, control_plane=control_plane, api=api, etcd=etcd)
    for machine, control_plane in itertools.product(everything, (False, True)):
        yield JoinCase(machine=machine, control_plane=control_plane, asked=False)
        yield JoinCase(machine=machine, control_plane=control_plane, exists=False)
    for machine, control_plane, api, etcd, (labelled, has_id, leads) in itertools.product(
        READ,
        (False, True),
        InApi,
        InEtcd,
        ((True, True, False), (False, False, False), (True, False, False), (False, True, True)),
    ):
        yield JoinCase(
            machine=machine,
            control_plane=control_plane,
            api=api,
            etcd=etcd,
            labelled=labelled,
            has_id=has_id,
            leads=leads and control_plane,
        )


@cache
def _members(
    node: Node, api: InApi, etcd: InEtcd, labelled: bool, has_id: bool, others: int
) -> ClusterMembersState:
    nodes = {
        each.name: RegisteredNode(machine_id=f"m-{each.name}", control_plane=True) for each in _OTHERS[others]
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
    voters = (EtcdMember(id=each.host, name=each.name, peer_ip=each.ip) for each in _OTHERS[others])
    return ClusterMembersState(etcd=(*voters, *own_member), nodes=nodes)


_NOBODY = ClusterMembersState()


def decide(case: JoinCase, *, others: int = 0) -> JoinOutcome:
    """What the product decides; ``others`` is how the other control planes are called, and their order."""
    members: ClusterMembersState | None = _NOBODY
    if not case.asked:
        members = None
    elif case.exists:
        members = _members(case.node, case.api, case.etcd, case.labelled, case.has_id, others)
        if case.etcd is InEtcd.NOT_READ:
            try:
                members = dataclasses.replace(members, etcd=etcd_fact.parse_members('{"members": []}'))
            except ValueError:
                # It is an answer that cannot be understood: the operation fails and nothing is decided.
                return JoinOutcome(findings=(), step=JoinStep(refusal="not read; run again"))
    found = case.machine.read(case.node, machine_id=ID if case.has_id else "")
    assert isinstance(found, KubeadmNodeState)
    leader = _OTHERS[others][0]
    election = Election(
        leader=case.node.host if case.leads else leader.host,
        exists=case.exists,
        healthy=(leader,) if case.asked and case.exists else (),
        ca_certificate=OURS if case.exists else "",
    )
    read: dict[str, Any] = {
        "node": case.node,
        "found": found,
        "election": election,
        "members": members,
        "endpoint": ENDPOINT,
    }
    topology = _TOPOLOGIES[others]
    return JoinOutcome(
        findings=tuple(membership.join_findings(topology, **read)),
        step=kubeadm_steps.join_step(topology, **read) if case.exists else None,
    )


def another_clusters_machine_is_left_alone(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine with another cluster's CA or client certificate is not changed, and preflight says so."""
    if case.machine.whose is not Whose.OTHERS or not case.exists:
        return True
    return not outcome.changes and (bool(outcome.findings) or case.etcd is InEtcd.NOT_READ)


def another_etcd_is_left_alone(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine with data of an etcd that kubeadm did not make is not changed."""
    return not (case.machine.others_etcd and outcome.changes)


def a_voter_is_not_joined(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine that etcd counts as a voter, by name or by address, is neither cleaned nor joined.

    Only a machine with nothing of kubeadm on it is joined in the place of its own vote: it was replaced. Whether etcd
    can spare the vote, and whether its member is dead, is decided by what etcd allows.
    """
    replaced = case.machine.bare and case.etcd is InEtcd.VOTER
    return not (case.votes and outcome.joins) or replaced


def a_registered_machine_is_not_joined(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine whose Node object is Ready, by its machine ID and under any name, is neither cleaned nor joined.

    A control plane needs a vote as well: without one its join ended between the kubelet and etcd. And a machine with
    nothing of kubeadm, whose ID a node of another name has, is a clone: the check of machine IDs refuses it.
    """
    if not case.registered or case.api is InApi.NOT_READY or not outcome.joins:
        return True
    if case.machine.bare and case.api is InApi.OTHER_NAME:
        return True
    return case.control_plane and (case.machine.keys or not case.machine.kubelet)


def a_silent_node_is_not_cleaned(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine whose Node object is not Ready is cleaned only when its join can be seen not to have finished."""
    if not (case.registered and case.api is InApi.NOT_READY and outcome.cleans):
        return True
    return case.machine.unfinished or (case.control_plane and case.machine.keys)


def a_running_api_server_is_not_cleaned(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A machine whose own API server answers is neither cleaned nor joined."""
    return not (case.machine.serves and outcome.joins)


def what_was_not_read_is_not_absent(case: JoinCase, outcome: JoinOutcome) -> bool:
    """Nothing is cleaned or joined while the API does not answer, and no control plane while etcd has named nobody."""
    unknown = not case.asked or (case.etcd is InEtcd.NOT_READ and case.machine.keys)
    return not (unknown and outcome.joins)


def a_name_is_not_taken(case: JoinCase, outcome: JoinOutcome) -> bool:
    """A name that another machine has in the cluster is not given to this one."""
    return not (case.api is InApi.OTHERS and case.exists and case.asked and outcome.changes)


def a_vote_elsewhere_is_refused(case: JoinCase, outcome: JoinOutcome) -> bool:
    """Nothing is done where etcd knows the name at another address, or the address under another name."""
    return not (case.etcd in (InEtcd.OTHER_ADDRESS, InEtcd.OTHER_NAME) and outcome.changes)


def a_member_keeps_its_role(case: JoinCase, outcome: JoinOutcome) -> bool:
    """What counts as a member in a role has it: no worker has a vote, and no control plane is without one."""
    if not (outcome.step and outcome.step.member):
        return True
    return case.control_plane is case.votes


def what_is_joined_is_clean(case: JoinCase, outcome: JoinOutcome) -> bool:
    """Only a machine with nothing of kubeadm on it is joined without being cleaned."""
    return not outcome.joins or outcome.cleans or case.machine.bare


def preflight_and_turn_agree(case: JoinCase, outcome: JoinOutcome) -> bool:
    """What preflight refuses is refused when its turn has come, too."""
    return not outcome.findings or outcome.step is None or bool(outcome.step.refusal)


def refusals_say_what_to_do(case: JoinCase, outcome: JoinOutcome) -> bool:
    """Every refusal says what was seen and what to do, and preflight's names the machine."""
    if not all(each.host == case.node.host and each.found and each.cure for each in outcome.findings):
        return False
    refusal = outcome.step.refusal if outcome.step else ""
    return not refusal or has_fix(refusal)


def refusals_are_true(case: JoinCase, outcome: JoinOutcome) -> bool:
    """What a refusal says is so."""
    machine, api, etcd = case.machine, case.api, case.etcd
    words = " | ".join(
        [*(each.found for each in outcome.findings), outcome.step.refusal if outcome.step else ""]
    )
    known = {
        "that kubeadm did not create": machine.others_etcd,
        "is a node of another cluster": machine.whose is Whose.OTHERS,
        "its kubelet belongs to the cluster at": machine.whose is Whose.OTHERS,
        "but none of the inventory's control planes has a cluster": not case.exists and not machine.bare,
        "is in the cluster already, under another machine": api is InApi.OTHERS and case.has_id,
        "(same machine ID)": api is InApi.OTHER_NAME and case.has_id,
        "etcd has the member": etcd in (InEtcd.OTHER_ADDRESS, InEtcd.OTHER_NAME),
        "no data of it in /var/lib/etcd": case.votes and not machine.data,
        "it has an etcd of its own": machine.serves and not case.votes and etcd is not InEtcd.NOT_READ,
        "is a worker of the cluster": not (machine.serves or case.votes),
        "is a control plane of the cluster": case.votes
        or case.labelled
        or machine.serves
        or (machine.keys and api in (InApi.ABSENT, InApi.OTHERS, InApi.OTHER_NAME)),
        "leads the cluster, yet the cluster does not": case.leads and not case.votes,
        "leads the cluster, yet nothing": case.leads and machine.bare,
        "API does not answer": not case.asked,
        "has no machine ID": not case.has_id,
        "not read": etcd is InEtcd.NOT_READ,
        "which is Ready, yet nothing of kubeadm": machine.bare and api in (InApi.READY, InApi.CLONE),
    }
    said = [true for sentence, true in known.items() if sentence in words]
    return all(said) and (bool(said) or words in ("", " | "))


def what_is_whole_goes_on(case: JoinCase, outcome: JoinOutcome) -> bool:
    """What is well is not refused: a bare machine that nobody counts is joined, and a member in its role is one."""
    if not (case.exists and case.asked and case.has_id) or case.leads or outcome.step is None:
        return True
    if case.machine.bare and (case.api, case.etcd) == (InApi.ABSENT, InEtcd.ABSENT):
        return outcome.joins
    role = {"control plane": True, "worker": False}.get(case.machine.words)
    right = InEtcd.VOTER if case.control_plane else InEtcd.ABSENT
    well = role is case.control_plane and case.api is InApi.READY and case.etcd is right
    return not well or (case.labelled and not case.control_plane) or outcome.step.member


JOIN = Search(
    cases=cases,
    decide=decide,
    invariants=(
        another_clusters_machine_is_left_alone,
        another_etcd_is_left_alone,
        a_voter_is_not_joined,
        a_registered_machine_is_not_joined,
        a_silent_node_is_not_cleaned,
        a_running_api_server_is_not_cleaned,
        what_was_not_read_is_not_absent,
        a_name_is_not_taken,
        a_vote_elsewhere_is_refused,
        a_member_keeps_its_role,
        what_is_joined_is_clean,
        preflight_and_turn_agree,
        refusals_say_what_to_do,
        refusals_are_true,
        what_is_whole_goes_on,
    ),
)


def others_decide_something_else() -> Iterator[str]:
    """Cases in which it matters how the other control planes are called, or in which order they stand."""
    for machine, control_plane, api, etcd in itertools.product(READ, (False, True), InApi, InEtcd):
        case = JoinCase(machine=machine, control_plane=control_plane, api=api, etcd=etcd)
        plain = decide(case)
        for others in range(1, len(_OTHERS)):
            other = decide(case, others=others)
            if (plain.step, [each.check for each in plain.findings]) != (
                other.step,
                [each.check for each in other.findings],
            ):
                yield f"{case}: {plain}, and {other} beside {_OTHERS[others]}"
