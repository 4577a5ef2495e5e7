"""Several readings in one command, and how long their answers stay valid."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import FactBase, State, StringCommand
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from typing_extensions import override

from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.answers import ClusterFact, PlanFact, Reading, answers_of
from kubeadm_deploys.remote.connections import NoAnswer, guard_connections
from kubeadm_deploys.remote.framing import complaints, end_of, first_and_then, framed_lines, side_by_side
from kubeadm_deploys.remote.reading import (
    NotRead,
    ask,
    ask_again,
    ask_all,
    ask_what_is_missing,
    read,
    read_for_plan,
    wait,
)
from kubeadm_deploys.run import run_lock
from kubeadm_deploys.run.locking import RunLock, refuse_changed_plan
from tests.support.lock_files import ANN
from tests.support.pyinfra_hosts import fake_hosts

NODES = Topology(
    control_planes=(Node(host="@fake/one", name="one", ip="10.0.0.1", address=""),),
    workers=(Node(host="@fake/two", name="two", ip="10.0.0.2", address=""),),
)

# What a shell does with the commands.


def sh(command: StringCommand, shell: str = "sh") -> tuple[int, list[str], list[str]]:
    """Run a command and return exit status, stdout and stderr."""
    done = subprocess.run([shell, "-c", command.get_raw_value()], capture_output=True, text=True)
    return done.returncode, done.stdout.split("\n")[:-1], done.stderr.splitlines()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_commands_in_parallel_are_each_read_completely_or_not_at_all(shell: str) -> None:
    commands = {
        "Slow": "sleep 0.5; echo slow",
        "Fails": "echo some; echo 'no such file' >&2; exit 3",
        "Silent": "exit 1",
        "Empty": "true",
        "Long": "seq 1 20000",
        "Open": "printf 'no newline'",
        "Reads": "cat",
    }
    status, output, errors = sh(side_by_side(commands), shell)
    assert status == 0
    assert framed_lines("Slow", output) == ["slow"]
    assert framed_lines("Empty", output) == []
    assert framed_lines("Long", output) == [str(number) for number in range(1, 20001)]
    assert framed_lines("Open", output) == ["no newline"]
    # The commands have no standard input.
    assert framed_lines("Reads", output) == []
    assert framed_lines("Fails", output) is None and framed_lines("Silent", output) is None
    assert complaints("Fails", errors) == ["no such file"]
    assert complaints("Silent", errors) == ["the command failed and printed nothing"]
    assert complaints("Slow", errors) == []
    ended = end_of(output)
    assert ended is not None and abs(ended - time.time()) < 5


def test_commands_in_parallel_overlap_and_leave_no_files(tmp_path: Path) -> None:
    before = set(Path("/run").glob("kubeadm-deploys-answers.*"))
    os.mkfifo(tmp_path / "pipe")
    # The first command only ends after the second one has started.
    commands = {"First": f"timeout 60 cat {tmp_path}/pipe", "Second": f"echo word > {tmp_path}/pipe"}
    _, output, _ = sh(side_by_side(commands))
    assert framed_lines("First", output) == ["word"]
    assert set(Path("/run").glob("kubeadm-deploys-answers.*")) == before


def test_complete_answers_before_a_cut_are_read() -> None:
    _, output, _ = sh(side_by_side({"One": "echo one", "Two": "echo two"}))
    for length in range(len(output)):
        part = output[:length]
        assert framed_lines("Two", part) in (None, ["two"])
        assert framed_lines("One", part) in (None, ["one"])


@pytest.mark.parametrize(("answer", "then"), [("asked; echo taken", True), ("asked; echo held", False)])
def test_further_questions_are_only_asked_after_the_expected_answer(answer: str, then: bool) -> None:
    command = first_and_then(
        "RunLock", StringCommand(f"echo {answer}"), succeeds_with="taken", then=StringCommand("echo more")
    )
    status, output, _ = sh(command)
    assert status == 0
    assert framed_lines("RunLock", output) == answer.replace("; echo", "").split()
    assert ("more" in output) is then


def test_errors_of_the_first_question_are_part_of_its_answer() -> None:
    first = StringCommand("echo asked; echo 'not root' >&2; exit 1")
    _, output, _ = sh(
        first_and_then("RunLock", first, succeeds_with="taken", then=StringCommand("echo more"))
    )
    assert framed_lines("RunLock", output) == ["asked", "not root"]
    assert "more" not in output


# How long an answer stays valid.


class Number(FactBase[int]):
    """A number that grows with every reading."""

    @override
    def command(self, of: str = "") -> StringCommand:
        return StringCommand("number", of)

    @override
    def process(self, output: list[str]) -> int:
        return int(output[0])


class Other(Number):
    """Another number."""


class OfCluster(ClusterFact[int], Number):
    """A number of the cluster."""


class OfPlan(PlanFact[int], Number):
    """A number that is only read in the prepare phase."""


class Machines:
    """Records the commands, and answers each fact with a number, or with a failure if it is in ``fails``."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.fails: set[str] = set()
        self.number = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def answer(self, connector: FakeConnector, command: Any, **_: Any) -> tuple[bool, CommandOutput]:
        text = command if isinstance(command, str) else command.get_raw_value()
        name = connector.host.name.removeprefix("@fake/")
        facts = [
            name for name in ("Number_2", "Number", "Other", "OfCluster", "OfPlan") if f"<<< {name}'" in text
        ]
        self.sent.append((name, " ".join(sorted(facts)) or text))
        self.meanwhile()
        lines = []
        for fact in facts:
            self.number += 1
            failed = fact in self.fails
            lines += [OutputLine("stdout", line) for line in (f"<<< {fact}", str(self.number))]
            if failed:
                lines.append(OutputLine("stderr", f"{fact}: no memory" if len(facts) > 1 else "no memory"))
            else:
                lines += [OutputLine("stdout", line) for line in ("", f">>> {fact}")]
        return not (len(facts) == 1 and facts[0] in self.fails), CommandOutput(lines)


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> Machines:
    made = Machines()
    monkeypatch.setattr(
        FakeConnector,
        "run_shell_command",
        lambda connector, command, **more: made.answer(connector, command, **more),
    )
    return made


@pytest.fixture
def state(machines: Machines) -> Iterator[State]:
    """A run on two machines whose commands go through the ``Door``."""
    with fake_hosts({"one": {}, "two": {}}) as made:
        guard_connections(made)
        yield made


def host(state: State, name: str = "one") -> Host:
    return state.inventory.get_host(f"@fake/{name}")


def test_known_answers_are_not_asked_for_again(state: State, machines: Machines) -> None:
    one = host(state)
    ask_what_is_missing(one, [Reading(Number), Reading(Other), Reading(OfCluster)])
    assert machines.sent == [("one", "Number OfCluster Other")]
    numbers = read(one, Number), read(one, Other), read(one, OfCluster)
    assert [read(one, fact) for fact in (Number, Other, OfCluster)] == list(numbers)
    ask_what_is_missing(one, [Reading(Other)])
    assert len(machines.sent) == 1
    # Another machine, or other arguments, is another question.
    read(host(state, "two"), Number)
    read(one, Number, of="things")
    assert machines.sent[1:] == [("two", "Number"), ("one", "Number")]


def test_ask_always_returns_a_new_answer(state: State, machines: Machines) -> None:
    first = read(host(state), Number)
    assert ask(host(state), Number) > first
    assert read(host(state), Number) > first
    assert len(machines.sent) == 2


def test_a_command_can_read_the_same_fact_with_several_arguments(state: State, machines: Machines) -> None:
    things = Reading.of(Number, of="things")
    found = ask_all(host(state), [Reading(Number), things])
    assert machines.sent == [("one", "Number Number_2")]
    assert found[Reading(Number)] != found[things]
    assert read(host(state), Number, of="things") == found[things]


def test_a_change_drops_the_answers_of_its_machine_and_about_the_cluster(
    state: State, machines: Machines
) -> None:
    one, two = host(state), host(state, "two")
    for machine in (one, two):
        ask_what_is_missing(machine, [Reading(Number), Reading(OfCluster)])
    two.run_shell_command("reboot")
    known = answers_of(state).known
    assert known(one, Reading(Number)) is not None
    assert [known(one, Reading(OfCluster)), known(two, Reading(Number)), known(two, Reading(OfCluster))] == [
        None
    ] * 3
    # A reading is not a change.
    ask(two, Other)
    assert known(one, Reading(Number)) is not None


def test_an_answer_from_before_a_change_is_not_kept(state: State, machines: Machines) -> None:
    """Another greenlet changes something while the question is on its way."""
    one, two = host(state), host(state, "two")

    def changes() -> None:
        machines.meanwhile = lambda: None
        two.run_shell_command("kubeadm join")

    machines.meanwhile = changes
    ask_what_is_missing(one, [Reading(Number), Reading(OfCluster)])
    assert answers_of(state).known(one, Reading(Number)) is not None
    assert answers_of(state).known(one, Reading(OfCluster)) is None


def test_answers_during_a_command_on_the_machine_are_not_kept(state: State, machines: Machines) -> None:
    one = host(state)

    def asked() -> None:
        machines.meanwhile = lambda: None
        read(one, Number)

    machines.meanwhile = asked
    one.run_shell_command("kubeadm init")
    assert answers_of(state).known(one, Reading(Number)) is None


def test_without_the_door_no_answers_are_kept(machines: Machines) -> None:
    """Sections that are imported alone do not know what else changes the machine."""
    with fake_hosts({"one": {}}) as state:
        assert read(host(state), Number) != read(host(state), Number)
        assert answers_of(state).asked(host(state)) == []
        machines.sent.clear()
        ask_what_is_missing(host(state), [Reading(Number)])
        assert machines.sent == []


def test_a_failed_reading_affects_no_other_and_is_not_repeated(state: State, machines: Machines) -> None:
    one = host(state)
    machines.fails = {"Other"}
    ask_what_is_missing(one, [Reading(Number), Reading(Other)])
    read(one, Number)
    for _ in range(2):
        with pytest.raises(NotRead, match="@fake/one: could not read other: no memory"):
            read(one, Other)
    assert len(machines.sent) == 1
    machines.fails = set()
    # Once operations run, failed readings are repeated.
    answers_of(state).forget_failures()
    assert read(one, Other)
    assert machines.sent[1:] == [("one", "Other")]


def test_after_taking_the_lock_all_readings_are_repeated_in_one_command(
    state: State, machines: Machines
) -> None:
    one = host(state)
    ask_what_is_missing(one, [Reading(Number), Reading(Other), Reading(OfCluster)])
    read(one, OfPlan)
    answers_of(state).begin_again()
    assert answers_of(state).known(one, Reading(Number)) is None
    ask_again(one)
    # The cluster is read once the leader is known, and readings for the plan are not repeated.
    assert machines.sent[-1] == ("one", "Number Other")


def test_a_changed_answer_of_the_plan_stops_the_run(state: State, machines: Machines) -> None:
    one = host(state)
    read(one, Other)
    read_for_plan(one, Reading(Number))
    refuse_changed_plan(state)
    # The new answer differs.
    ask_again(one)
    with pytest.raises(DeployError, match="@fake/one: number"):
        refuse_changed_plan(state)


def test_only_the_counted_part_of_an_answer_can_change_the_plan(state: State, machines: Machines) -> None:
    one = host(state)
    read_for_plan(one, Reading(Number), counts=lambda number: number > 0)
    ask_again(one)
    refuse_changed_plan(state)


def test_an_answer_that_was_not_read_again_is_not_a_change(state: State, machines: Machines) -> None:
    read_for_plan(host(state), Reading(Number))
    answers_of(state).begin_again()
    refuse_changed_plan(state)


def test_a_plan_that_cannot_be_read_again_stops_the_run(state: State, machines: Machines) -> None:
    one = host(state)
    read_for_plan(one, Reading(Number))
    machines.fails = {"Number"}
    answers_of(state).begin_again()
    ask_what_is_missing(one, answers_of(state).asked(one))
    with pytest.raises(NotRead, match="could not read number: no memory"):
        refuse_changed_plan(state)


def test_a_machine_with_a_lost_connection_is_read_again_too(state: State, machines: Machines) -> None:
    """It may have rebooted while the operator was at the prompt."""
    one, two = host(state), host(state, "two")
    for machine in (one, two):
        ask_what_is_missing(machine, [Reading(Number)])
    two.connected = False
    answers_of(state).begin_again()
    machines.sent.clear()
    RunLock(topology=NODES, holder=ANN, folder="/nowhere")._read_again(state)
    assert sorted(machines.sent) == [("one", "Number"), ("two", "Number")]


def test_a_slow_control_plane_is_asked_for_the_lock_alone(
    state: State, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask_what_is_missing(host(state), [Reading(Number)])
    limits = []

    def attempt(machine: Host, command: StringCommand, *, seconds: int) -> tuple[bool, CommandOutput]:
        reads = "<<< Number" in command.get_raw_value()
        limits.append((reads, seconds))
        if reads:
            raise NoAnswer(f"no answer in {seconds} s")
        return True, CommandOutput(
            [OutputLine("stdout", line) for line in ("<<< RunLock", "taken", "", ">>> RunLock")]
        )

    monkeypatch.setattr(direct, "attempt", attempt)
    lock = RunLock(topology=NODES, holder=ANN, folder="/nowhere")
    assert not lock._ask_one(NODES.control_planes[0].host).granted
    assert lock._ask_one(NODES.control_planes[0].host).granted
    assert limits == [(True, run_lock.ANSWER + run_lock.READING), (False, run_lock.ANSWER)]
    # The readings that were not sent with the lock are made afterwards, with their full time limit.
    machines.sent.clear()
    lock._read_again(state)
    assert machines.sent == [("one", "Number")]


def test_a_wait_drops_the_answers_about_the_cluster(state: State, machines: Machines) -> None:
    one = host(state)
    ask_what_is_missing(one, [Reading(OfCluster)])
    wait(one, Other, what="waiting", seconds=60)
    assert answers_of(state).known(one, Reading(OfCluster)) is None
