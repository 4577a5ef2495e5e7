"""What the hosts of one run share: through which control plane they speak to the cluster, and how to join it.

Token and keys live in this process's memory and on stdin of the commands that need them; never on the
operator's disk, in an argument or in a log.
"""

import secrets
import string
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

from gevent import sleep
from gevent.lock import BoundedSemaphore, RLock
from pyinfra import inventory, logger
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host

from kubeadm_deploys.election import Election, elect
from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState
from kubeadm_deploys.facts.cluster_settings import ClusterSettings, ClusterSettingsState
from kubeadm_deploys.facts.etcd import EtcdKeys, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KUBEADM_SECONDS, KubeadmNode, KubeadmNodeState
from kubeadm_deploys.facts.machine import Machine, MachineState
from kubeadm_deploys.facts.reading import NotRead, framed_command, framed_lines, in_parallel, read
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import direct, shared_pki
from kubeadm_deploys.quorum import QUORUM_FIX, quorum_lost

T = TypeVar("T")

_ALPHABET = string.ascii_lowercase + string.digits

_API_SECONDS = 120
"""How long an API server has to answer again, after a reboot of its machine for example: kubeadm gives it twice that
on the slowest of machines, and a healthy one takes 20 to 40 s."""


def new_token() -> str:
    """A bootstrap token in kubeadm's form: six characters of id, a dot, sixteen of secret."""
    return ".".join("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (6, 16))


@dataclass
class ClusterRun:
    """Values that are found or made once in a run, however many hosts ask.

    A run reads twice: while it is prepared, for the plan and for refusals, and again with the lock in hand, for
    everything that it then decides.
    """

    token: str = field(default_factory=new_token, repr=False)
    token_exists: bool = False
    control_plane_turn: BoundedSemaphore = field(default_factory=BoundedSemaphore, repr=False)
    """Held by the control plane that joins: etcd takes one new member at a time."""
    _lock: RLock = field(default_factory=RLock, repr=False)
    _planned: Election | None = None
    _election: Election | None = None
    _found: dict[str, KubeadmNodeState | NotRead] = field(default_factory=dict)
    _members: ClusterMembersState | None = None
    _members_read: bool = False
    _settings: ClusterSettingsState | None = None
    _settings_read: bool = False
    _machines_lock: BoundedSemaphore = field(default_factory=BoundedSemaphore, repr=False)
    _machines: dict[str, MachineState] = field(default_factory=dict)
    deferred_check: Callable[[], None] | None = None
    """What is to be checked as soon as the cluster's API answers, which did not when the lock was taken."""
    _refused: DeployError | None = None
    _never: DeployError | None = None
    _decided: dict[str, object] = field(default_factory=dict)

    def election(self, topology: Topology) -> Election:
        """Who speaks for the cluster. While operations run, an API server that does not answer is waited for."""
        state = inventory.get_host(topology.control_planes[0].host).state
        with self._lock:
            if not state.is_executing:
                return self.planned(topology)
            if self._never:
                raise self._never
            if self._election is None:
                try:
                    self._planned = self._election = self._await_election(topology)
                except DeployError as error:
                    # Waiting once is enough for all hosts.
                    self._never = error
                    raise
            return self._election

    def planned(self, topology: Topology) -> Election:
        """Who spoke for the cluster when it was last read without waiting for an API server."""
        with self._lock:
            self._planned = self._planned or self._elect(topology)
            return self._planned

    def planned_members(self) -> ClusterMembersState | None:
        """Who belonged to the cluster when that was last read; None when it could not be asked."""
        return self._members

    def read_again(self, topology: Topology) -> None:
        """Forget what was read, and read who leads and what kubeadm made of the machines of this run; to be called
        with the lock in hand.

        What was known to exist goes on to exist: see ``election.elect``.
        """
        with self._lock:
            self._found.clear()
            self._machines.clear()
            self._members_read = self._settings_read = False
            self._planned = self._elect(topology)

    def found(self, host: Host) -> KubeadmNodeState:
        """What kubeadm made of a machine when it was last read.

        Raises:
            NotRead: it could not be read.
        """
        found = self._found.get(host.name)
        if found is None:
            found = self._found[host.name] = read_kubeadm(host)
        if isinstance(found, NotRead):
            raise found
        return found

    def found_now(self, host: Host) -> KubeadmNodeState:
        """What kubeadm made of a machine, read now, once kubeadm of an earlier run has ended there.

        Raises:
            NotRead: it could not be read.
            DeployError: that kubeadm does not end.
        """
        self._found[host.name] = await_kubeadm(host)
        return self.found(host)

    def found_on_control_planes(self, topology: Topology) -> Mapping[str, KubeadmNodeState | NotRead]:
        """What kubeadm made of each control plane when that was last read, by host."""
        self.planned(topology)
        return {node.host: self._found[node.host] for node in topology.control_planes}

    def leader(self, topology: Topology) -> Host:
        """The control plane through which this run speaks to the cluster."""
        return inventory.get_host(self.election(topology).leader)

    def usable(self, topology: Topology) -> tuple[Node, ...]:
        """The control planes whose API server answers, the leader first; the leader alone where there is none yet."""
        election = self.election(topology)
        leader = topology.node(election.leader)
        return (leader, *(node for node in election.healthy if node != leader))

    def api_answers(self, topology: Topology) -> bool:
        """Whether there is a cluster whose API server can be asked."""
        election = self.election(topology)
        return election.exists and not election.problem

    def leads(self, host: Host, topology: Topology) -> bool:
        """Whether a host is the leader."""
        return host.name == self.election(topology).leader

    def speaks(self, host: Host, topology: Topology) -> bool:
        """Whether a host does what is to be done once in a run: the leader, or the first host where it has no part.

        pyinfra's ``--limit`` leaves hosts out, but not out of the cluster.
        """
        active = self.active(host)
        leader = self.election(topology).leader
        # By name: the host that is in hand may be pyinfra's stand-in for it.
        return host.name == (leader if leader in active else active[0])

    @staticmethod
    def active(host: Host) -> list[str]:
        """Names of the hosts that this run still does something on, in the inventory's order."""
        return [each.name for each in inventory if each in host.state.active_hosts]

    def created(self, topology: Topology, *, found: KubeadmNodeState) -> None:
        """The leader has made the cluster."""
        election = self.election(topology)
        self._election = self._planned = replace(
            election,
            exists=True,
            healthy=(topology.node(election.leader),),
            ca_certificate=found.ca_certificate,
            cluster_name=found.cluster_name,
            problem="",
        )
        self._found[election.leader] = found
        self._members_read = self._settings_read = False

    def members(self, topology: Topology, *, anew: bool = False) -> ClusterMembersState | None:
        """Who belongs to the cluster: empty while there is none, None while its API does not answer.

        Read once before and once while operations run, unless ``anew``.

        Raises:
            NotRead: the API answers, but not this question.
        """
        return self._members_of(self.election(topology), anew=anew)

    def members_planned(self, topology: Topology) -> ClusterMembersState | None:
        """The same without waiting for an API server: one that has ended between two questions does not answer."""
        try:
            return self._members_of(self.planned(topology), anew=False)
        except NotRead:
            with self._lock:
                self._planned = self._elect(topology)
            if self._planned.healthy:
                raise
            return self._members_of(self._planned, anew=False)

    def _members_of(self, election: Election, *, anew: bool) -> ClusterMembersState | None:
        with self._lock:
            if not election.exists:
                self._members = ClusterMembersState()
            elif not election.healthy:
                self._members = None
            elif anew or self._members is None or not self._members_read:
                self._members = read(inventory.get_host(election.leader), ClusterMembers)
                self._members_read = True
            return self._members

    def once(self, what: str, decide: Callable[[], T]) -> T:
        """What a run decides once while it is prepared, although pyinfra executes deploy files once for each host."""
        with self._lock:
            if what not in self._decided:
                self._decided[what] = decide()
            return cast(T, self._decided[what])

    def check_deferred(self) -> None:
        """Make the check that had to wait for the API, once in a run.

        Raises:
            DeployError: what it has found, for each host that asks.
        """
        with self._lock:
            check, self.deferred_check = self.deferred_check, None
            if check:
                try:
                    check()
                except DeployError as error:
                    self._refused = error
            if self._refused:
                raise self._refused

    def settings(self, topology: Topology, *, anew: bool = False) -> ClusterSettingsState | None:
        """What the cluster was made with; None while there is none, or kubeadm has not come as far as to store it.

        Read once before and once while operations run, unless ``anew``.

        Raises:
            NotRead: it could not be read.
        """
        return self._settings_of(self.election(topology), anew=anew)

    def settings_planned(self, topology: Topology) -> ClusterSettingsState | None:
        """The same without waiting for an API server."""
        return self._settings_of(self.planned(topology), anew=False)

    def _settings_of(self, election: Election, *, anew: bool) -> ClusterSettingsState | None:
        with self._lock:
            if not election.exists:
                return None
            if anew or not self._settings_read:
                self._settings = read(inventory.get_host(election.leader), ClusterSettings)
                self._settings_read = True
            return self._settings

    def machines(
        self, *, urls: Mapping[str, tuple[str, ...]], key_url: str = "", kubernetes_version: str
    ) -> dict[str, MachineState]:
        """What this run's machines are by host, all read at once by whoever asks first.

        ``urls`` are those to try by host, ``key_url`` that of the apt repository's key, for those that will need it.
        What kubeadm made of them is read along with it.

        Raises:
            NotRead: one of them could not be read.
        """
        with self._machines_lock:
            if not self._machines:

                def machine(host: Host) -> MachineState:
                    self.found(host)
                    return read(
                        host,
                        Machine,
                        kubernetes_version=kubernetes_version,
                        key_url=key_url,
                        urls=urls[host.name],
                    )

                self._machines = in_parallel(machine, [inventory.get_host(name) for name in urls])
            return self._machines

    def lost_quorum(self, topology: Topology) -> str:
        """That a cluster whose API does not answer will not answer in this run, empty when it may: machines that
        cannot be reached do not come back.
        """
        election = self.planned(topology)
        return "" if not election.exists or election.healthy else self._lost_quorum(election, topology)

    def _elect(self, topology: Topology, *, before: Election | None = None) -> Election:
        hosts = [inventory.get_host(node.host) for node in topology.control_planes]
        found = in_parallel(read_kubeadm, hosts)
        self._found.update(found)
        able = frozenset(host.name for host in hosts if host in host.state.active_hosts)
        return elect(topology, found=found, able=able, before=before or self._election or self._planned)

    def _await_election(self, topology: Topology) -> Election:
        self._await_kubeadm(topology)
        deadline = time.monotonic() + _API_SECONDS
        while (election := self._elect(topology)).exists and election.problem:
            if election.healthy:
                # They do not belong to one cluster, which no waiting mends.
                return election
            if empty := self._stored_nothing(election, topology):
                return empty
            if lost := self._lost_quorum(election, topology):
                return replace(election, problem=f"{election.problem}; {lost}; {QUORUM_FIX}")
            if time.monotonic() > deadline:
                return election
            sleep(2)
        return election

    def _await_kubeadm(self, topology: Topology) -> None:
        """Wait for kubeadm that an earlier run has left at work on a control plane."""
        deadline = time.monotonic() + KUBEADM_SECONDS
        for node in topology.control_planes:
            await_kubeadm(inventory.get_host(node.host), deadline=deadline)

    def _lost_quorum(self, election: Election, topology: Topology) -> str:
        try:
            members = read(inventory.get_host(election.leader), EtcdMembers)
        except NotRead:
            # An etcd that says nothing may come back.
            return ""
        there = {
            node.ip
            for node in topology.control_planes
            if isinstance(self._found[node.host], KubeadmNodeState)
        }
        return quorum_lost(members=members, there=there)

    def _stored_nothing(self, election: Election, topology: Topology) -> Election | None:
        """The cluster does not exist when its one etcd runs and holds not a single object: an init that ended before
        its API server was there.
        """
        found = [self._found[node.host] for node in topology.control_planes]
        if any(isinstance(each, NotRead) for each in found):
            return None
        candidates = [each for each in found if isinstance(each, KubeadmNodeState) and each.has_cluster]
        if len(candidates) != 1 or candidates[0].rotating:
            return None
        try:
            keys = read(inventory.get_host(election.leader), EtcdKeys)
        except NotRead:
            return None
        return Election(leader=election.leader, exists=False, stored_nothing=True) if keys == 0 else None

    def ensure_token(self, control_plane: Host, *, document: str) -> str:
        """The token to join with, created in the cluster by the first host that asks.

        Raises:
            DeployError: the control plane refused it.
        """
        with self._lock:
            if not self.token_exists:
                created, output = direct.run(
                    control_plane,
                    "KUBECONFIG=/etc/kubernetes/admin.conf kubeadm token create --config /dev/stdin > /dev/null",
                    stdin=document,
                )
                if not created:
                    raise DeployError(f"{control_plane.name}: kubeadm made no join token: {output.stderr}")
                self.token_exists = True
        return self.token

    def shared_pki(self, control_plane: Host) -> str:
        """The certificates and keys that every control plane has, for ``shared_pki.write_command``.

        Raises:
            DeployError: they cannot be read, or some are missing.
        """
        # Past the facts, whose answers pyinfra can be told to print.
        complete, output = direct.run(control_plane, framed_command("SharedPki", shared_pki.read_command()))
        lines = framed_lines("SharedPki", output.stdout_lines)
        if not complete or lines is None:
            raise DeployError(f"{control_plane.name}: the cluster's keys cannot be read: {output.stderr}")
        return "\n".join([*lines, ""])


CURRENT = ClusterRun()
"""pyinfra executes deploy files once for each host; what they share must outlive that: one a process."""


def read_kubeadm(host: Host) -> KubeadmNodeState | NotRead:
    """What kubeadm made of a machine, or why that is not known."""
    if host in host.state.failed_hosts and not host.connected and not host.state.is_executing:
        # pyinfra has tried to connect a moment ago.
        return NotRead(host=host.name, what="kubeadm node", reason="cannot be reached", reached=False)
    try:
        return read(host, KubeadmNode)
    except NotRead as error:
        return error


def await_kubeadm(host: Host, *, deadline: float | None = None) -> KubeadmNodeState | NotRead:
    """What kubeadm made of a machine, once kubeadm of an earlier run has ended there.

    Raises:
        DeployError: it has not ended by the ``deadline`` of the monotonic clock, or as long as kubeadm may take.
    """
    deadline = deadline or time.monotonic() + KUBEADM_SECONDS
    said = False
    while isinstance(found := read_kubeadm(host), KubeadmNodeState) and found.kubeadm_runs:
        if not said:
            logger.info(f"--> {host.name}: kubeadm of an earlier run is still at work; waiting until it ends")
            said = True
        if time.monotonic() > deadline:
            raise DeployError(
                f"{host.name}: kubeadm of an earlier run has not ended within {KUBEADM_SECONDS} s; look at it there "
                "with 'systemctl status kubeadm-deploys-kubeadm'"
            )
        sleep(2)
    return found
