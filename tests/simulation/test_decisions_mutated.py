"""The searches find faults: each wrong decision, made on purpose, violates an invariant.

Each fault is an edit of the product's source, like a mistake that a person could make. When that source
changes, the edit must be adapted.
"""

import inspect
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import pytest

from kubeadm_deploys.cluster import api_leader, kubeadm_steps, membership, quorum
from kubeadm_deploys.facts import etcd, kubeadm_node
from kubeadm_deploys.facts.etcd import EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.lifecycle import removal, reset
from kubeadm_deploys.preflight import conflict_checks
from kubeadm_deploys.run import run_lock
from kubeadm_deploys.run.run_lock import Vote, Voters
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
    """A fault in words, its function or property, and the edit of the source from ``old`` to ``new``.

    ``finds`` is the search and the violated invariant. ``beside`` are further edits, for refusals that the
    product makes in several places.
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
    # Which control plane leads, and whether a cluster is created.
    Fault(
        words="a machine that was not read counts as bare",
        where=api_leader._choose_leader,
        old="if isinstance(found[node.host], NotRead)]",
        new="if False]",
        finds=(LEADER, decisions_leader.no_cluster_while_a_machine_is_unread),
    ),
    Fault(
        words="etcd data without an API server is not a cluster",
        where=KubeadmNodeState.has_cluster,
        old='("etcd" in self.files or self.has_joined or self.api == "ok")',
        new='self.api == "ok"',
        finds=(LEADER, decisions_leader.no_cluster_beside_another),
    ),
    Fault(
        words="an init does not check for problems",
        where=kubeadm_steps.init_step,
        old="if api_leader.problem:",
        new="if False:",
        finds=(LEADER, decisions_leader.init_checks_on_its_own),
    ),
    Fault(
        words="a worker of another cluster becomes the first control plane",
        where=KubeadmNodeState.is_worker,
        old='return "kubelet.conf" in self.files and',
        new="return False and",
        finds=(LEADER, decisions_leader.no_cluster_on_a_joined_machine),
    ),
    Fault(
        words="a cluster that cannot be read does not exist",
        where=api_leader.choose_leader,
        old="if before is None or not before.exists:",
        new="if True:",
        finds=(LEADER, decisions_leader.an_existing_cluster_is_recognised),
    ),
    Fault(
        words="the first member leads whether or not it answers",
        where=api_leader._choose_leader,
        old="for candidates in (healthy, members):",
        new="for candidates in (members,):",
        finds=(LEADER, decisions_leader.the_leader_answers),
    ),
    Fault(
        words="an API server that is not ready is healthy",
        where=api_leader._choose_leader,
        old='.api == "ok")',
        new='.api != "")',
        finds=(LEADER, decisions_leader.healthy_means_the_api_answers),
    ),
    Fault(
        words="CA certificates of control planes are not compared",
        where=api_leader.different_clusters,
        old="if len(by_ca) < 2:",
        new="if True:",
        finds=(LEADER, decisions_leader.two_clusters_are_never_mixed),
    ),
    Fault(
        words="the CA is not compared with the one at the beginning of the run",
        where=api_leader.choose_leader,
        old="if not is_same_ca(api_leader.ca_certificate, before.ca_certificate):",
        new="if False:",
        finds=(LEADER, decisions_leader.the_cluster_stays_the_same),
    ),
    Fault(
        words="a control plane without a CA certificate leads",
        where=api_leader.different_clusters,
        old="if not _state(found, node).ca_certificate.strip()]",
        new="if False]",
        finds=(LEADER, decisions_leader.the_ca_is_known),
    ),
    Fault(
        words="a host that has failed leads",
        where=api_leader._choose_leader,
        old="next((node for node in candidates if node.host in able), candidates[0])",
        new="candidates[0]",
        finds=(LEADER, decisions_leader.the_leader_can_act),
    ),
    Fault(
        words="a refusal does not say what to do",
        where=api_leader._choose_leader,
        old="; {SILENT_FIX}",
        new="",
        finds=(LEADER, decisions_leader.refusals_say_what_to_do),
    ),
    Fault(
        words="a machine that could not be read is reported as unreachable",
        where=api_leader._seen,
        old="if state.reached",
        new="if not state.reached",
        finds=(LEADER, decisions_leader.refusals_are_true),
    ),
    Fault(
        words="control planes of one cluster are refused",
        where=api_leader.different_clusters,
        old="if len(by_ca) < 2:",
        new="if not by_ca:",
        finds=(LEADER, decisions_leader.healthy_machines_are_not_refused),
    ),
    # How a machine is joined.
    Fault(
        words="no machine belongs to another cluster",
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
        words="no etcd is foreign",
        where=KubeadmNodeState.has_etcd_of_others,
        old='return self.files == {"etcd"} and',
        new="return False and",
        finds=(JOIN, decisions_join.another_etcd_is_left_alone),
    ),
    Fault(
        words="votes are found only by name",
        where=membership.has_vote,
        old="(member.name == node.name or member.peer_ip == node.ip)",
        new="member.name == node.name",
        finds=(JOIN, decisions_join.refusals_are_true),
    ),
    Fault(
        words="votes are ignored",
        where=membership.has_vote,
        old="member.joined and",
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
        words="an API server that answers is ignored",
        where=membership.membership_state,
        old='or (found.is_control_plane and found.api == "ok")',
        new="",
        beside=(
            (membership._etcd_findings, 'found.api == "ok"', "False"),
            (membership._is_control_plane, 'or found.api == "ok"', "or False"),
        ),
        finds=(JOIN, decisions_join.a_running_api_server_is_not_cleaned),
    ),
    Fault(
        words="kubelet.conf decides, whatever the API reports",
        where=membership.membership_state,
        old="if unfinished and not registered.ready",
        new="if unfinished",
        finds=(JOIN, decisions_join.a_registered_machine_is_not_joined),
    ),
    Fault(
        words="every node that is not Ready has an unfinished join",
        where=membership.membership_state,
        old="if unfinished and not registered.ready",
        new="if not registered.ready",
        finds=(JOIN, decisions_join.a_not_ready_node_is_not_cleaned),
    ),
    Fault(
        words="a silent API means no members",
        where=kubeadm_steps.join_step,
        old="if members is None:",
        new="members = members or ClusterMembersState()\n    if False:",
        finds=(JOIN, decisions_join.unread_is_not_absent),
    ),
    Fault(
        words="an empty list of members is believed",
        where=etcd.parse_members,
        old="if not members:",
        new="if False:",
        finds=(JOIN, decisions_join.unread_is_not_absent),
    ),
    Fault(
        words="machine IDs are not compared",
        where=membership._identity_findings,
        old="if registered and registered.machine_id != found.machine_id:",
        new="if False:",
        finds=(JOIN, decisions_join.a_used_name_is_not_given_again),
    ),
    Fault(
        words="a vote under another name or address is ignored",
        where=membership._identity_findings,
        old="(member.name == node.name) is not (member.peer_ip == node.ip)",
        new="False",
        finds=(JOIN, decisions_join.a_conflicting_etcd_member_is_refused),
    ),
    Fault(
        words="a Ready node whose files are gone is joined again",
        where=membership._identity_findings,
        old="if registered and registered.ready and",
        new="if False and",
        finds=(JOIN, decisions_join.a_registered_machine_is_not_joined),
    ),
    Fault(
        words="a certificate alone does not count as a trace",
        where=kubeadm_node.node_state,
        old="found.client_certificate or found.backups",
        new="found.backups",
        finds=(JOIN, decisions_join.only_a_clean_machine_is_joined),
    ),
    Fault(
        words="the join does not repeat preflight's refusals",
        where=kubeadm_steps.join_step,
        old='return JoinStep(refusal=f"{refusal}; no changes were made to it")',
        new="pass",
        finds=(JOIN, decisions_join.preflight_and_join_agree),
    ),
    Fault(
        words="a machine without an ID is taken for another machine",
        where=membership._identity_findings,
        old="if registered and registered.machine_id and not found.machine_id:",
        new="if False:",
        finds=(JOIN, decisions_join.refusals_are_true),
    ),
    Fault(
        words="a refusal during the join does not say what to do",
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
        finds=(JOIN, decisions_join.healthy_machines_are_not_refused),
    ),
    # Whether a node may be removed.
    Fault(
        words="half of etcd is enough",
        where=quorum.quorum_refusal,
        old="needed = len(remaining) // 2 + 1",
        new="needed = len(remaining) // 2",
        finds=(REMOVAL, decisions_removal.etcd_keeps_a_majority),
    ),
    Fault(
        words="of two members the live one is removed first",
        where=quorum.removal_order,
        old="member.peer_ip in healthy",
        new="member.peer_ip not in healthy",
        finds=(REMOVAL, decisions_removal.each_step_keeps_a_majority),
    ),
    Fault(
        words="another cluster's machine is cleaned if its name is given",
        where=removal.machine_refusal,
        old="if is_of_another_cluster(found, cluster_ca=cluster_ca):",
        new="if False:",
        finds=(REMOVAL, decisions_removal.another_clusters_machine_is_not_cleaned),
    ),
    Fault(
        words="a new machine with a node's name is cleaned",
        where=removal.is_machine_of,
        old="registered is None or registered.machine_id == found.machine_id",
        new="True",
        finds=(REMOVAL, decisions_removal.another_nodes_machine_is_not_cleaned),
    ),
    Fault(
        words="an unidentified machine is cleaned",
        where=removal.machine_refusal,
        old="if registered is None and found.files and not found.ca_certificate:",
        new="if False:",
        finds=(REMOVAL, decisions_removal.an_unidentified_machine_is_not_cleaned),
    ),
    Fault(
        words="force is never needed",
        where=removal.planned_removal,
        old="if machine is None and not force:",
        new="if False:",
        finds=(REMOVAL, decisions_removal.only_force_removes_without_cleaning),
    ),
    Fault(
        words="a control plane removes itself",
        where=removal.planned_removal,
        old=" if plane.name != name)",
        new=")",
        finds=(REMOVAL, decisions_removal.a_remaining_control_plane_removes_the_node),
    ),
    Fault(
        words="etcd's members are found only by address",
        where=removal.etcd_members_of,
        old="dict.fromkeys((*by_name, *by_address))",
        new="by_address",
        finds=(REMOVAL, decisions_removal.only_the_nodes_etcd_members_go),
    ),
    Fault(
        words="a refusal does not say that nothing was changed",
        where=removal.majority_refusal,
        old="; no changes were made",
        new="",
        finds=(REMOVAL, decisions_removal.refusals_say_what_to_do),
    ),
    Fault(
        words="removal: members that answer are reported as silent",
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
        finds=(REMOVAL, decisions_removal.healthy_machines_are_not_refused),
    ),
    # Whether machines may be reset.
    Fault(
        words="an unread control plane has no cluster",
        where=reset.why_it_goes_on,
        old="if isinstance(state, NotRead):",
        new="if isinstance(state, NotRead):\n            continue\n        if False:",
        finds=(RESET, decisions_reset.an_unread_control_plane_protects_its_cluster),
    ),
    Fault(
        words="a control plane whose API is down has no cluster",
        where=reset.why_it_goes_on,
        old="if state.has_cluster:",
        new='if state.api == "ok":',
        finds=(RESET, decisions_reset.a_running_cluster_keeps_its_machines),
    ),
    Fault(
        words="control planes outside the inventory are ignored",
        where=reset.why_it_goes_on,
        old="if member.joined and member.peer_ip not in addresses",
        new="if False",
        finds=(RESET, decisions_reset.a_running_cluster_keeps_its_machines),
    ),
    Fault(
        words="the operator's kubeconfig is ignored",
        where=membership.ownership_findings,
        old="if kubeconfig_ca and not is_same_ca(kubeconfig_ca, api_leader.ca_certificate):",
        new="if False:",
        finds=(RESET, decisions_reset.only_the_operators_cluster_is_reset),
    ),
    Fault(
        words="the kubelet's certificate is ignored if the CA certificate is missing",
        where=reset.subject_findings,
        old="and own_ca",
        new="and False",
        finds=(RESET, decisions_reset.another_clusters_machine_is_left_alone),
    ),
    Fault(
        words="the operator's kubeconfig is ignored if there is no cluster",
        where=reset.reset_findings,
        old="if kubeconfig_ca and is_of_another_cluster(found, cluster_ca=kubeconfig_ca):",
        new="if False:",
        finds=(RESET, decisions_reset.only_the_operators_cluster_is_reset),
    ),
    Fault(
        words="the cluster's name is not compared",
        where=reset.reset_findings,
        old="if found.cluster_name and found.cluster_name != cluster_name:",
        new="if False:",
        finds=(RESET, decisions_reset.only_the_operators_cluster_is_reset),
    ),
    Fault(
        words="CA certificates are not compared before a reset",
        where=kubeadm_node.is_of_another_cluster,
        old="if not cluster_ca:",
        new="if True:",
        finds=(RESET, decisions_reset.another_clusters_machine_is_left_alone),
    ),
    Fault(
        words="two clusters are reset at once",
        where=conflict_checks.foreign_findings,
        old="if candidate.state is NodeState.FOREIGN and not candidate.kubeadm.has_etcd_of_others:",
        new="if False:",
        finds=(RESET, decisions_reset.two_clusters_are_not_reset_at_once),
    ),
    Fault(
        words="a foreign etcd's data is deleted",
        where=conflict_checks._etcd_data,
        old="if candidate.machine.etcd_entries - explained:",
        new="if False:",
        finds=(RESET, decisions_reset.another_etcd_is_left_alone),
    ),
    Fault(
        words="a bare control plane is reported to have the cluster",
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
        words="a whole cluster cannot be reset",
        where=reset.why_it_goes_on,
        old="if node.host in active:",
        new="if False:",
        finds=(RESET, decisions_reset.a_whole_cluster_can_be_reset),
    ),
    # What etcd's majority allows.
    Fault(
        words="a learner counts for the majority",
        where=EtcdMember.joined,
        old="bool(self.name) and not self.learner",
        new="bool(self.name)",
        finds=(QUORUM, decisions_quorum.a_removal_keeps_a_majority),
    ),
    Fault(
        words="half of etcd is a majority",
        where=quorum.quorum_lost,
        old="needed = len(voters) // 2 + 1",
        new="needed = len(voters) // 2",
        finds=(QUORUM, decisions_quorum.quorum_loss_is_recognised),
    ),
    Fault(
        words="a member whose data is gone counts for the majority",
        where=quorum.quorum_lost,
        old="len(voters) - len(unreached) - len(empty) >= needed",
        new="len(voters) - len(unreached) >= needed",
        finds=(QUORUM, decisions_quorum.quorum_loss_is_recognised),
    ),
    Fault(
        words="a member with data is reported to have none",
        where=quorum.quorum_lost,
        old="member.peer_ip in reached and member.peer_ip not in with_data",
        new="member.peer_ip in reached",
        finds=(QUORUM, decisions_quorum.refusals_are_true),
    ),
    Fault(
        words="a join removes a member with data",
        where=quorum.orphan_members,
        old="member.peer_ip == node.ip and not has_data",
        new="member.peer_ip == node.ip",
        finds=(QUORUM, decisions_quorum.a_join_removes_no_live_vote),
    ),
    Fault(
        words="a join removes a member that answers",
        where=quorum.orphan_refusal,
        old="if orphan.joined and orphan.peer_ip in healthy:",
        new="if False:",
        finds=(QUORUM, decisions_quorum.a_join_removes_no_live_vote),
    ),
    Fault(
        words="a join removes a dead member without a majority",
        where=quorum.orphan_refusal,
        old="if orphan.joined and (refusal :=",
        new="if False and (refusal :=",
        finds=(QUORUM, decisions_quorum.a_join_keeps_a_majority),
    ),
    Fault(
        words="etcd grows while a member is down",
        where=quorum.unready_members,
        old="elif member.peer_ip not in healthy:",
        new="elif False:",
        finds=(QUORUM, decisions_quorum.only_a_healthy_etcd_grows),
    ),
    Fault(
        words="quorum: members that answer are reported as silent",
        where=quorum.quorum_refusal,
        old="if member not in answering",
        new="if member in answering",
        finds=(QUORUM, decisions_quorum.refusals_are_true),
    ),
    Fault(
        words="a quorum refusal does not say what to do",
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
        finds=(LOCK, decisions_lock.two_runs_never_both_hold_the_lock),
    ),
    Fault(
        words="an inventory with half of the voters is enough",
        where=membership.membership_findings,
        old="if len(unlisted) * 2 > voters:",
        new="if len(unlisted) * 2 > voters + 1:",
        finds=(LOCK, decisions_lock.an_inventory_lists_most_voters),
    ),
    Fault(
        words="only the inventory's control planes count",
        where=run_lock.lock_voters,
        old="tuple(sorted(names - known_names - renamed))",
        new="()",
        finds=(LOCK, decisions_lock.two_runs_never_both_hold_the_lock),
    ),
    Fault(
        words="a renamed control plane counts twice",
        where=run_lock.lock_voters,
        old="names - known_names - renamed",
        new="names - known_names",
        finds=(LOCK, decisions_lock.each_control_plane_counts_once),
    ),
    Fault(
        words="unread members are not control planes",
        where=run_lock.lock_voters,
        old="if not api_leader.exists or not (voting or registered):",
        new="if not api_leader.exists:",
        finds=(LOCK, decisions_lock.unknown_members_count),
    ),
    Fault(
        words="a majority does not grant the lock",
        where=Voters.majority,
        old=">= self.needed",
        new="> self.needed",
        finds=(LOCK, decisions_lock.a_majority_is_enough),
    ),
    Fault(
        words="a control plane that cannot grant its lock counts as granting",
        where=Vote.granted,
        old="self.reached and self.held is None and not self.problem",
        new="self.reached and self.held is None",
        finds=(LOCK, decisions_lock.a_majority_needs_grants),
    ),
    Fault(
        words="one grant counts for all control planes that answer",
        where=Voters.all_that_answer,
        old="len(reached) == len(self._granting(votes))",
        new="len(self._granting(votes)) > 0",
        finds=(LOCK, decisions_lock.no_answering_control_plane_is_skipped),
    ),
    Fault(
        words="unlisted control planes are not reported",
        where=Voters.problems,
        old="for name in self.unlisted)",
        new="for name in ())",
        finds=(LOCK, decisions_lock.every_missing_lock_is_reported),
    ),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.words)
def test_the_search_finds(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    for where, old, new in ((fault.where, fault.old, fault.new), *fault.beside):
        put_in(where, old, new, patch=monkeypatch)
    search, invariant = fault.finds
    result = Search(cases=search.cases, decide=search.decide, invariants=(invariant,)).run(stop=True)
    assert list(result.violations) == [invariant.__name__]


@pytest.mark.parametrize("search", [LEADER, JOIN, REMOVAL, RESET, QUORUM, LOCK])
def test_every_invariant_is_violated_by_a_fault(search: Search[Any, Any]) -> None:
    assert {fault.finds[1] for fault in FAULTS if fault.finds[0] is search} == set(search.invariants)
