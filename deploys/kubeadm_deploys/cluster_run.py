"""What the hosts of one run share: through which control plane they speak to the cluster, and how to join it.

Token and keys live in this process's memory and on stdin of the commands that need them; never on the
operator's disk, in an argument or in a log.
"""

import secrets
import string
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gevent import sleep
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool
from pyinfra import inventory
from pyinfra.api.exceptions import DeployError, PyinfraError
from pyinfra.api.host import Host
from pyinfra.context import ctx_config

from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState
from kubeadm_deploys.facts.cluster_settings import ClusterSettings, ClusterSettingsState
from kubeadm_deploys.facts.etcd import EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState
from kubeadm_deploys.facts.machine import Machine, MachineState
from kubeadm_deploys.membership import Election, elect, quorum_lost
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import direct

_ALPHABET = string.ascii_lowercase + string.digits

_API_SECONDS = 120
"""How long an API server has to answer again, after a reboot of its machine for example: kubeadm gives it twice that
on the slowest of machines, and a healthy one takes 20 to 40 s."""


def new_token() -> str:
    """A bootstrap token in kubeadm's form: six characters of id, a dot, sixteen of secret."""
    return ".".join("".join(secrets.choice(_ALPHABET) for _ in range(length)) for length in (6, 16))


# What control planes share, as kubeadm's documentation lists it ("Manual certificate distribution").
_SHARED_PKI = "ca.crt ca.key sa.key sa.pub front-proxy-ca.crt front-proxy-ca.key etcd/ca.crt etcd/ca.key"


@dataclass
class ClusterRun:
    """Values that are found or made once in a run, however many hosts ask."""

    token: str = field(default_factory=new_token, repr=False)
    token_exists: bool = False
    control_plane_turn: BoundedSemaphore = field(default_factory=BoundedSemaphore, repr=False)
    """Held by the control plane that joins: etcd takes one new member at a time."""
    _lock: BoundedSemaphore = field(default_factory=BoundedSemaphore, repr=False)
    _planned: Election | None = None
    _election: Election | None = None
    _found: dict[str, KubeadmNodeState | None] = field(default_factory=dict)
    _members: ClusterMembersState = field(default_factory=ClusterMembersState)
    _settings: ClusterSettingsState | DeployError | None = None
    _machines_lock: BoundedSemaphore = field(default_factory=BoundedSemaphore, repr=False)
    _machines: dict[str, MachineState] = field(default_factory=dict)

    def election(self, topology: Topology) -> Election:
        """Who speaks for the cluster. While operations run, an API server that does not answer is waited for."""
        state = inventory.get_host(topology.control_planes[0].host).state
        with self._lock:
            if not state.is_executing:
                self._planned = self._planned or self._elect(topology)
                return self._planned
            self._election = self._election or self._await_election(topology)
            return self._election

    def found(self, host: Host) -> KubeadmNodeState:
        """What kubeadm made of a machine, read once before and once while operations run."""
        found = self._found.get(host.name) or host.get_fact(KubeadmNode)
        self._found[host.name] = found
        return found

    def leader(self, topology: Topology) -> Host:
        """The control plane through which this run speaks to the cluster."""
        return inventory.get_host(self.election(topology).leader)

    def usable(self, topology: Topology) -> tuple[Node, ...]:
        """The control planes whose API server answers, the leader first; the leader alone where there is none yet."""
        election = self.election(topology)
        leader = topology.node(election.leader)
        return (leader, *(node for node in election.healthy if node != leader))

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

    def created(self, topology: Topology, *, ca_certificate: str) -> None:
        """The leader has made the cluster."""
        election = self.election(topology)
        self._election = replace(election, exists=True, ca_certificate=ca_certificate)

    def members(self, topology: Topology, *, anew: bool = False) -> ClusterMembersState:
        """Who belongs to the cluster; read once in a run unless ``anew``, and empty while there is none."""
        election = self.election(topology)
        with self._lock:
            if anew or not self._members.nodes:
                self._members = (
                    inventory.get_host(election.leader).get_fact(ClusterMembers)
                    if election.exists
                    else ClusterMembersState()
                )
            return self._members

    def settings(self, topology: Topology, *, anew: bool = False) -> ClusterSettingsState | None:
        """What the cluster was made with; read once in a run unless ``anew``, and None while there is none.

        Raises:
            DeployError: it could not be read, and is not asked for again.
        """
        election = self.election(topology)
        with self._lock:
            if not election.exists:
                return None
            if anew or self._settings is None:
                leader = inventory.get_host(election.leader)
                self._settings = leader.get_fact(ClusterSettings) or DeployError(
                    f"{leader.name}: what the cluster was made with could not be read; no changes were made"
                )
            if isinstance(self._settings, DeployError):
                raise self._settings
            return self._settings

    def machines(
        self, *, urls: Mapping[str, tuple[str, ...]], key_url: str = "", kubernetes_version: str
    ) -> dict[str, MachineState]:
        """What this run's machines are by host, all read at once by whoever asks first.

        ``urls`` are those to try by host, ``key_url`` that of the apt repository's key, for those that will need it.
        What kubeadm made of them is read along with it.
        """
        with self._machines_lock:
            if not self._machines:
                hosts = {name: inventory.get_host(name) for name in urls}
                config = ctx_config.get()

                def read(host: Host) -> MachineState | PyinfraError:
                    # What a deploy file has set in pyinfra's config, like SUDO, counts for its own greenlet only. An
                    # exception is handed on by hand: gevent prints those that end a greenlet.
                    with ctx_config.use(config):
                        try:
                            self.found(host)
                            return host.get_fact(
                                Machine,
                                kubernetes_version=kubernetes_version,
                                key_url=key_url,
                                urls=urls[host.name],
                            )
                        except PyinfraError as error:
                            return error

                pool = Pool(next(iter(hosts.values())).state.pool.size)
                for name, state in zip(hosts, pool.map(read, hosts.values()), strict=True):
                    if isinstance(state, PyinfraError):
                        raise state
                    self._machines[name] = state
            return self._machines

    def _elect(self, topology: Topology) -> Election:
        hosts = {node.host: inventory.get_host(node.host) for node in topology.control_planes}
        self._found = {name: read_control_plane(host) for name, host in hosts.items()}
        able = frozenset(name for name, host in hosts.items() if host in host.state.active_hosts)
        return elect(topology, found=self._found, able=able)

    def _await_election(self, topology: Topology) -> Election:
        deadline = time.monotonic() + _API_SECONDS
        while (election := self._elect(topology)).exists and election.problem:
            if lost := self._lost_quorum(election, topology):
                return replace(election, problem=f"{election.problem}; {lost}")
            if time.monotonic() > deadline:
                return election
            sleep(2)
        return election

    def _lost_quorum(self, election: Election, topology: Topology) -> str:
        """Why waiting is in vain, empty when it is not: machines that cannot be reached do not come back in this run."""
        members = inventory.get_host(election.leader).get_fact(EtcdMembers)
        there = {node.ip for node in topology.control_planes if self._found[node.host] is not None}
        return quorum_lost(members=members, there=there)

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
        """The certificates and keys that every control plane has, as a base64 tar archive.

        Raises:
            DeployError: they cannot be read.
        """
        archived, output = direct.run(
            control_plane, f"tar --create --directory /etc/kubernetes/pki {_SHARED_PKI} | base64"
        )
        if not archived:
            raise DeployError(f"{control_plane.name}: the cluster's keys cannot be read: {output.stderr}")
        return output.stdout


CURRENT = ClusterRun()
"""pyinfra executes deploy files once for each host; what they share must outlive that: one a process."""


def read_control_plane(host: Host) -> KubeadmNodeState | None:
    """What kubeadm made of a machine; None when it cannot be reached."""
    if host in host.state.failed_hosts and not host.connected:
        return None
    try:
        return host.get_fact(KubeadmNode)
    except PyinfraError:
        return None
