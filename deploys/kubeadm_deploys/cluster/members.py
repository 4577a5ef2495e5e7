"""Ask the cluster for its members and for the settings that it was created with.

The leader is asked once during preparation and once while operations run. The first command also reads
everything else that the run needs from the cluster: ``wants``.
"""

from collections.abc import Iterable

from gevent.lock import RLock
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.cluster.leader import (
    Leader,
    ask_leader,
    ask_planned_leader,
    ask_planned_leader_again,
    leader_made_cluster,
)
from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState
from kubeadm_deploys.facts.cluster_settings import ClusterSettings, ClusterSettingsState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import NotRead, ask, ask_what_is_missing, read
from kubeadm_deploys.remote.run_parts import part

MEMBERS = Reading(ClusterMembers)
SETTINGS = Reading(ClusterSettings)


class ClusterAnswers:
    """The cluster's last answers; ``wanted`` are the readings that are asked in the same command."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.wanted: tuple[Reading[object], ...] = ()
        self.members: ClusterMembersState | None = None
        self.members_asked = False
        self.settings: ClusterSettingsState | None = None
        self.settings_asked = False

    def begin_again(self) -> None:
        """Have everything asked again."""
        self.members_asked = self.settings_asked = False


def wants(state: State, readings: Iterable[Reading[object]]) -> None:
    """Ask the cluster for these readings together with the first question."""
    part(state, ClusterAnswers).wanted = tuple(readings)


def begin_again(state: State) -> None:
    """Have the leader and the cluster asked again; call this while holding the run lock."""
    part(state, Leader).begin_again()
    part(state, ClusterAnswers).begin_again()


def ask_members(state: State, topology: Topology, *, refresh: bool = False) -> ClusterMembersState | None:
    """Return the cluster's members: empty without a cluster, None if its API does not answer.

    ``refresh`` asks the cluster even if its members are known.

    Raises:
        NotRead: the API answers, but its members cannot be read.
    """
    return _ask_members(state, ask_leader(state, topology), refresh=refresh)


def ask_planned_members(state: State, topology: Topology) -> ClusterMembersState | None:
    """Return the same without waiting for an API server, even if one has stopped in the meantime."""
    try:
        return _ask_members(state, ask_planned_leader(state, topology))
    except NotRead:
        api_leader = ask_planned_leader_again(state, topology)
        if api_leader.healthy:
            raise
        return _ask_members(state, api_leader)


def known_members(state: State) -> ClusterMembersState | None:
    """Return the members as last asked, without asking; None if never asked or without an answer."""
    return part(state, ClusterAnswers).members


def ask_settings(state: State, topology: Topology, *, refresh: bool = False) -> ClusterSettingsState | None:
    """Return what the cluster was created with; None without a cluster, or if kubeadm has not stored it yet.

    ``refresh`` asks the cluster even if its settings are known.

    Raises:
        NotRead: the settings cannot be read.
    """
    return _ask_settings(state, ask_leader(state, topology), refresh=refresh)


def ask_planned_settings(state: State, topology: Topology) -> ClusterSettingsState | None:
    """Return the same without waiting for an API server."""
    return _ask_settings(state, ask_planned_leader(state, topology))


def made_cluster(state: State, topology: Topology, *, found: KubeadmNodeState) -> None:
    """Record that the leader, now in the state ``found``, has created the cluster; forget earlier answers."""
    leader_made_cluster(state, topology, found=found)
    part(state, ClusterAnswers).begin_again()


def restored_cluster(state: State) -> None:
    """Have everything asked again: the cluster has been restored from a backup."""
    part(state, Leader).restored()
    part(state, ClusterAnswers).begin_again()


def _ask_members(state: State, api_leader: ApiLeader, *, refresh: bool = False) -> ClusterMembersState | None:
    cluster = part(state, ClusterAnswers)
    with cluster.lock:
        if not api_leader.exists:
            cluster.members = ClusterMembersState()
        elif not api_leader.healthy:
            cluster.members = None
        elif refresh:
            cluster.members = ask(_leader(state, api_leader), ClusterMembers)
            cluster.members_asked = True
        elif cluster.members is None or not cluster.members_asked:
            _ask_all_wanted(state, api_leader)
            cluster.members = read(_leader(state, api_leader), ClusterMembers)
            cluster.members_asked = True
        return cluster.members


def _ask_settings(
    state: State, api_leader: ApiLeader, *, refresh: bool = False
) -> ClusterSettingsState | None:
    cluster = part(state, ClusterAnswers)
    with cluster.lock:
        if not api_leader.exists:
            return None
        if refresh or not cluster.settings_asked:
            if not refresh:
                _ask_all_wanted(state, api_leader)
            try:
                cluster.settings = (ask if refresh else read)(_leader(state, api_leader), ClusterSettings)
            except NotRead as error:
                if api_leader.healthy:
                    raise
                # Neither an API server nor files have the settings; add why the cluster is down.
                reason = f"{error.reason}; {api_leader.problem}"
                raise NotRead(
                    host=error.host, what=error.what, reason=reason, reached=error.reached
                ) from None
            cluster.settings_asked = True
        return cluster.settings


def _ask_all_wanted(state: State, api_leader: ApiLeader) -> None:
    if not api_leader.healthy:
        return
    # Only operations need them during preparation, and with "-y" pyinfra does not plan operations.
    wanted = part(state, ClusterAnswers).wanted if state.is_executing or state.check_for_changes else ()
    ask_what_is_missing(_leader(state, api_leader), (MEMBERS, SETTINGS, *wanted))


def _leader(state: State, api_leader: ApiLeader) -> Host:
    return state.inventory.get_host(api_leader.leader)
