"""Who grants a run its lock: the voters, what their votes mean, and for how long they are asked."""

from collections.abc import Callable, Sequence

import pytest

from kubeadm_deploys import lock_messages, run_lock
from kubeadm_deploys.election import Election
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.nodes import Node
from kubeadm_deploys.run_lock import Held, Vote, Voters, Votes
from tests.lock_files import BOB
from tests.lock_nodes import CLUSTER, NO_CLUSTER, NODES, A, B, C, Time, members

LOST = Node(host="@x/lost", name="lost", ip="10.0.0.9", address="")
RENAMED = Node(host="@x/a", name="old-a", ip=A.ip, address="")


@pytest.mark.parametrize(
    ("election", "found", "listed", "unlisted", "needed"),
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
        # Not read is not "no member".
        pytest.param(CLUSTER, None, (A, B, C), (), 2, id="the cluster could not be asked"),
        pytest.param(CLUSTER, ClusterMembersState(), (A, B, C), (), 2, id="the cluster did not say"),
    ],
)
def test_the_clusters_control_planes_grant_the_lock(
    election: Election,
    found: ClusterMembersState | None,
    listed: tuple[Node, ...],
    unlisted: tuple[str, ...],
    needed: int,
) -> None:
    voters = run_lock.lock_voters(NODES, election=election, members=found)
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
        # One that cannot be asked counts.
        ((A,), ("lost",), (YES,), False, True),
        ((A, B), ("lost",), (YES, YES), True, True),
    ],
)
def test_a_majority_is_counted_of_all_of_them(
    listed: tuple[Node, ...],
    unlisted: tuple[str, ...],
    votes: tuple[Vote, ...],
    majority: bool,
    all_that_answer: bool,
) -> None:
    voters = Voters(listed=listed, unlisted=unlisted)
    given = {node.host: vote for node, vote in zip(listed, votes, strict=True)}
    assert (voters.majority(given), voters.all_that_answer(given)) == (majority, all_that_answer)


def test_the_sentences_say_who_granted_who_not_and_why() -> None:
    voters = Voters(listed=(A, B), unlisted=("lost",))
    votes = {A.host: YES, B.host: SILENT}
    assert lock_messages.no_majority(voters, votes) == (
        "a run needs the lock of 2 of 3 control planes and got it from 1; b: no answer in 10 s; lost: not in the "
        "inventory, so it cannot be asked; no changes were made; start the machines that are down, then run again; one "
        "that is lost for good is removed with deploys/remove_node.py --data node=NAME --data force=true"
    )
    assert voters.warnings({A.host: LOCKED, B.host: SILENT}) == [
        "a did not grant the run's lock (another process keeps it locked); the majority did"
    ]
    assert "make sure that nobody else is at work on the cluster" in lock_messages.without_majority(
        voters, votes
    )


def collected(answers: Callable[[str, float], Vote], voters: Voters) -> tuple[Votes, float, list[list[str]]]:
    """The votes of control planes that answer by a function of host and time, the seconds and who was asked."""
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
def test_those_that_do_not_grant_are_asked_again_for_a_minute(reason: Vote) -> None:
    voters = Voters(listed=(A, B, C))
    votes, seconds, asked = collected(lambda host, now: YES if host == A.host else reason, voters)
    assert votes == {A.host: YES, B.host: reason, C.host: reason}
    assert 60 <= seconds < 65
    # At once, and the one that has granted it is left alone.
    assert asked[0] == [A.host, B.host, C.host]
    assert asked[1:] == [[B.host, C.host]] * 30


def test_nobody_is_asked_again_once_it_is_decided() -> None:
    voters = Voters(listed=(A, B, C))
    assert collected(lambda host, now: SILENT if host == A.host else YES, voters)[1] == 0
    assert collected(lambda host, now: TAKEN if host == C.host else SILENT, voters)[1] == 0
    votes, seconds, _ = collected(lambda host, now: YES if host == A.host or now > 20 else SILENT, voters)
    assert voters.majority(votes) and 20 < seconds < 25
