"""Runs that take, renew and lose their lock on three fake machines, with the real shell command."""

import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import gevent
import pytest
from pyinfra.api.exceptions import DeployError
from pyinfra.connectors.util import CommandOutput, OutputLine
from pyinfra.context import ctx_host

from kubeadm_deploys.cluster.leader import Leader
from kubeadm_deploys.cluster.members import ClusterAnswers
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.connections import NoAnswer
from kubeadm_deploys.remote.run_parts import part
from kubeadm_deploys.run import locking, run_lock
from kubeadm_deploys.run.locking import LockLost, RunLock
from kubeadm_deploys.run.run_lock import Holder
from tests.support.lock_files import ANN, BOB, document, release, take
from tests.support.lock_nodes import CLUSTER, NODES, A, B, C, Time, members
from tests.support.pyinfra_hosts import using


class Run:
    """A stand-in for pyinfra's State, which the lock only uses to find the values of a run."""


STATE: Any = Run()


@dataclass
class Machine:
    """A fake host with its lock in its own folder; it answers unless it is down."""

    name: str
    home: Path
    connected: bool = True
    down: bool = False
    connector: None = None
    state: Any = STATE
    commands: list[str] = field(default_factory=list)

    @property
    def lock(self) -> Path:
        return self.home / "lock"


@dataclass
class World:
    """Three control planes."""

    machines: dict[str, Machine]
    time: Time

    def get_host(self, name: str) -> Machine:
        return self.machines[name]

    def holders(self) -> list[str]:
        """Return the run that has the lock, for each machine."""
        return [
            document(machine.lock)["run"] if (machine.lock / "lock").exists() else ""
            for machine in self.machines.values()
        ]

    def reboot(self, *names: str) -> None:
        for name in names:
            (self.machines[name].lock / "lock").unlink()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(machines={}, time=Time())
    for node in NODES.control_planes:
        (tmp_path / node.name).mkdir()
        made.machines[node.host] = Machine(name=node.host, home=tmp_path / node.name)

    def attempt(machine: Machine, command: object, *, seconds: int) -> tuple[bool, CommandOutput]:
        machine.commands.append(str(command))
        if machine.down:
            made.time.sleep(seconds)
            raise NoAnswer(f"no answer in {seconds} s")
        done = subprocess.run(["sh", "-c", str(command)], cwd=machine.home, capture_output=True, text=True)
        lines = (done.stdout + done.stderr).splitlines()
        return done.returncode == 0, CommandOutput([OutputLine("stdout", line) for line in lines])

    part(STATE, Leader).planned = CLUSTER
    part(STATE, ClusterAnswers).members = members(A, B, C, api="abc")
    # Nothing was read in the prepare phase, so nothing is read again.
    monkeypatch.setattr(locking, "begin_again", lambda state: None)
    monkeypatch.setattr(RunLock, "_read_again", lambda lock, state: None)
    monkeypatch.setattr(locking, "inventory", made)
    monkeypatch.setattr(direct, "attempt", attempt)
    monkeypatch.setattr(run_lock, "clock", lambda: made.time.now)
    monkeypatch.setattr(gevent, "sleep", made.time.sleep)
    # Renewals only happen when the test calls for them.
    monkeypatch.setattr(RunLock, "_keep", lambda lock: None)
    return made


def lock_of(holder: Holder, *, repairs_quorum: bool = False) -> RunLock:
    return RunLock(topology=NODES, holder=holder, folder="lock", repairs_quorum=repairs_quorum)


def begin(holder: Holder, *, repairs_quorum: bool = False) -> RunLock:
    """Return the lock of a run that has started its first operation."""
    lock = lock_of(holder, repairs_quorum=repairs_quorum)
    lock.operation_start(STATE, "op")
    return lock


def test_a_run_has_the_lock_of_all_control_planes_that_answer(world: World) -> None:
    begin(ANN)
    assert world.holders() == [ANN.run] * 3
    with pytest.raises(DeployError, match=r"ann@laptop has been running cluster.py .*; no changes were made"):
        begin(BOB)
    assert world.holders() == [ANN.run] * 3
    assert world.time.now == 1000


def test_one_of_three_control_planes_may_be_down(world: World) -> None:
    world.machines[A.host].down = True
    begin(ANN)
    assert world.holders() == ["", ANN.run, ANN.run]


def test_without_a_majority_a_run_gives_up_after_a_minute_and_releases_the_lock(world: World) -> None:
    world.machines[B.host].down = world.machines[C.host].down = True
    with pytest.raises(
        DeployError, match="needs the lock of 2 of 3 control planes and got it from 1; b: no answer"
    ):
        begin(ANN)
    assert world.time.now - 1000 >= run_lock.PATIENCE
    assert world.holders() == [""] * 3


def test_a_lock_that_another_run_holds_is_kept(world: World) -> None:
    assert take(BOB, world.machines[C.host].lock) is None
    with pytest.raises(DeployError, match="bob@desk has been running"):
        begin(ANN)
    assert world.holders() == ["", "", BOB.run]


@pytest.mark.parametrize("down", [(), (A.host,)], ids=["all answer", "the first is down"])
def test_of_two_runs_that_start_at_once_one_continues(
    world: World, down: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in down:
        world.machines[name].down = True

    def outcome(holder: Holder) -> str:
        try:
            begin(holder)
        except DeployError:
            return ""
        return holder.run

    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            (winner,) = filter(None, pool.map(outcome, (ANN, BOB)))
        assert world.holders() == [winner if name not in down else "" for name in world.machines]
        for machine in world.machines.values():
            if machine.name not in down:
                release(ANN if winner == ANN.run else BOB, machine.lock)


def test_a_run_that_repairs_quorum_needs_the_lock_of_all_that_can_be_reached(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.machines[B.host].down = world.machines[C.host].down = True
    began = world.time.now
    lock = begin(ANN, repairs_quorum=True)
    assert world.holders() == [ANN.run, "", ""]
    (warning,) = caplog.messages
    assert (
        "continues without the lock of 2 of 3 control planes (b: no answer in 10 s; c: no answer" in warning
    )
    world.time.sleep(began + run_lock.LEASE - run_lock.MARGIN + 1 - world.time.now)
    lock.require()
    lock.release()

    # A control plane that answers but does not grant the lock is not lost.
    world.machines[B.host].down = False
    world.machines[B.host].lock.write_text("")
    with pytest.raises(DeployError, match=r"got it from 1; b: .*/?lock is not a folder"):
        begin(ANN, repairs_quorum=True)
    # If all control planes are lost, a run may still clean the workers.
    for machine in world.machines.values():
        machine.down = True
    with pytest.raises(DeployError, match="got it from 0"):
        begin(ANN)
    caplog.clear()
    begin(ANN, repairs_quorum=True).release()
    assert "continues without the lock of 2 of 3 control planes (a: no answer" in caplog.messages[0]


def test_a_renewal_takes_the_lock_again_on_a_rebooted_control_plane(world: World) -> None:
    lock = begin(ANN)
    world.reboot(A.host, C.host)
    # A lost connection is made again.
    world.machines[A.host].connected = False
    assert lock._renew()
    assert world.holders() == [ANN.run] * 3


def test_a_renewal_takes_the_lock_on_a_control_plane_that_was_down(world: World) -> None:
    world.machines[C.host].down = True
    lock = begin(ANN)
    world.machines[C.host].down = False
    assert lock._renew()
    assert world.holders() == [ANN.run] * 3


def sent(lock: RunLock, machine: Machine, command: str = "touch changed") -> bool:
    """Send a command, and return whether the machine ran it."""

    def send(allowed: object) -> tuple[bool, CommandOutput]:
        raw = allowed if isinstance(allowed, str) else allowed.get_raw_value()  # type: ignore[attr-defined]
        done = subprocess.run(["sh", "-c", raw], cwd=machine.home, capture_output=True, text=True)
        lines = [OutputLine("stderr", line) for line in done.stderr.splitlines()]
        return done.returncode == 0, CommandOutput(lines)

    (machine.home / "changed").unlink(missing_ok=True)
    try:
        lock.fenced(machine, command, send)  # type: ignore[arg-type]
    except LockLost:
        assert not (machine.home / "changed").exists()
        return False
    return (machine.home / "changed").exists()


def test_a_lock_that_could_not_be_renewed_stops_the_run_before_its_next_command(
    world: World, tmp_path: Path
) -> None:
    lock = begin(ANN)
    worker = Machine(name="@x/worker", home=tmp_path)
    world.machines[A.host].down = world.machines[B.host].down = True
    world.time.sleep(run_lock.LEASE - run_lock.MARGIN - 1)
    assert sent(lock, worker)
    world.time.sleep(2)
    assert not sent(lock, worker)
    assert not sent(lock, world.machines[C.host])
    with pytest.raises(LockLost, match=r"could not renew its lock on 2 of 3 control planes \(a: no answer"):
        lock.operation_start(STATE, "op")
    # The lock stays lost: another run may have had it meanwhile.
    world.machines[A.host].down = world.machines[B.host].down = False
    assert not sent(lock, worker)


def test_an_old_lock_is_renewed_before_the_next_command(world: World, tmp_path: Path) -> None:
    lock = begin(ANN)
    worker = Machine(name="@x/worker", home=tmp_path)
    world.reboot(A.host, B.host, C.host)
    world.time.sleep(run_lock.LEASE - run_lock.MARGIN + 1)
    assert sent(lock, worker)
    assert world.holders() == [ANN.run] * 3

    # The operator's machine slept, and another run has started.
    world.time.sleep(10 * run_lock.LEASE)
    world.reboot(A.host, B.host, C.host)
    for machine in world.machines.values():
        assert take(BOB, machine.lock) is None
    assert not sent(lock, worker)
    with pytest.raises(LockLost, match="bob@desk has been running"):
        lock.operation_start(STATE, "op")
    lock.release()
    assert world.holders() == [BOB.run] * 3


def test_an_expired_lock_is_not_taken_again(world: World, tmp_path: Path) -> None:
    """Another run may have changed the cluster while the operator's machine slept."""
    lock = begin(ANN)
    worker = Machine(name="@x/worker", home=tmp_path)
    world.time.sleep(run_lock.LEASE + 1)
    world.reboot(A.host, B.host, C.host)
    for machine in world.machines.values():
        assert take(BOB, machine.lock) is None
        release(BOB, machine.lock)
    assert not sent(lock, worker)
    with pytest.raises(LockLost, match=r"has not renewed its lock for 18\d s.*another run may have changed"):
        lock.operation_start(STATE, "op")
    lock.release()
    assert world.holders() == ["", "", ""]


def test_a_control_plane_locked_by_another_run_refuses_commands(world: World, tmp_path: Path) -> None:
    lock = begin(ANN)
    world.reboot(B.host)
    assert take(BOB, world.machines[B.host].lock) is None
    assert sent(lock, world.machines[A.host])
    assert not sent(lock, world.machines[B.host])
    # One refusal is enough to stop the run.
    assert not sent(lock, world.machines[A.host])
    assert not sent(lock, Machine(name="@x/worker", home=tmp_path))


def test_commands_are_not_fenced_before_the_lock_is_taken(world: World) -> None:
    lock = lock_of(ANN)
    take(BOB, world.machines[A.host].lock)
    assert sent(lock, world.machines[A.host])


def test_running_operations_send_no_commands_after_the_release(world: World) -> None:
    lock = begin(ANN)
    lock.release()
    with using(ctx_host, world.machines[A.host]):
        assert not sent(lock, world.machines[B.host])
    # pyinfra removes its temporary files without a current host.
    assert sent(lock, world.machines[B.host])


def test_checks_are_made_once_in_order_and_with_the_lock(world: World) -> None:
    made: list[str] = []

    def note(name: str) -> None:
        made.append(f"{name} {world.holders()[0]}")

    lock = lock_of(ANN)
    for name in ("first", "second", "first"):
        lock.add_check(partial(note, name), key=name)
    assert made == []
    for _ in range(2):
        lock.operation_start(STATE, "op")
    assert made == ["first a1", "second a1"]


def test_a_check_that_refuses_releases_the_lock(world: World) -> None:
    made: list[str] = []

    def refuse() -> None:
        raise DeployError("another machine has joined meanwhile")

    lock = lock_of(ANN)
    lock.add_check(lambda: made.append("first"), key="first")
    lock.add_check(refuse, key="second")
    lock.add_check(lambda: made.append("third"), key="third")
    with pytest.raises(DeployError, match="another machine has joined meanwhile"):
        lock.operation_start(STATE, "op")
    assert made == ["first"]
    assert world.holders() == [""] * 3


def test_no_host_starts_an_operation_without_the_lock(world: World) -> None:
    lock = lock_of(ANN)
    with pytest.raises(DeployError, match="has not taken the cluster's lock; no changes were made"):
        lock.operation_host_start(STATE, world.machines[A.host], "op")  # type: ignore[arg-type]
    lock.operation_start(STATE, "op")
    lock.operation_host_start(STATE, world.machines[A.host], "op")  # type: ignore[arg-type]


def test_the_clock_never_goes_back() -> None:
    times = [run_lock.clock() for _ in range(3)]
    assert all(earlier <= later for earlier, later in pairwise(times))
