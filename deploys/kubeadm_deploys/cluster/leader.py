"""Who leads: through which control plane a run speaks to its cluster, and whether there is one.

A run asks twice: while it is prepared, for the plan and for refusals, and again with the lock in hand, for everything
that it then decides.
"""

import time
from collections.abc import Mapping
from dataclasses import replace

from gevent import sleep
from gevent.lock import RLock
from pyinfra import logger
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubeadm_deploys.election import Election, elect
from kubeadm_deploys.facts.answers import Reading, answers_of
from kubeadm_deploys.facts.etcd import EtcdKeys, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KUBEADM_SECONDS, KubeadmNode, KubeadmNodeState
from kubeadm_deploys.facts.reading import NotRead, ask, in_parallel
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.quorum import QUORUM_FIX, quorum_lost
from kubeadm_deploys.run_parts import part

API_SECONDS = 120
"""How long an API server has to answer again, after a reboot of its machine for example: kubeadm gives it twice that
on the slowest of machines, and a healthy one takes 20 to 40 s."""

KUBEADM_NODE = Reading(KubeadmNode)

Found = dict[str, KubeadmNodeState | NotRead]
"""What kubeadm made of each control plane, by host."""


class Leader:
    """Who led the cluster when that was last asked: before (``planned``) and while operations run.

    ``earlier`` is what was planned before the lock was taken, and ``found`` what kubeadm had made of the control planes.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.earlier: Election | None = None
        self.planned: Election | None = None
        self.election: Election | None = None
        self.found: Found = {}
        self.never: DeployError | None = None

    def begin_again(self) -> None:
        """Whatever was asked is to be asked again. What was known to exist goes on to exist: see ``election.elect``."""
        self.earlier, self.planned = self.planned, None


def ask_leader(state: State, topology: Topology) -> Election:
    """Who leads, asked once before and once while operations run, when an API server that does not answer is waited for.

    Raises:
        DeployError: kubeadm of an earlier run does not end.
    """
    leader = part(state, Leader)
    with leader.lock:
        if not state.is_executing:
            return ask_planned_leader(state, topology)
        if leader.never:
            raise leader.never
        if leader.election is None:
            try:
                leader.planned = leader.election = _wait_for_leader(state, topology)
            except DeployError as error:
                # Waiting once is enough for all hosts.
                leader.never = error
                raise
        return leader.election


def ask_planned_leader(state: State, topology: Topology) -> Election:
    """Who led when that was last asked without waiting for an API server; asked now if it never was."""
    leader = part(state, Leader)
    with leader.lock:
        return leader.planned or _ask_control_planes(state, topology)


def ask_planned_leader_again(state: State, topology: Topology) -> Election:
    """The same, asked now whatever is known of the control planes."""
    _forget_control_planes(state, topology)
    return _ask_control_planes(state, topology)


def ask_control_planes(state: State, topology: Topology) -> Mapping[str, KubeadmNodeState | NotRead]:
    """What kubeadm had made of each control plane when the leader was last asked for, by host."""
    ask_planned_leader(state, topology)
    return part(state, Leader).found


def _ask_control_planes(state: State, topology: Topology) -> Election:
    leader = part(state, Leader)
    with leader.lock:
        hosts = [state.inventory.get_host(node.host) for node in topology.control_planes]
        leader.found = in_parallel(_ask_kubeadm, hosts)
        able = frozenset(host.name for host in hosts if host in host.state.active_hosts)
        before = leader.election or leader.planned or leader.earlier
        leader.planned = elect(topology, found=leader.found, able=able, before=before)
        return leader.planned


def _forget_control_planes(state: State, topology: Topology) -> None:
    for node in topology.control_planes:
        answers_of(state).forget(state.inventory.get_host(node.host))


def leader_made_cluster(state: State, topology: Topology, *, found: KubeadmNodeState) -> None:
    """Note that there is a cluster now; see ``members.made_cluster``."""
    leader = part(state, Leader)
    with leader.lock:
        election = ask_leader(state, topology)
        leader.planned = leader.election = replace(
            election,
            exists=True,
            healthy=(topology.node(election.leader),),
            ca_certificate=found.ca_certificate,
            cluster_name=found.cluster_name,
            problem="",
        )
        leader.found[election.leader] = found


def wait_for_kubeadm(
    host: Host, *, found: KubeadmNodeState | NotRead | None = None, deadline: float | None = None
) -> KubeadmNodeState | NotRead:
    """What kubeadm made of a machine, once kubeadm of an earlier run has ended there; asked now unless it was ``found``.

    Raises:
        DeployError: it has not ended by the ``deadline`` of the monotonic clock, or as long as kubeadm may take.
    """
    deadline = deadline or time.monotonic() + KUBEADM_SECONDS
    found = found or _ask_kubeadm_now(host)
    said = False
    while isinstance(found, KubeadmNodeState) and found.kubeadm_runs:
        if not said:
            logger.info(f"--> {host.name}: kubeadm of an earlier run is still at work; waiting until it ends")
            said = True
        if time.monotonic() > deadline:
            raise DeployError(
                f"{host.name}: kubeadm of an earlier run has not ended within {KUBEADM_SECONDS} s; look at it there "
                "with 'systemctl status kubeadm-deploys-kubeadm'"
            )
        sleep(2)
        found = _ask_kubeadm_now(host)
    if said:
        # It has changed the machine and the cluster, as this run's own would have.
        answers_of(host.state).changed(host)
    return found


def ask_lost_quorum(state: State, topology: Topology) -> str:
    """That a cluster whose API does not answer will not answer in this run, empty when it may: machines that cannot be
    reached do not come back.
    """
    election = ask_planned_leader(state, topology)
    if not election.exists or election.healthy:
        return ""
    return _ask_lost_quorum(state, election, topology)


def acts_for_cluster(host: Host, election: Election) -> bool:
    """Whether a host does what is to be done once in a run: the leader, or the first active host where it has no part.

    pyinfra's ``--limit`` leaves hosts out, but not out of the cluster.
    """
    names = active_hosts(host.state)
    # By name: the host that is in hand may be pyinfra's stand-in for it.
    return host.name == (election.leader if election.leader in names else names[0])


def active_hosts(state: State) -> list[str]:
    """Names of the hosts that this run still does something on, in the inventory's order."""
    return [each.name for each in state.inventory if each in state.active_hosts]


def _ask_kubeadm(host: Host) -> KubeadmNodeState | NotRead:
    """What kubeadm made of a machine, unless that is known."""
    answers = answers_of(host.state)
    failure = answers.failure(host, KUBEADM_NODE)
    if isinstance(failure, NotRead):
        return failure
    return answers.known(host, KUBEADM_NODE) or _ask_kubeadm_now(host)


def _ask_kubeadm_now(host: Host) -> KubeadmNodeState | NotRead:
    if host in host.state.failed_hosts and not host.connected and not host.state.is_executing:
        # pyinfra has tried to connect a moment ago.
        return NotRead(host=host.name, what=KUBEADM_NODE.words, reason="cannot be reached", reached=False)
    try:
        return ask(host, KubeadmNode)
    except NotRead as error:
        return error


def _wait_for_leader(state: State, topology: Topology) -> Election:
    if answers_of(state).has_changed:
        _forget_control_planes(state, topology)
    deadline = time.monotonic() + KUBEADM_SECONDS
    for node in topology.control_planes:
        host = state.inventory.get_host(node.host)
        wait_for_kubeadm(host, found=_ask_kubeadm(host), deadline=deadline)
    deadline = time.monotonic() + API_SECONDS
    election = _ask_control_planes(state, topology)
    while election.exists and election.problem:
        if election.healthy:
            # They do not belong to one cluster, which no waiting mends.
            return election
        if empty := _ask_whether_nothing_was_stored(state, election, topology):
            return empty
        if lost := _ask_lost_quorum(state, election, topology):
            return replace(election, problem=f"{election.problem}; {lost}; {QUORUM_FIX}")
        if time.monotonic() > deadline:
            return election
        sleep(2)
        election = ask_planned_leader_again(state, topology)
    return election


def _ask_lost_quorum(state: State, election: Election, topology: Topology) -> str:
    found = part(state, Leader).found
    try:
        members = ask(state.inventory.get_host(election.leader), EtcdMembers)
    except NotRead:
        # An etcd that says nothing may come back.
        return ""
    there = {
        node.ip: kubeadm
        for node in topology.control_planes
        if isinstance(kubeadm := found[node.host], KubeadmNodeState)
    }
    emptied = {ip for ip, kubeadm in there.items() if "etcd" not in kubeadm.files}
    return quorum_lost(members=members, there=there, emptied=emptied)


def _ask_whether_nothing_was_stored(state: State, election: Election, topology: Topology) -> Election | None:
    """The cluster does not exist when its one etcd runs and holds not a single object: an init that ended before its API
    server was there.
    """
    found = [part(state, Leader).found[node.host] for node in topology.control_planes]
    if any(isinstance(each, NotRead) for each in found):
        return None
    candidates = [each for each in found if isinstance(each, KubeadmNodeState) and each.has_cluster]
    if len(candidates) != 1 or candidates[0].rotating:
        return None
    try:
        keys = ask(state.inventory.get_host(election.leader), EtcdKeys)
    except NotRead:
        return None
    return Election(leader=election.leader, exists=False, stored_nothing=True) if keys == 0 else None
