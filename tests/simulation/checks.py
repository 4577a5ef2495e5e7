"""Check the simulation itself, in a process patched by gevent: ``python -m tests.simulation.checks NAME``."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.simulation import cheaper, child
from tests.simulation.beginning import begin
from tests.simulation.course import Course, Written
from tests.simulation.door import Deploy, Done, run_deploys
from tests.simulation.generate import generate
from tests.simulation.history import Command, Fault, History, Host
from tests.simulation.play import play
from tests.support.fake_answers import ROOT

ONE_AND_ONE = (Host(name="cp-1"), Host(name="worker-1"))


def two_runs_share_nothing() -> None:
    """A run leaves no state behind: the next run of this process begins like one of a new process."""
    import pyinfra
    from pyinfra.context import ctx_inventory, ctx_state

    from kubeadm_deploys.inventory import data as inventory_data
    from kubeadm_deploys.preflight import check as preflight
    from kubeadm_deploys.sections import cluster_options

    def state() -> object:
        printed = (set(preflight._reported), set(cluster_options._reported), set(inventory_data._warned))
        return printed, pyinfra.is_cli, list(sys.argv), ctx_state.isset(), ctx_inventory.isset()

    before = state()
    cluster = _run((Host(name="cp-1"), Host(name="cp-2"), Host(name="worker-1")))
    assert cluster.exit_code == 0, cluster.output
    assert "control_plane: 2 nodes tolerate no more failures than 1" in cluster.output
    assert state() == before
    # It prints the same warning again, and knows nothing of the first world's cluster.
    refused = _run((Host(name="cp-1", begins="foreign worker"), Host(name="cp-2"), Host(name="worker-1")))
    assert refused.exit_code == 1, refused.output
    assert "control_plane: 2 nodes tolerate no more failures than 1" in refused.output
    assert "@fake/cp-1: has the files of a cluster" in refused.output, refused.output
    assert state() == before


def two_operators_are_two_processes() -> None:
    """Of two runs that begin at once only one gets the lock; the other one names that run's operator."""
    with tempfile.TemporaryDirectory() as folder:
        course = Course(world=begin(ONE_AND_ONE), faults=Written(()))
        ended = run_deploys(
            course, [_deploy(Path(folder), course, run, name) for run, name in enumerate(("alice", "bob"))]
        )
    codes = sorted(done.exit_code for done in ended)
    assert codes == [0, 1], [done.output for done in ended]
    loser = next(done for done in ended if done.exit_code)
    assert "has been running cluster.py on this cluster since" in loser.output, loser.output
    assert ("alice" in loser.output) is not ("bob" in loser.output)


def a_killed_run_keeps_its_lock() -> None:
    """A killed run leaves its lock: the next run of the same operator takes it over, another's is refused."""
    with tempfile.TemporaryDirectory() as folder:
        kill = Fault(run=0, machine="cp-1", what="kubeadm init", kind="killed before")
        course = Course(world=begin(ONE_AND_ONE), faults=Written((kill,)))
        (killed,) = run_deploys(course, [_deploy(Path(folder), course, 0, "alice")])
        assert killed.killed and "/run/kubeadm-deploys/lock" in course.world.machines["cp-1"].files
        (other,) = run_deploys(course, [_deploy(Path(folder), course, 1, "bob")])
        assert other.exit_code == 1 and "its lock expires at" in other.output, other.output
        (same,) = run_deploys(course, [_deploy(Path(folder), course, 2, "alice")])
        assert same.exit_code == 0, same.output


def operations_keep_pyinfras_order() -> None:
    """``cheaper.operation_order`` equals pyinfra's own order for every operation of a deploy."""
    with tempfile.TemporaryDirectory() as folder:
        course = Course(world=begin((*ONE_AND_ONE, Host(name="cp-2"))), faults=Written(()))
        seen = Path(folder) / "orders"

        def compare() -> None:
            def both(state: Any) -> list[int]:
                cheap, real = cheaper.operation_order(state), cheaper.real_operation_order(state)
                assert cheap == real, (cheap, real)
                with seen.open("a") as file:
                    file.write(f"{cheap}\n")
                return cheap

            vars(sys.modules["pyinfra.api.operation"])["get_operation_order_from_stack"] = both

        (done,) = run_deploys(course, [_deploy(Path(folder), course, 0, "alice")], change=compare)
        assert done.exit_code == 0, done.output
        orders = seen.read_text().splitlines()
        assert len(orders) > 40 and len(set(orders)) > 20, (len(orders), len(set(orders)))


def a_seed_always_plays_the_same() -> None:
    """The same seed always plays the same way, and so does the literal of its history."""
    for seed in (9, 12):
        history, dice = generate(seed)
        first = play(history, dice=dice)
        history, dice = generate(seed)
        again = play(history, dice=dice)
        assert first.log == again.log, _difference(first.log, again.log)
        written = History.of_text(first.history.as_text())
        assert written == first.history
        replayed = play(written)
        assert replayed.log == first.log, _difference(first.log, replayed.log)


def nothing_really_sleeps() -> None:
    """A run that waits for minutes takes seconds, whichever ``sleep`` the product imports."""
    import time

    real = [
        name
        for name, module in sys.modules.items()
        if name.startswith("kubeadm_deploys") and vars(module).get("sleep") is child._sleep_really
    ]
    assert not real, real
    began = time.perf_counter()
    fault = Fault(run=0, machine="cp-1", what="drain", kind="late after")
    hosts = tuple(Host(name=name, begins="member") for name in ("cp-1", "worker-1"))
    history = History(
        hosts=hosts,
        steps=((Command(deploy="remove_node.py", arguments=("--data=node=worker-1",)),),),
        faults=(fault,),
    )
    played = play(history)
    assert not played.broken, played.broken
    assert "was not drained within 300 s" in played.outputs[0], played.outputs[0]
    assert time.perf_counter() - began < 60


def an_unknown_command_fails() -> None:
    """A command that the world does not know fails the history with the command's text."""

    def change() -> None:
        from kubeadm_deploys.sections import swap

        swap.disable_swap = lambda options: _unheard_of()  # type: ignore[assignment]

        import kubeadm_deploys

        kubeadm_deploys.disable_swap = swap.disable_swap

    def _unheard_of() -> None:
        from pyinfra.operations import server

        server.shell(name="Unheard of", commands=["dd if=/dev/zero of=/dev/sda"])

    try:
        play(History(hosts=ONE_AND_ONE), change=change)
    except AssertionError as error:
        assert "dd if=/dev/zero of=/dev/sda" in str(error), error
    else:
        raise AssertionError("the world accepted an unknown command")


def _run(hosts: tuple[Host, ...]) -> Done:
    with tempfile.TemporaryDirectory() as folder:
        course = Course(world=begin(hosts), faults=Written(()))
        (done,) = run_deploys(course, [_deploy(Path(folder), course, 0, "alice")])
        return done


def _deploy(folder: Path, course: Course, run: int, operator: str) -> Deploy:
    def group(prefix: str) -> list[tuple[str, dict[str, str]]]:
        return [
            (f"@fake/{name}", {"node_name": name, "node_ip": machine.ip})
            for name, machine in course.world.machines.items()
            if name.startswith(prefix)
        ]

    home = folder / operator
    home.mkdir(exist_ok=True)
    inventory = home / "inventory.py"
    inventory.write_text(f"control_plane = {group('cp-')!r}\nworkers = {group('worker-')!r}\n")
    return Deploy(
        run=run, arguments=(str(inventory), str(ROOT / "deploys/cluster.py")), folder=home, operator=operator
    )


def _difference(one: list[str], other: list[str]) -> str:
    return next((f"{a}\n{b}" for a, b in zip(one, other, strict=False) if a != b), "one is longer")


CHECKS: dict[str, Callable[[], object]] = {
    check.__name__: check
    for check in (
        two_runs_share_nothing,
        two_operators_are_two_processes,
        a_killed_run_keeps_its_lock,
        operations_keep_pyinfras_order,
        a_seed_always_plays_the_same,
        nothing_really_sleeps,
        an_unknown_command_fails,
    )
}

if __name__ == "__main__":
    child.prepare()
    CHECKS[sys.argv[1]]()
