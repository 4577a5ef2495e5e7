"""Random histories of operators, machines and faults under the real pyinfra; see docs/histories.md."""

import subprocess
import sys

import pytest

from tests.fake_answers import ROOT
from tests.simulation.history import Command, Fault, History, Host
from tests.simulation.scenarios import ENVIRONMENT

CHECKS = (
    "two_runs_share_nothing",
    "two_operators_are_two_processes",
    "killed_means_killed",
    "the_order_is_pyinfras",
    "a_seed_has_one_course",
    "nothing_really_sleeps",
    "an_unknown_command_ends_everything",
)


def run(module: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a module in a process of its own, which gevent patches."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def histories(seed: int, count: int) -> None:
    """Play histories of these seeds, in which nothing may be broken."""
    done = run("tests.simulation", f"--seed={seed}", f"--count={count}")
    assert done.returncode == 0, done.stdout


_RESET = Command(deploy="reset.py", arguments=("--data=confirm=kubernetes",))

FOUND = {
    "a worker of another cluster, whose address stands in the group control_plane, was made a control plane": History(
        hosts=(Host(name="cp-1", begins="foreign worker"),),
        steps=((Command(deploy="cluster.py"),),),
    ),
    "after a reset that was cut off, nobody said what to do about an etcd without its majority": History(
        hosts=(Host(name="cp-1", begins="member"), Host(name="cp-3", begins="member")),
        steps=((_RESET,),),
        faults=(Fault(run=0, machine="cp-3", what="clean-machine", kind="cut and lost", at=2),),
    ),
    "a member counted as there whose data a reset had deleted": History(
        hosts=(Host(name="cp-1", begins="member"), Host(name="cp-3", begins="member")),
        steps=((_RESET,),),
        faults=(Fault(run=0, machine="cp-3", what="clean-machine", kind="away on"),),
    ),
    "of a control plane on which nothing runs any more a run said only that a file is missing": History(
        hosts=(Host(name="cp-1", begins="member"), Host(name="cp-2", begins="member")),
        steps=((_RESET,),),
        faults=(Fault(run=0, machine="cp-2", what="clean-machine", kind="cut and lost", at=4),),
    ),
    "a run that lost its lock in a function of an operation ended with a traceback": History(
        hosts=(Host(name="cp-1", begins="member"), Host(name="worker-1", begins="member")),
        steps=((Command(deploy="remove_node.py", arguments=("--data=node=worker-1",)),),),
        faults=(Fault(run=0, machine="cp-1", what="ClusterMembers", kind="suspend", nth=3),),
    ),
    "a cluster counted as gone whose control plane a reset had given up and not cleaned": History(
        hosts=(Host(name="cp-1"), Host(name="worker-1")),
        steps=((Command(deploy="cluster.py"),), (_RESET,)),
        faults=(Fault(run=1, machine="cp-1", what="clean-machine", kind="fails"),),
    ),
}
"""What the search has found, as short as it gets; each was broken once."""


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_once_is_well(what: str) -> None:
    done = run("tests.simulation", "--written", "--keep", stdin=FOUND[what].as_text())
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("behaviour", "seed", "invariant"),
    [
        ("without_lock", 1, "one_run_at_a_time"),
        ("without_fence", 1, "one_run_at_a_time"),
        ("files_decide", 1, "members_are_left_alone"),
    ],
)
def test_a_wrong_product_is_found(behaviour: str, seed: int, invariant: str) -> None:
    done = run(
        "tests.simulation", f"--seed={seed}", "--count=60", "--first", "--keep", f"--broken={behaviour}"
    )
    assert done.returncode == 1 and f"{invariant}: " in done.stdout, done.stdout


@pytest.mark.parametrize("seed", range(1, 251, 50))
def test_nothing_is_broken_in_random_histories(seed: int) -> None:
    histories(seed, 50)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(1001, 11001, 100))
def test_nothing_is_broken_in_ten_thousand_histories(seed: int) -> None:
    histories(seed, 100)


@pytest.mark.parametrize("name", CHECKS)
def test_the_simulation_is_what_it_says(name: str) -> None:
    done = run("tests.simulation.checks", name)
    assert done.returncode == 0, done.stdout
