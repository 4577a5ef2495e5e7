"""The search finds faults: each decision is made wrongly on purpose, and an invariant is violated.

Each is an edit of the product's source, so that a fault here is one that somebody could make. When the source has
changed, the edit is to be made anew.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import pytest

from kubeadm_deploys import (
    election,
    foreign_checks,
    kubeadm_steps,
    membership,
    quorum,
    removal,
    reset,
    run_lock,
)
from kubeadm_deploys.facts import etcd, kubeadm_node
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.run_lock import Vote, Voters
from tests.simulation import (
    decisions_join,
    decisions_leader,
    decisions_lock,
    decisions_quorum,
    decisions_removal,
    decisions_reset,
)
from tests.simulation.decisions import Search
from tests.simulation.decisions_join import JOIN
from tests.simulation.decisions_leader import LEADER
from tests.simulation.decisions_lock import LOCK
from tests.simulation.decisions_quorum import QUORUM
from tests.simulation.decisions_removal import REMOVAL
from tests.simulation.decisions_reset import RESET

Where = Callable[..., Any] | property


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault in words, the function or property that has it, and what of its source becomes what.

    ``finds`` is the search and the invariant that is violated. ``beside`` are edits of a second place, where two
    refuse the same.
    """

    words: str
    where: Where
    old: str
    new: str
    finds: tuple[Search[Any, Any], Callable[[Any, Any], bool]]
    beside: tuple[tuple[Where, str, str], ...] = ()


def put_in(where: Where, old: str, new: str, *, patch: pytest.MonkeyPatch) -> None:
    """Edit a function of the product, wherever the product uses it."""
    function = where.fget if isinstance(where, property) else inspect.unwrap(where)
    assert isinstance(function, FunctionType)
    source = textwrap.dedent(inspect.getsource(function))
    source = source[source.index("def ") :]
    assert source.count(old) == 1, f"{function.__qualname__} has changed: {old!r}"
    namespace: dict[str, Any] = {}
    exec(source.replace(old, new), function.__globals__, namespace)
    wrong = namespace[function.__name__]
    if owner := function.__qualname__.rpartition(".")[0]:
        replaced = property(wrong) if isinstance(where, property) else wrong
        patch.setattr(function.__globals__[owner], function.__name__, replaced)
        return
    for name, module in list(sys.modules.items()):
        if name.startswith("kubeadm_deploys") and vars(module).get(function.__name__) is where:
            patch.setattr(module, function.__name__, wrong)


FAULTS = (
    # Who leads, and whether a cluster is created.
    Fault(
        words="a machine that was not read counts as bare",
        where=election._elect,
        old="if isinstance(found[node.host], NotRead)]",
        new="if False]",
        finds=(LEADER, decisions_leader.no_cluster_beside_the_unknown),
    ),
    Fault(
        words="data of etcd without an API server are no cluster",
        where=KubeadmNodeState.has_cluster,
        old='("etcd" in self.files or self.has_joined or self.api == "ok")',
        new='self.api == "ok"',
        finds=(LEADER, decisions_leader.no_cluster_beside_another),
    ),
    Fault(
        words="an init does not ask what is known",
        where=kubeadm_steps.init_step,
        old="if election.problem:",
        new="if False:",
        finds=(LEADER, decisions_leader.init_asks_for_itself),
    ),
    Fault(
        words="a worker of another cluster becomes the first control plane",
        where=KubeadmNodeState.is_worker,
        old='return "kubelet.conf" in self.files and',
        new="return False and",
        finds=(LEADER, decisions_leader.no_node_becomes_a_cluster),
    ),
    Fault(
        words="a cluster stops to exist when it cannot be read",
        where=election.elect,
        old="if before is None or not before.exists:",
        new="if True:",
        finds=(LEADER, decisions_leader.a_cluster_is_seen),
    ),
    Fault(
        words="the first member leads, whether or not it answers",
        where=election._elect,
        old="for candidates in (healthy, members):",
        new="for candidates in (members,):",
        finds=(LEADER, decisions_leader.leader_answers),
    ),
    Fault(
        words="an API server that is not ready is healthy",
        where=election._elect,
        old='.api == "ok")',
        new='.api != "")',
        finds=(LEADER, decisions_leader.only_what_answers_is_healthy),
    ),
    Fault(
        words="CA certificates of control planes are not compared",
        where=election.different_clusters,
        old="if len(by_ca) < 2:",
        new="if True:",
        finds=(LEADER, decisions_leader.two_clusters_are_never_one),
    ),
    Fault(
        words="the CA is not compared with that at the beginning of the run",
        where=election.elect,
        old="if not is_same_ca(election.ca_certificate, before.ca_certificate):",
        new="if False:",
        finds=(LEADER, decisions_leader.the_cluster_stays_the_same),
    ),
    Fault(
        words="a control plane without a CA certificate leads",
        where=election.different_clusters,
        old="if not _state(found, node).ca_certificate.strip()]",
        new="if False]",
        finds=(LEADER, decisions_leader.the_ca_is_known),
    ),
    Fault(
        words="a host that has failed leads",
        where=election._elect,
        old="next((node for node in candidates if node.host in able), candidates[0])",
        new="candidates[0]",
        finds=(LEADER, decisions_leader.the_leader_can_act),
    ),
    Fault(
        words="a refusal says nothing to do",
        where=election._elect,
        old="; {SILENT_CURE}",
        new="",
        finds=(LEADER, decisions_leader.refusals_say_what_to_do),
    ),
    Fault(
        words="a machine that could not be read is said to be unreachable",
        where=election._seen,
        old="if state.reached",
        new="if not state.reached",
        finds=(LEADER, decisions_leader.refusals_are_true),
    ),
    Fault(
        words="control planes of one cluster are refused",
        where=election.different_clusters,
        old="if len(by_ca) < 2:",
        new="if not by_ca:",
        finds=(LEADER, decisions_leader.what_is_whole_goes_on),
    ),
    # What becomes of a machine that is to be a node.
    Fault(
        words="no machine is another cluster's",
        where=kubeadm_node.is_of_another_cluster,
        old="if not cluster_ca:",
        new="if True:",
        finds=(JOIN, decisions_join.another_clusters_machine_is_left_alone),
    ),
    Fault(
        words="a kubelet's certificate is not compared",
        where=kubeadm_node.is_of_another_cluster,
        old="return bool(found.client_certificate) and",
        new="return False and",
        finds=(JOIN, decisions_join.another_clusters_machine_is_left_alone),
    ),
    Fault(
        words="no etcd is another's",
        where=KubeadmNodeState.has_etcd_of_others,
        old='return self.files == {"etcd"} and',
        new="return False and",
        finds=(JOIN, decisions_join.another_etcd_is_left_alone),
    ),
    Fault(
        words="votes are found by name alone",
        where=membership.has_vote,
        old="(each.name == node.name or each.peer_ip == node.ip)",
        new="each.name == node.name",
        finds=(JOIN, decisions_join.refusals_are_true),
    ),
    Fault(
        words="votes are not looked at",
        where=membership.has_vote,
        old="each.joined and",
        new="False and",
        finds=(JOIN, decisions_join.a_voter_is_not_joined),
    ),
    Fault(
        words="a learner has a vote",
        where=EtcdMember.joined,
        old="bool(self.name) and not self.learner",
        new="bool(self.name)",
        finds=(JOIN, decisions_join.a_member_keeps_its_role),
    ),
    Fault(
        words="an API server that answers is not looked at",
        where=membership.standing,
        old='or (found.is_control_plane and found.api == "ok")',
        new="",
        beside=(
            (membership._etcd_findings, 'found.api == "ok"', "False"),
            (membership._is_control_plane, 'or found.api == "ok"', "or False"),
        ),
        finds=(JOIN, decisions_join.a_running_api_server_is_not_cleaned),
    ),
    Fault(
        words="kubelet.conf decides, whatever the API says",
        where=membership.standing,
        old="if unfinished and not registered.ready",
        new="if unfinished",
        finds=(JOIN, decisions_join.a_registered_machine_is_not_joined),
    ),
    Fault(
        words="a node that is not Ready did not finish its join",
        where=membership.standing,
        old="if unfinished and not registered.ready",
        new="if not registered.ready",
        finds=(JOIN, decisions_join.a_silent_node_is_not_cleaned),
    ),
    Fault(
        words="an API that is silent counts nobody",
        where=kubeadm_steps.join_step,
        old="if members is None:",
        new="members = members or ClusterMembersState()\n    if False:",
        finds=(JOIN, decisions_join.what_was_not_read_is_not_absent),
    ),
    Fault(
        words="an etcd that names nobody has no members",
        where=etcd.parse_members,
        old="if not members:",
        new="if False:",
        finds=(JOIN, decisions_join.what_was_not_read_is_not_absent),
    ),
    Fault(
        words="machine IDs are not compared",
        where=membership._identity_findings,
        old="if registered and registered.machine_id != found.machine_id:",
        new="if False:",
        finds=(JOIN, decisions_join.a_name_is_not_taken),
    ),
    Fault(
        words="a vote under another name or address is not seen",
        where=membership._identity_findings,
        old="(member.name == node.name) is not (member.peer_ip == node.ip)",
        new="False",
        finds=(JOIN, decisions_join.a_vote_elsewhere_is_refused),
    ),
    Fault(
        words="a Ready node whose files are gone is joined over itself",
        where=membership._identity_findings,
        old="if registered and registered.ready and",
        new="if False and",
        finds=(JOIN, decisions_join.a_registered_machine_is_not_joined),
    ),
    Fault(
        words="a certificate alone is nothing",
        where=kubeadm_node.node_state,
        old="found.client_certificate or found.backups",
        new="found.backups",
        finds=(JOIN, decisions_join.what_is_joined_is_clean),
    ),
    Fault(
        words="what preflight refuses is not refused again",
        where=kubeadm_steps.join_step,
        old='return JoinStep(refusal=f"{refusal}; no changes were made to it")',
        new="pass",
        finds=(JOIN, decisions_join.preflight_and_turn_agree),
    ),
    Fault(
        words="a machine without an ID is called another machine",
        where=membership._identity_findings,
        old="if registered and registered.machine_id and not found.machine_id:",
        new="if False:",
        finds=(JOIN, decisions_join.refusals_are_true),
    ),
    Fault(
        words="a refusal during the join says nothing to do",
        where=kubeadm_steps.join_step,
        old="run again when it answers",
        new="",
        finds=(JOIN, decisions_join.refusals_say_what_to_do),
    ),
    Fault(
        words="bare machines are refused",
        where=kubeadm_node.node_state,
        old="return NodeState.ABSENT",
        new="return NodeState.FOREIGN",
        finds=(JOIN, decisions_join.what_is_whole_goes_on),
    ),
    # Whether a node may leave.
    Fault(
        words="half of etcd is enough",
        where=quorum.quorum_refusal,
        old="needed = len(remaining) // 2 + 1",
        new="needed = len(remaining) // 2",
        finds=(REMOVAL, decisions_removal.etcd_keeps_a_majority),
    ),
    Fault(
        words="of two members the live one goes first",
        where=quorum.removal_order,
        old="member.peer_ip in healthy",
        new="member.peer_ip not in healthy",
        finds=(REMOVAL, decisions_removal.each_step_keeps_a_majority),
    ),
    Fault(
        words="another cluster's machine is cleaned when its name is named",
        where=removal.machine_refusal,
        old="if is_of_another_cluster(found, cluster_ca=cluster_ca):",
        new="if False:",
        finds=(REMOVAL, decisions_removal.another_clusters_machine_is_not_cleaned),
    ),
    Fault(
        words="a new machine under a node's name is cleaned for it",
        where=removal.is_machine_of,
        old="registered is None or registered.machine_id == found.machine_id",
        new="True",
        finds=(REMOVAL, decisions_removal.another_nodes_machine_is_not_cleaned),
    ),
    Fault(
        words="a machine of which nothing is shown is cleaned",
        where=removal.machine_refusal,
        old="if registered is None and found.files and not found.ca_certificate:",
        new="if False:",
        finds=(REMOVAL, decisions_removal.what_shows_nothing_is_not_cleaned),
    ),
    Fault(
        words="nobody needs force",
        where=removal.planned_removal,
        old="if machine is None and not force:",
        new="if False:",
        finds=(REMOVAL, decisions_removal.only_force_gives_a_machine_up),
    ),
    Fault(
        words="a control plane takes itself out",
        where=removal.planned_removal,
        old=" if each.name != name)",
        new=")",
        finds=(REMOVAL, decisions_removal.another_stays_and_acts),
    ),
    Fault(
        words="etcd's members are found by address alone",
        where=removal.etcd_members_of,
        old="dict.fromkeys((*by_name, *by_address))",
        new="by_address",
        finds=(REMOVAL, decisions_removal.nobody_elses_member_goes),
    ),
    Fault(
        words="a refusal does not say that nothing was changed",
        where=removal.majority_refusal,
        old="; no changes were made",
        new="",
        finds=(REMOVAL, decisions_removal.refusals_say_what_to_do),
    ),
    Fault(
        words="those that answer are said to be silent",
        where=quorum.quorum_refusal,
        old="if member not in answering",
        new="if member in answering",
        finds=(REMOVAL, decisions_removal.refusals_are_true),
    ),
    Fault(
        words="a majority is not enough",
        where=quorum.quorum_refusal,
        old="if len(answering) >= needed:",
        new="if len(answering) > needed:",
        finds=(REMOVAL, decisions_removal.what_is_whole_goes_on),
    ),
    # What is given up.
    Fault(
        words="a control plane that was not read is none",
        where=reset.why_it_goes_on,
        old="if isinstance(state, NotRead):",
        new="if isinstance(state, NotRead):\n            continue\n        if False:",
        finds=(RESET, decisions_reset.what_was_not_read_goes_on),
    ),
    Fault(
        words="a control plane whose API is down is none",
        where=reset.why_it_goes_on,
        old="if state.has_cluster:",
        new='if state.api == "ok":',
        finds=(RESET, decisions_reset.a_cluster_that_goes_on_keeps_its_machines),
    ),
    Fault(
        words="control planes that the inventory does not have are none",
        where=reset.why_it_goes_on,
        old="if member.joined and member.peer_ip not in addresses",
        new="if False",
        finds=(RESET, decisions_reset.a_cluster_that_goes_on_keeps_its_machines),
    ),
    Fault(
        words="the operator's kubeconfig is not looked at",
        where=membership.ownership_findings,
        old="if kubeconfig_ca and not is_same_ca(kubeconfig_ca, election.ca_certificate):",
        new="if False:",
        finds=(RESET, decisions_reset.what_the_operator_means_counts),
    ),
    Fault(
        words="a control plane without a CA certificate has no kubelet's certificate either",
        where=reset.subject_findings,
        old="and own_ca",
        new="and False",
        finds=(RESET, decisions_reset.another_clusters_machine_is_left_alone),
    ),
    Fault(
        words="without a cluster the operator's kubeconfig is not looked at",
        where=reset.reset_findings,
        old="if kubeconfig_ca and is_of_another_cluster(found, cluster_ca=kubeconfig_ca):",
        new="if False:",
        finds=(RESET, decisions_reset.what_the_operator_means_counts),
    ),
    Fault(
        words="a cluster's own name is not compared",
        where=reset.reset_findings,
        old="if found.cluster_name and found.cluster_name != cluster_name:",
        new="if False:",
        finds=(RESET, decisions_reset.what_the_operator_means_counts),
    ),
    Fault(
        words="CA certificates are not compared before a reset",
        where=kubeadm_node.is_of_another_cluster,
        old="if not cluster_ca:",
        new="if True:",
        finds=(RESET, decisions_reset.another_clusters_machine_is_left_alone),
    ),
    Fault(
        words="two clusters are given up at once",
        where=foreign_checks.foreign_findings,
        old="if subject.state is NodeState.FOREIGN and not subject.kubeadm.has_etcd_of_others:",
        new="if False:",
        finds=(RESET, decisions_reset.two_clusters_are_not_given_up_at_once),
    ),
    Fault(
        words="another etcd's data are deleted",
        where=foreign_checks._etcd_data,
        old="if subject.machine.etcd_entries - explained:",
        new="if False:",
        finds=(RESET, decisions_reset.another_etcd_is_left_alone),
    ),
    Fault(
        words="a bare control plane is said to hold the cluster",
        where=reset.why_it_goes_on,
        old="if state.has_cluster:",
        new="if True:",
        finds=(RESET, decisions_reset.refusals_are_true),
    ),
    Fault(
        words="a refused reset does not say that nothing was changed",
        where=reset.reset_refusal,
        old="no changes were made; ",
        new="",
        finds=(RESET, decisions_reset.refusals_say_what_to_do),
    ),
    Fault(
        words="a whole cluster cannot be given up",
        where=reset.why_it_goes_on,
        old="if node.host in active:",
        new="if False:",
        finds=(RESET, decisions_reset.what_is_whole_can_be_given_up),
    ),
    # What etcd's majority allows.
    Fault(
        words="a learner counts for the majority",
        where=EtcdMember.joined,
        old="bool(self.name) and not self.learner",
        new="bool(self.name)",
        finds=(QUORUM, decisions_quorum.a_majority_stays),
    ),
    Fault(
        words="half of etcd is a majority",
        where=quorum.quorum_lost,
        old="needed = len(voters) // 2 + 1",
        new="needed = len(voters) // 2",
        finds=(QUORUM, decisions_quorum.lost_is_lost),
    ),
    Fault(
        words="a member with data makes room for itself",
        where=quorum.orphan_members,
        old="member.peer_ip == node.ip and not has_data",
        new="member.peer_ip == node.ip",
        finds=(QUORUM, decisions_quorum.no_live_vote_makes_room),
    ),
    Fault(
        words="a member that answers makes room",
        where=quorum.orphan_refusal,
        old="if orphan.joined and orphan.peer_ip in healthy:",
        new="if False:",
        finds=(QUORUM, decisions_quorum.no_live_vote_makes_room),
    ),
    Fault(
        words="a dead member makes room without a majority",
        where=quorum.orphan_refusal,
        old="if orphan.joined and (refusal :=",
        new="if False and (refusal :=",
        finds=(QUORUM, decisions_quorum.room_keeps_a_majority),
    ),
    Fault(
        words="etcd grows while a member is down",
        where=quorum.unready_members,
        old="elif member.peer_ip not in healthy:",
        new="elif False:",
        finds=(QUORUM, decisions_quorum.only_a_whole_etcd_grows),
    ),
    Fault(
        words="a member that answers is said to be silent",
        where=quorum.quorum_refusal,
        old="if member not in answering",
        new="if member in answering",
        finds=(QUORUM, decisions_quorum.refusals_are_true),
    ),
    Fault(
        words="a majority's refusal says nothing to do",
        where=quorum.quorum_refusal,
        old="; start that machine, or remove it first",
        new="",
        finds=(QUORUM, decisions_quorum.refusals_say_what_to_do),
    ),
    # Whether a run has the lock.
    Fault(
        words="half of the control planes is a majority",
        where=Voters.needed,
        old="self.count // 2 + 1",
        new="self.count // 2",
        finds=(LOCK, decisions_lock.two_runs_cannot_both),
    ),
    Fault(
        words="half of the control planes are most of them",
        where=membership.membership_findings,
        old="if len(unlisted) * 2 > voters:",
        new="if len(unlisted) * 2 > voters + 1:",
        finds=(LOCK, decisions_lock.most_control_planes_are_listed),
    ),
    Fault(
        words="only the inventory's control planes count",
        where=run_lock.lock_voters,
        old="tuple(sorted(names - known_names - renamed))",
        new="()",
        finds=(LOCK, decisions_lock.two_runs_cannot_both),
    ),
    Fault(
        words="a control plane of another name counts twice",
        where=run_lock.lock_voters,
        old="names - known_names - renamed",
        new="names - known_names",
        finds=(LOCK, decisions_lock.each_counts_once),
    ),
    Fault(
        words="who was not read is no control plane",
        where=run_lock.lock_voters,
        old="if not election.exists or not (voting or registered):",
        new="if not election.exists:",
        finds=(LOCK, decisions_lock.unknown_is_not_absent),
    ),
    Fault(
        words="a majority does not grant the lock",
        where=Voters.majority,
        old=">= self.needed",
        new="> self.needed",
        finds=(LOCK, decisions_lock.most_is_enough),
    ),
    Fault(
        words="a control plane that cannot grant has granted",
        where=Vote.granted,
        old="self.reached and self.held is None and not self.problem",
        new="self.reached and self.held is None",
        finds=(LOCK, decisions_lock.nothing_granted_is_no_majority),
    ),
    Fault(
        words="one that grants speaks for all that answer",
        where=Voters.all_that_answer,
        old="len(reached) == len(self._granting(votes))",
        new="len(self._granting(votes)) > 0",
        finds=(LOCK, decisions_lock.nobody_is_passed_over),
    ),
    Fault(
        words="who cannot be asked is not named",
        where=Voters.problems,
        old="for name in self.unlisted)",
        new="for name in ())",
        finds=(LOCK, decisions_lock.every_missing_lock_is_named),
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.words)
def test_the_search_finds(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    for where, old, new in ((fault.where, fault.old, fault.new), *fault.beside):
        put_in(where, old, new, patch=monkeypatch)
    search, invariant = fault.finds
    found = Search(cases=search.cases, decide=search.decide, invariants=(invariant,)).run(stop=True)
    assert list(found.violations) == [invariant.__name__]


@pytest.mark.parametrize("search", [LEADER, JOIN, REMOVAL, RESET, QUORUM, LOCK])
def test_every_invariant_is_violated_by_a_fault(search: Search[Any, Any]) -> None:
    assert {fault.finds[1] for fault in FAULTS if fault.finds[0] is search} == set(search.invariants)
