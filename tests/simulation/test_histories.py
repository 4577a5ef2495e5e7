"""Random histories of operators, machines and faults with the real pyinfra; see docs/histories.md."""

import subprocess
import sys

import pytest

from tests.simulation.history import Command, Event, Fault, History, Host
from tests.simulation.scenarios import ENVIRONMENT
from tests.support.fake_answers import ROOT

CHECKS = (
    "two_runs_share_nothing",
    "two_operators_are_two_processes",
    "a_killed_run_keeps_its_lock",
    "operations_keep_pyinfras_order",
    "a_seed_always_plays_the_same",
    "nothing_really_sleeps",
    "an_unknown_command_fails",
)


def run(module: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a module in a separate process, which gevent patches."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def assert_nothing_breaks(seed: int, count: int) -> None:
    """Play the histories of these seeds, and assert that all invariants hold."""
    done = run("tests.simulation", f"--seed={seed}", f"--count={count}")
    assert done.returncode == 0, done.stdout


_RESET = Command(deploy="reset.py", arguments=("--data=confirm=kubernetes",))

FOUND = {
    "a worker of another cluster in the group control_plane was made a control plane": History(
        hosts=(Host(name="cp-1", begins="foreign worker"),),
        steps=((Command(deploy="cluster.py"),),),
    ),
    "after an interrupted reset no error said what to do about etcd's lost majority": History(
        hosts=(Host(name="cp-1", begins="member"), Host(name="cp-3", begins="member")),
        steps=((_RESET,),),
        faults=(Fault(run=0, machine="cp-3", what="clean-machine", kind="cut and lost", at=2),),
    ),
    "a member counted although a reset had deleted its data": History(
        hosts=(Host(name="cp-1", begins="member"), Host(name="cp-3", begins="member")),
        steps=((_RESET,),),
        faults=(Fault(run=0, machine="cp-3", what="clean-machine", kind="away on"),),
    ),
    "for a stopped control plane a run only reported a missing file": History(
        hosts=(Host(name="cp-1", begins="member"), Host(name="cp-2", begins="member")),
        steps=((_RESET,),),
        faults=(Fault(run=0, machine="cp-2", what="clean-machine", kind="cut and lost", at=4),),
    ),
    "a run that lost its lock inside an operation ended with a traceback": History(
        hosts=(Host(name="cp-1", begins="member"), Host(name="worker-1", begins="member")),
        steps=((Command(deploy="remove_node.py", arguments=("--data=node=worker-1",)),),),
        faults=(Fault(run=0, machine="cp-1", what="ClusterMembers", kind="suspend", nth=3),),
    ),
    "a run waited in vain for a learner whose cluster had lost its only vote": History(
        hosts=(Host(name="cp-1", begins="member"), Host(name="cp-2", begins="half 9")),
        steps=(Event(what="replaced", machine="cp-1"),),
    ),
    "a partial control plane could reach the API only through the removed one": History(
        hosts=(Host(name="cp-1", begins="member"), Host(name="cp-3", begins="half 12")),
        steps=((Command(deploy="remove_node.py", arguments=("--data=node=cp-1",)),),),
    ),
    "the search itself took a cluster for gone that a reset had not cleaned": History(
        hosts=(Host(name="cp-1"), Host(name="worker-1")),
        steps=((Command(deploy="cluster.py"),), (_RESET,)),
        faults=(Fault(run=1, machine="cp-1", what="clean-machine", kind="fails"),),
    ),
}
"""Shortened histories that the search has found; each one once violated an invariant."""


@pytest.mark.parametrize("what", FOUND)
def test_fixed_histories_stay_fixed(what: str) -> None:
    done = run("tests.simulation", "--written", "--keep", stdin=FOUND[what].as_text())
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("behaviour", "seed", "invariant"),
    [
        ("without_lock", 1, "runs_do_not_mix"),
        ("without_fence", 82, "runs_do_not_mix"),
        ("files_decide", 1, "members_are_left_alone"),
        ("not_read_is_bare", 42, "one_cluster"),
        ("strangers_are_cleaned", 12, "others_are_left_alone"),
        ("majority_is_not_asked", 37, "majority_is_kept"),
        ("tokens_stay", 1, "a_successful_run_made_the_cluster"),
    ],
)
def test_the_search_finds_a_broken_product(behaviour: str, seed: int, invariant: str) -> None:
    done = run(
        "tests.simulation", f"--seed={seed}", "--count=60", "--first", "--keep", f"--broken={behaviour}"
    )
    assert done.returncode == 1 and f"{invariant}: " in done.stdout, done.stdout


@pytest.mark.parametrize("seed", range(1, 251, 50))
def test_invariants_hold_in_random_histories(seed: int) -> None:
    assert_nothing_breaks(seed, 50)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(1001, 11001, 100))
def test_invariants_hold_in_ten_thousand_histories(seed: int) -> None:
    assert_nothing_breaks(seed, 100)


@pytest.mark.parametrize("name", CHECKS)
def test_the_simulation_passes_its_own_checks(name: str) -> None:
    done = run("tests.simulation.checks", name)
    assert done.returncode == 0, done.stdout
