"""The votes on the run lock: who votes, what the votes mean, and how long control planes are asked."""

from collections.abc import Callable, Sequence

import pytest

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.run import lock_messages, run_lock
from kubeadm_deploys.run.run_lock import Held, Vote, Voters, Votes
from tests.support.lock_files import BOB
from tests.support.lock_nodes import CLUSTER, NO_CLUSTER, NODES, A, B, C, Time, members

LOST = Node(host="@x/lost", name="lost", ip="10.0.0.9", address="")
RENAMED = Node(host="@x/a", name="old-a", ip=A.ip, address="")


@pytest.mark.parametrize(
    ("api_leader", "found", "listed", "unlisted", "needed"),
    [
        pytest.param(NO_CLUSTER, ClusterMembersState(), (A, B, C), (), 2, id="no cluster"),
        pytest.param(CLUSTER, members(A, api=["a"], workers=["w"]), (A,), (), 1, id="one grows to three"),
        pytest.param(CLUSTER, members(A, learner=B, api=["a"]), (A,), (), 1, id="a learner has no vote"),
        pytest.param(CLUSTER, members(A, B, api=["a"]), (A, B), (), 2, id="etcd alone counts it"),
        pytest.param(CLUSTER, members(A, api=["a", "b"]), (A, B), (), 2, id="the API alone counts it"),
        pytest.param(
            CLUSTER, members(A, B, LOST, api=["a", "b", "lost"]), (A, B), ("lost",), 2, id="unlisted"
        ),
        pytest.param(
            CLUSTER, members(A, LOST, api=["a", "gone"]), (A,), ("gone", "lost"), 2, id="two unlisted"
        ),
        pytest.param(CLUSTER, members(RENAMED, api=["a"]), (A,), (), 1, id="etcd knows another name"),
        # A cluster that could not be read may have members.
        pytest.param(CLUSTER, None, (A, B, C), (), 2, id="the cluster could not be asked"),
        pytest.param(CLUSTER, ClusterMembersState(), (A, B, C), (), 2, id="the cluster did not say"),
    ],
)
def test_the_clusters_control_planes_grant_the_lock(
    api_leader: ApiLeader,
    found: ClusterMembersState | None,
    listed: tuple[Node, ...],
    unlisted: tuple[str, ...],
    needed: int,
) -> None:
    voters = run_lock.lock_voters(NODES, api_leader=api_leader, members=found)
    assert (voters.listed, voters.unlisted, voters.needed) == (listed, unlisted, needed)


YES = Vote()
SILENT = Vote(problem="no answer in 10 s", reached=False)
LOCKED = Vote(problem="another process keeps it locked")
TAKEN = Vote(held=Held(holder=BOB, age=1, remaining=100))


@pytest.mark.parametrize(
    ("listed", "unlisted", "votes", "majority", "all_that_answer"),
    [
        ((A,), (), (YES,), True, True),
        ((A,), (), (SILENT,), False, True),
        ((A, B, C), (), (YES, YES, SILENT), True, True),
        ((A, B, C), (), (YES, SILENT, SILENT), False, True),
        ((A, B, C), (), (YES, LOCKED, SILENT), False, False),
        ((A, B, C), (), (YES, TAKEN, SILENT), False, False),
        ((A, B), (), (YES, SILENT), False, True),
        # A control plane that cannot be asked counts too.
        ((A,), ("lost",), (YES,), False, True),
        ((A, B), ("lost",), (YES, YES), True, True),
    ],
)
def test_a_majority_is_counted_among_all_voters(
    listed: tuple[Node, ...],
    unlisted: tuple[str, ...],
    votes: tuple[Vote, ...],
    majority: bool,
    all_that_answer: bool,
) -> None:
    voters = Voters(listed=listed, unlisted=unlisted)
    given = {node.host: vote for node, vote in zip(listed, votes, strict=True)}
    assert (voters.majority(given), voters.all_that_answer(given)) == (majority, all_that_answer)


def test_messages_name_the_control_planes_that_did_not_grant_the_lock() -> None:
    voters = Voters(listed=(A, B), unlisted=("lost",))
    votes = {A.host: YES, B.host: SILENT}
    refusal = lock_messages.no_majority(voters, votes)
    for fact in (
        "needs the lock of 2 of 3 control planes and got it from 1",
        "; b: no answer in 10 s; lost: not in the inventory",
        "no changes were made",
        "deploys/remove_node.py --data node=NAME --data force=true",
    ):
        assert fact in refusal
    (warning,) = voters.warnings({A.host: LOCKED, B.host: SILENT})
    assert warning.startswith("a did not grant the run lock (another process keeps it locked)")
    assert "b: no answer in 10 s" in lock_messages.without_majority(voters, votes)


def collected(answers: Callable[[str, float], Vote], voters: Voters) -> tuple[Votes, float, list[list[str]]]:
    """Return the votes of control planes that answer by host and time, the seconds, and the hosts asked."""
    time, asked = Time(), []

    def ask(hosts: Sequence[str]) -> Votes:
        asked.append(list(hosts))
        return {host: answers(host, time.now - 1000) for host in hosts}

    hosts = [node.host for node in voters.listed]
    votes = run_lock.collect(
        ask,
        votes=ask(hosts),
        again=hosts,
        settled=lambda votes: voters.majority(votes) or run_lock.holder_of(votes) is not None,
        clock=lambda: time.now,
        sleep=time.sleep,
    )
    return votes, time.now - 1000, asked


@pytest.mark.parametrize("reason", [SILENT, LOCKED], ids=["no answer", "kept locked"])
def test_control_planes_that_do_not_grant_the_lock_are_asked_for_a_minute(reason: Vote) -> None:
    voters = Voters(listed=(A, B, C))
    votes, seconds, asked = collected(lambda host, now: YES if host == A.host else reason, voters)
    assert votes == {A.host: YES, B.host: reason, C.host: reason}
    assert 60 <= seconds < 65
    # The one that has granted the lock is not asked again.
    assert asked[0] == [A.host, B.host, C.host]
    assert asked[1:] == [[B.host, C.host]] * 30


def test_no_control_plane_is_asked_again_after_the_decision() -> None:
    voters = Voters(listed=(A, B, C))
    assert collected(lambda host, now: SILENT if host == A.host else YES, voters)[1] == 0
    assert collected(lambda host, now: TAKEN if host == C.host else SILENT, voters)[1] == 0
    votes, seconds, _ = collected(lambda host, now: YES if host == A.host or now > 20 else SILENT, voters)
    assert voters.majority(votes) and 20 < seconds < 25
