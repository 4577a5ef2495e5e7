"""Find the leader: the control plane through which a run reaches its cluster, if a cluster exists.

A run asks twice: during preparation, for the plan and for refusals, and again while it holds the run lock,
for all later decisions.
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

from kubeadm_deploys.cluster.api_leader import ApiLeader, choose_leader, unfinished_restore
from kubeadm_deploys.cluster.quorum import QUORUM_FIX, quorum_lost
from kubeadm_deploys.facts.etcd import ONLY_FOR_VOTERS, EtcdKeys, EtcdLogIsEmpty, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KUBEADM_SECONDS, KubeadmNode, KubeadmNodeState
from kubeadm_deploys.facts.own_etcd import OwnEtcd
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.remote.answers import Reading, answers_of
from kubeadm_deploys.remote.progress import reported
from kubeadm_deploys.remote.reading import NotRead, ask, in_parallel
from kubeadm_deploys.remote.run_parts import part

API_SECONDS = 120
"""How long to wait for an API server to answer again, for example after a reboot: a healthy one takes 20 to
40 s, and kubeadm allows twice this limit for the slowest machines."""

KUBEADM_NODE = Reading(KubeadmNode)

Found = dict[str, KubeadmNodeState | NotRead]
"""kubeadm's state of each control plane, by host."""


class Leader:
    """The leader as last asked: during preparation (``planned``) and while operations run (``api_leader``).

    ``earlier`` is what was planned before the run lock was taken, ``found`` kubeadm's state of the control
    planes, and ``failure`` why waiting for the leader failed.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.earlier: ApiLeader | None = None
        self.planned: ApiLeader | None = None
        self.api_leader: ApiLeader | None = None
        self.found: Found = {}
        self.failure: DeployError | None = None

    def begin_again(self) -> None:
        """Forget the leader, but not that its cluster exists: see ``api_leader.choose_leader``."""
        self.earlier, self.planned = self.planned, None

    def restored(self) -> None:
        """Forget everything: the cluster has been restored from a backup."""
        self.earlier = self.planned = self.api_leader = self.failure = None


def ask_leader(state: State, topology: Topology) -> ApiLeader:
    """Return the leader; it is asked for once during preparation and once while operations run.

    While operations run, this waits for an API server that does not answer.

    Raises:
        DeployError: kubeadm of an earlier run does not finish.
    """
    leader = part(state, Leader)
    with leader.lock:
        if not state.is_executing:
            return ask_planned_leader(state, topology)
        if leader.failure:
            raise leader.failure
        if leader.api_leader is None:
            try:
                leader.planned = leader.api_leader = _wait_for_leader(state, topology)
            except DeployError as error:
                # So that the other hosts do not wait again.
                leader.failure = error
                raise
        return leader.api_leader


def ask_planned_leader(state: State, topology: Topology) -> ApiLeader:
    """Return the leader as last asked, without waiting for an API server; ask now if it was never asked."""
    leader = part(state, Leader)
    with leader.lock:
        return leader.planned or _ask_control_planes(state, topology)


def ask_planned_leader_again(state: State, topology: Topology) -> ApiLeader:
    """Ask for the leader now, ignoring what is known about the control planes."""
    _forget_control_planes(state, topology)
    return _ask_control_planes(state, topology)


def ask_control_planes(state: State, topology: Topology) -> Mapping[str, KubeadmNodeState | NotRead]:
    """Return kubeadm's state of each control plane when the leader was last asked for, by host."""
    ask_planned_leader(state, topology)
    return part(state, Leader).found


def _ask_control_planes(state: State, topology: Topology) -> ApiLeader:
    leader = part(state, Leader)
    with leader.lock:
        hosts = [state.inventory.get_host(node.host) for node in topology.control_planes]
        leader.found = in_parallel(_ask_kubeadm, hosts)
        able = frozenset(host.name for host in hosts if host in host.state.active_hosts)
        before = leader.api_leader or leader.planned or leader.earlier
        leader.planned = choose_leader(topology, found=leader.found, able=able, before=before)
        return leader.planned


def _forget_control_planes(state: State, topology: Topology) -> None:
    for node in topology.control_planes:
        answers_of(state).forget(state.inventory.get_host(node.host))


def leader_made_cluster(state: State, topology: Topology, *, found: KubeadmNodeState) -> None:
    """Record that the cluster exists now; see ``members.made_cluster``."""
    leader = part(state, Leader)
    with leader.lock:
        api_leader = ask_leader(state, topology)
        leader.planned = leader.api_leader = replace(
            api_leader,
            exists=True,
            healthy=(topology.node(api_leader.leader),),
            ca_certificate=found.ca_certificate,
            cluster_name=found.cluster_name,
            problem="",
        )
        leader.found[api_leader.leader] = found


def wait_for_kubeadm(
    host: Host, *, found: KubeadmNodeState | NotRead | None = None, deadline: float | None = None
) -> KubeadmNodeState | NotRead:
    """Wait until kubeadm of an earlier run has finished on a machine, and return kubeadm's state of it.

    ``found`` is the state if it was already read. ``deadline`` is a time of the monotonic clock, by default
    after the longest time that kubeadm may take.

    Raises:
        DeployError: kubeadm has not finished by the deadline.
    """
    deadline = deadline or time.monotonic() + KUBEADM_SECONDS
    found = found or _ask_kubeadm_now(host)
    has_waited = False
    with reported(host, "waiting for kubeadm of an earlier run to finish"):
        while isinstance(found, KubeadmNodeState) and found.kubeadm_runs:
            if not has_waited:
                logger.info(
                    f"--> {host.name}: kubeadm of an earlier run is still running; waiting for it to finish"
                )
                has_waited = True
            if time.monotonic() > deadline:
                raise DeployError(
                    f"{host.name}: kubeadm of an earlier run has not finished within {KUBEADM_SECONDS} s; look "
                    "at it on that host with 'systemctl status kubeadm-deploys-kubeadm'"
                )
            sleep(2)
            found = _ask_kubeadm_now(host)
    if has_waited:
        # That kubeadm has changed the machine and the cluster.
        answers_of(host.state).changed(host)
    return found


def ask_lost_quorum(state: State, topology: Topology) -> str:
    """Return why the cluster's API cannot answer in this run, empty if it may.

    Machines that cannot be reached are assumed to stay unreachable.
    """
    api_leader = ask_planned_leader(state, topology)
    if not api_leader.exists or api_leader.healthy:
        return ""
    return _ask_lost_quorum(state, api_leader, topology)


def acts_for_cluster(host: Host, api_leader: ApiLeader) -> bool:
    """Return whether a host acts for the cluster: the leader, or if it is inactive the first active host.

    pyinfra's ``--limit`` excludes hosts from the run, but not from the cluster.
    """
    names = active_hosts(host.state)
    # Compared by name: the given host may be pyinfra's proxy object.
    return host.name == (api_leader.leader if api_leader.leader in names else names[0])


def active_hosts(state: State) -> list[str]:
    """Return the names of the hosts that still take part in this run, in inventory order."""
    return [host.name for host in state.inventory if host in state.active_hosts]


def _ask_kubeadm(host: Host) -> KubeadmNodeState | NotRead:
    """Return kubeadm's state of a machine; ask only if it is not known."""
    answers = answers_of(host.state)
    failure = answers.failure(host, KUBEADM_NODE)
    if isinstance(failure, NotRead):
        return failure
    return answers.known(host, KUBEADM_NODE) or _ask_kubeadm_now(host)


def _ask_kubeadm_now(host: Host) -> KubeadmNodeState | NotRead:
    if host in host.state.failed_hosts and not host.connected and not host.state.is_executing:
        # pyinfra has just failed to connect.
        return NotRead(host=host.name, what=KUBEADM_NODE.words, reason="cannot be reached", reached=False)
    try:
        return ask(host, KubeadmNode)
    except NotRead as error:
        return error


def _wait_for_leader(state: State, topology: Topology) -> ApiLeader:
    if answers_of(state).has_changed:
        _forget_control_planes(state, topology)
    deadline = time.monotonic() + KUBEADM_SECONDS
    for node in topology.control_planes:
        host = state.inventory.get_host(node.host)
        wait_for_kubeadm(host, found=_ask_kubeadm(host), deadline=deadline)
    deadline = time.monotonic() + API_SECONDS
    api_leader = _ask_control_planes(state, topology)
    with reported(state.inventory.get_host(api_leader.leader), "waiting for an API server that answers"):
        while api_leader.exists and api_leader.problem:
            if api_leader.healthy or unfinished_restore(topology.control_planes, part(state, Leader).found):
                # They do not belong to one cluster, or a restore has not ended; waiting does not fix that.
                return api_leader
            if empty := _ask_whether_nothing_was_stored(state, api_leader, topology):
                return empty
            if lost := _ask_lost_quorum(state, api_leader, topology):
                return replace(api_leader, problem=f"{api_leader.problem}; {lost}; {QUORUM_FIX}")
            if time.monotonic() > deadline:
                return api_leader
            sleep(2)
            api_leader = ask_planned_leader_again(state, topology)
    return api_leader


def _ask_lost_quorum(state: State, api_leader: ApiLeader, topology: Topology) -> str:
    found = part(state, Leader).found
    answers = {node.ip: found[node.host] for node in topology.control_planes}
    reached = {ip: answer for ip, answer in answers.items() if isinstance(answer, KubeadmNodeState)}
    with_data = {ip for ip, answer in reached.items() if "etcd" in answer.files}
    leader = topology.node(api_leader.leader)
    try:
        members = ask(state.inventory.get_host(api_leader.leader), EtcdMembers)
    except NotRead as error:
        if ONLY_FOR_VOTERS in error.reason and with_data == {leader.ip}:
            return (
                f"etcd on {leader.name} is a learner without a vote, and no other reachable control plane has "
                "etcd data"
            )
        # One that was started without a majority does not answer etcdctl.
        try:
            members = ask(state.inventory.get_host(api_leader.leader), OwnEtcd).members
        except NotRead:
            # An etcd that does not answer may come back.
            return ""
    return quorum_lost(members=members, reached=reached, with_data=with_data)


def _ask_whether_nothing_was_stored(
    state: State, api_leader: ApiLeader, topology: Topology
) -> ApiLeader | None:
    """Return a leader without a cluster if the only etcd holds no object, None otherwise.

    An init that ended before its API server ran leaves such an etcd.
    """
    answers = [part(state, Leader).found[node.host] for node in topology.control_planes]
    if any(isinstance(answer, NotRead) for answer in answers):
        return None
    candidates = [answer for answer in answers if isinstance(answer, KubeadmNodeState) and answer.has_cluster]
    if len(candidates) != 1 or candidates[0].rotating:
        return None
    if not _stored_nothing(state.inventory.get_host(api_leader.leader)):
        return None
    return ApiLeader(leader=api_leader.leader, exists=False, stored_nothing=True)


def _stored_nothing(host: Host) -> bool:
    try:
        return ask(host, EtcdKeys) == 0
    except NotRead:
        return _has_empty_log(host)


def _has_empty_log(host: Host) -> bool:
    """Return whether etcd stored nothing, not even its members: it runs, but does not answer."""
    try:
        return ask(host, EtcdLogIsEmpty)
    except NotRead:
        return False
