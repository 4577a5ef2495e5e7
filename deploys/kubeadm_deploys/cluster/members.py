"""What the cluster says of itself: who belongs to it, and what it was made with.

The leader is asked once before and once while operations run. With the first question goes everything else that the run
will want to know of the cluster: ``wants``.
"""

from collections.abc import Iterable

from gevent.lock import RLock
from pyinfra.api.host import Host
from pyinfra.api.state import State

from kubeadm_deploys.cluster.leader import (
    Leader,
    ask_leader,
    ask_planned_leader,
    ask_planned_leader_again,
    leader_made_cluster,
)
from kubeadm_deploys.election import Election
from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState
from kubeadm_deploys.facts.cluster_settings import ClusterSettings, ClusterSettingsState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.reading import NotRead, ask, ask_what_is_missing, read
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.run_parts import part

MEMBERS = Reading(ClusterMembers)
SETTINGS = Reading(ClusterSettings)


class ClusterAnswers:
    """What the cluster said when it was last asked; ``wanted`` is what else it is to be asked in the same command."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.wanted: tuple[Reading[object], ...] = ()
        self.members: ClusterMembersState | None = None
        self.members_asked = False
        self.settings: ClusterSettingsState | None = None
        self.settings_asked = False

    def begin_again(self) -> None:
        """Whatever was asked is to be asked again."""
        self.members_asked = self.settings_asked = False


def wants(state: State, readings: Iterable[Reading[object]]) -> None:
    """Have the cluster asked for all of these as soon as it is asked for anything."""
    part(state, ClusterAnswers).wanted = tuple(readings)


def begin_again(state: State) -> None:
    """Have the leader and the cluster asked again; to be called with the lock in hand."""
    part(state, Leader).begin_again()
    part(state, ClusterAnswers).begin_again()


def ask_members(state: State, topology: Topology, *, anew: bool = False) -> ClusterMembersState | None:
    """Who belongs to the cluster: empty while there is none, None while its API does not answer.

    Raises:
        NotRead: the API answers, but not this question.
    """
    return _ask_members(state, ask_leader(state, topology), anew=anew)


def ask_planned_members(state: State, topology: Topology) -> ClusterMembersState | None:
    """The same without waiting for an API server: one that has ended between two questions does not answer."""
    try:
        return _ask_members(state, ask_planned_leader(state, topology))
    except NotRead:
        election = ask_planned_leader_again(state, topology)
        if election.healthy:
            raise
        return _ask_members(state, election)


def known_members(state: State) -> ClusterMembersState | None:
    """Who belonged to the cluster when it was last asked; None when it was not, or did not answer. Nothing is asked."""
    return part(state, ClusterAnswers).members


def ask_settings(state: State, topology: Topology, *, anew: bool = False) -> ClusterSettingsState | None:
    """What the cluster was made with; None while there is none, or kubeadm has not come as far as to store it.

    Raises:
        NotRead: it could not be read.
    """
    return _ask_settings(state, ask_leader(state, topology), anew=anew)


def ask_planned_settings(state: State, topology: Topology) -> ClusterSettingsState | None:
    """The same without waiting for an API server."""
    return _ask_settings(state, ask_planned_leader(state, topology))


def made_cluster(state: State, topology: Topology, *, found: KubeadmNodeState) -> None:
    """The leader has made the cluster, and is what was ``found``: note it, and that what was known before is old."""
    leader_made_cluster(state, topology, found=found)
    part(state, ClusterAnswers).begin_again()


def _ask_members(state: State, election: Election, *, anew: bool = False) -> ClusterMembersState | None:
    cluster = part(state, ClusterAnswers)
    with cluster.lock:
        if not election.exists:
            cluster.members = ClusterMembersState()
        elif not election.healthy:
            cluster.members = None
        elif anew:
            cluster.members = ask(_leader(state, election), ClusterMembers)
            cluster.members_asked = True
        elif cluster.members is None or not cluster.members_asked:
            _ask_for_all_that_is_wanted(state, election)
            cluster.members = read(_leader(state, election), ClusterMembers)
            cluster.members_asked = True
        return cluster.members


def _ask_settings(state: State, election: Election, *, anew: bool = False) -> ClusterSettingsState | None:
    cluster = part(state, ClusterAnswers)
    with cluster.lock:
        if not election.exists:
            return None
        if anew:
            cluster.settings = ask(_leader(state, election), ClusterSettings)
            cluster.settings_asked = True
        elif not cluster.settings_asked:
            _ask_for_all_that_is_wanted(state, election)
            cluster.settings = _settings(_leader(state, election), election)
            cluster.settings_asked = True
        return cluster.settings


def _settings(leader: Host, election: Election) -> ClusterSettingsState | None:
    try:
        return read(leader, ClusterSettings)
    except NotRead as error:
        if election.healthy:
            raise
        # Nothing is left on it that says what the cluster was made with; what is wrong with it is known.
        reason = f"{error.reason}; {election.problem}"
        raise NotRead(host=error.host, what=error.what, reason=reason, reached=error.reached) from None


def _ask_for_all_that_is_wanted(state: State, election: Election) -> None:
    if not election.healthy:
        return
    # With "-y" pyinfra makes no plan, for which operations would want to know it.
    wanted = part(state, ClusterAnswers).wanted if state.is_executing or state.check_for_changes else ()
    ask_what_is_missing(_leader(state, election), (MEMBERS, SETTINGS, *wanted))


def _leader(state: State, election: Election) -> Host:
    return state.inventory.get_host(election.leader)
