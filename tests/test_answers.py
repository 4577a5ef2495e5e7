"""Several readings in one command, and for how long their answers count."""

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

from kubeadm_deploys import run_lock
from kubeadm_deploys.connections import NoAnswer, guard_connections
from kubeadm_deploys.facts.answers import ClusterFact, PlanFact, Reading, answers_of
from kubeadm_deploys.facts.framing import complaints, end_of, first_and_then, framed_lines, side_by_side
from kubeadm_deploys.facts.reading import (
    NotRead,
    ask,
    ask_again,
    ask_all,
    ask_what_is_missing,
    read,
    read_for_plan,
    wait,
)
from kubeadm_deploys.locking import RunLock, refuse_changed_plan
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import direct
from tests.lock_files import ANN
from tests.pyinfra_hosts import fake_hosts

NODES = Topology(
    control_planes=(Node(host="@fake/one", name="one", ip="10.0.0.1", address=""),),
    workers=(Node(host="@fake/two", name="two", ip="10.0.0.2", address=""),),
)

# What a shell makes of it.


def sh(command: StringCommand, shell: str = "sh") -> tuple[int, list[str], list[str]]:
    """Exit status, stdout and stderr."""
    done = subprocess.run([shell, "-c", command.get_raw_value()], capture_output=True, text=True)
    return done.returncode, done.stdout.split("\n")[:-1], done.stderr.splitlines()


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_commands_side_by_side_are_each_read_whole_or_not_at_all(shell: str) -> None:
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
    # Nobody's standard input is there to be read.
    assert framed_lines("Reads", output) == []
    assert framed_lines("Fails", output) is None and framed_lines("Silent", output) is None
    assert complaints("Fails", errors) == ["no such file"]
    assert complaints("Silent", errors) == ["the command failed and printed nothing"]
    assert complaints("Slow", errors) == []
    ended = end_of(output)
    assert ended is not None and abs(ended - time.time()) < 5


def test_commands_side_by_side_run_at_the_same_time_and_leave_nothing(tmp_path: Path) -> None:
    before = set(Path("/run").glob("kubeadm-deploys-answers.*"))
    os.mkfifo(tmp_path / "pipe")
    # The first one ends only when the second one runs.
    commands = {"First": f"timeout 60 cat {tmp_path}/pipe", "Second": f"echo word > {tmp_path}/pipe"}
    _, output, _ = sh(side_by_side(commands))
    assert framed_lines("First", output) == ["word"]
    assert set(Path("/run").glob("kubeadm-deploys-answers.*")) == before


def test_an_answer_that_was_cut_off_is_read_up_to_there() -> None:
    _, output, _ = sh(side_by_side({"One": "echo one", "Two": "echo two"}))
    for length in range(len(output)):
        part = output[:length]
        assert framed_lines("Two", part) in (None, ["two"])
        assert framed_lines("One", part) in (None, ["one"])


@pytest.mark.parametrize(("said", "then"), [("asked; echo taken", True), ("asked; echo held", False)])
def test_questions_after_another_one_are_only_asked_when_it_is_answered_so(said: str, then: bool) -> None:
    command = first_and_then(
        "RunLock", StringCommand(f"echo {said}"), succeeds_with="taken", then=StringCommand("echo more")
    )
    status, output, _ = sh(command)
    assert status == 0
    assert framed_lines("RunLock", output) == said.replace("; echo", "").split()
    assert ("more" in output) is then


def test_the_complaints_of_the_first_question_are_part_of_its_answer() -> None:
    first = StringCommand("echo asked; echo 'not root' >&2; exit 1")
    _, output, _ = sh(
        first_and_then("RunLock", first, succeeds_with="taken", then=StringCommand("echo more"))
    )
    assert framed_lines("RunLock", output) == ["asked", "not root"]
    assert "more" not in output


# For how long an answer counts.


class Number(FactBase[int]):
    """A number that a machine counts up whenever it is asked."""

    @override
    def command(self, of: str = "") -> StringCommand:
        return StringCommand("number", of)

    @override
    def process(self, output: list[str]) -> int:
        return int(output[0])


class Other(Number):
    """Another one."""


class OfCluster(ClusterFact[int], Number):
    """One that the cluster counts."""


class OfPlan(PlanFact[int], Number):
    """One that is only wanted while a run is prepared."""


class Machines:
    """What was sent to whom, and what is answered: a number for each fact, or a failure where one is named."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []
        self.fails: set[str] = set()
        self.number = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def answer(self, connector: FakeConnector, command: Any, **_: Any) -> tuple[bool, CommandOutput]:
        text = command if isinstance(command, str) else command.get_raw_value()
        name = connector.host.name.removeprefix("@fake/")
        facts = [
            each for each in ("Number_2", "Number", "Other", "OfCluster", "OfPlan") if f"<<< {each}'" in text
        ]
        self.sent.append((name, " ".join(sorted(facts)) or text))
        self.meanwhile()
        lines = []
        for fact in facts:
            self.number += 1
            failed = fact in self.fails
            lines += [OutputLine("stdout", each) for each in (f"<<< {fact}", str(self.number))]
            if failed:
                lines.append(OutputLine("stderr", f"{fact}: no memory" if len(facts) > 1 else "no memory"))
            else:
                lines += [OutputLine("stdout", each) for each in ("", f">>> {fact}")]
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
    """A run on two machines, all of whose commands go through the door."""
    with fake_hosts({"one": {}, "two": {}}) as made:
        guard_connections(made)
        yield made


def host(state: State, name: str = "one") -> Host:
    return state.inventory.get_host(f"@fake/{name}")


def test_what_is_known_is_not_asked_again(state: State, machines: Machines) -> None:
    one = host(state)
    ask_what_is_missing(one, [Reading(Number), Reading(Other), Reading(OfCluster)])
    assert machines.sent == [("one", "Number OfCluster Other")]
    numbers = read(one, Number), read(one, Other), read(one, OfCluster)
    assert [read(one, each) for each in (Number, Other, OfCluster)] == list(numbers)
    ask_what_is_missing(one, [Reading(Other)])
    assert len(machines.sent) == 1
    # Another machine is another question, and so are other arguments.
    read(host(state, "two"), Number)
    read(one, Number, of="things")
    assert machines.sent[1:] == [("two", "Number"), ("one", "Number")]


def test_who_asks_now_is_answered_now(state: State, machines: Machines) -> None:
    first = read(host(state), Number)
    assert ask(host(state), Number) > first
    assert read(host(state), Number) > first
    assert len(machines.sent) == 2


def test_the_same_fact_can_be_asked_twice_in_a_command(state: State, machines: Machines) -> None:
    things = Reading.of(Number, of="things")
    found = ask_all(host(state), [Reading(Number), things])
    assert machines.sent == [("one", "Number Number_2")]
    assert found[Reading(Number)] != found[things]
    assert read(host(state), Number, of="things") == found[things]


def test_a_change_on_a_machine_makes_its_answers_unknown_and_those_about_the_cluster(
    state: State, machines: Machines
) -> None:
    one, two = host(state), host(state, "two")
    for each in (one, two):
        ask_what_is_missing(each, [Reading(Number), Reading(OfCluster)])
    two.run_shell_command("reboot")
    known = answers_of(state).known
    assert known(one, Reading(Number)) is not None
    assert [known(one, Reading(OfCluster)), known(two, Reading(Number)), known(two, Reading(OfCluster))] == [
        None
    ] * 3
    # What is only read changes nothing.
    ask(two, Other)
    assert known(one, Reading(Number)) is not None


def test_an_answer_from_before_a_change_is_not_kept(state: State, machines: Machines) -> None:
    """The question is on its way while another greenlet does something."""
    one, two = host(state), host(state, "two")

    def changes() -> None:
        machines.meanwhile = lambda: None
        two.run_shell_command("kubeadm join")

    machines.meanwhile = changes
    ask_what_is_missing(one, [Reading(Number), Reading(OfCluster)])
    assert answers_of(state).known(one, Reading(Number)) is not None
    assert answers_of(state).known(one, Reading(OfCluster)) is None


def test_while_a_command_runs_its_machine_is_not_known_either(state: State, machines: Machines) -> None:
    one = host(state)

    def asked() -> None:
        machines.meanwhile = lambda: None
        read(one, Number)

    machines.meanwhile = asked
    one.run_shell_command("kubeadm init")
    assert answers_of(state).known(one, Reading(Number)) is None


def test_without_the_door_nothing_is_kept(machines: Machines) -> None:
    """Sections that are imported alone: who else changes the machine is not known."""
    with fake_hosts({"one": {}}) as state:
        assert read(host(state), Number) != read(host(state), Number)
        assert answers_of(state).asked(host(state)) == []
        machines.sent.clear()
        ask_what_is_missing(host(state), [Reading(Number)])
        assert machines.sent == []


def test_one_that_fails_keeps_no_other_from_being_read_and_is_not_asked_twice(
    state: State, machines: Machines
) -> None:
    one = host(state)
    machines.fails = {"Other"}
    ask_what_is_missing(one, [Reading(Number), Reading(Other)])
    read(one, Number)
    for _ in range(2):
        with pytest.raises(NotRead, match="@fake/one: could not read other: no memory"):
            read(one, Other)
    assert len(machines.sent) == 1
    machines.fails = set()
    # Once operations run, what is not known is asked.
    answers_of(state).forget_failures()
    assert read(one, Other)
    assert machines.sent[1:] == [("one", "Other")]


def test_with_the_lock_everything_is_asked_again_in_one_command(state: State, machines: Machines) -> None:
    one = host(state)
    ask_what_is_missing(one, [Reading(Number), Reading(Other), Reading(OfCluster)])
    read(one, OfPlan)
    answers_of(state).begin_again()
    assert answers_of(state).known(one, Reading(Number)) is None
    ask_again(one)
    # The cluster is asked when it is known who leads, and what was only for the plan not at all.
    assert machines.sent[-1] == ("one", "Number Other")


def test_a_plan_that_is_not_true_any_more_stops_the_run(state: State, machines: Machines) -> None:
    one = host(state)
    read(one, Other)
    read_for_plan(one, Reading(Number))
    refuse_changed_plan(state)
    # The machine counts up.
    ask_again(one)
    with pytest.raises(DeployError, match="@fake/one: number"):
        refuse_changed_plan(state)


def test_only_what_counts_for_the_plan_can_change_it(state: State, machines: Machines) -> None:
    one = host(state)
    read_for_plan(one, Reading(Number), counts=lambda number: number > 0)
    ask_again(one)
    refuse_changed_plan(state)


def test_what_was_not_read_again_is_no_change(state: State, machines: Machines) -> None:
    read_for_plan(host(state), Reading(Number))
    answers_of(state).begin_again()
    refuse_changed_plan(state)


def test_a_plan_that_could_not_be_read_again_stops_the_run(state: State, machines: Machines) -> None:
    one = host(state)
    read_for_plan(one, Reading(Number))
    machines.fails = {"Number"}
    answers_of(state).begin_again()
    ask_what_is_missing(one, answers_of(state).asked(one))
    with pytest.raises(NotRead, match="could not read number: no memory"):
        refuse_changed_plan(state)


def test_a_machine_whose_connection_has_ended_is_read_again_too(state: State, machines: Machines) -> None:
    """It may have rebooted while the operator was at the prompt."""
    one, two = host(state), host(state, "two")
    for each in (one, two):
        ask_what_is_missing(each, [Reading(Number)])
    two.connected = False
    answers_of(state).begin_again()
    machines.sent.clear()
    RunLock(topology=NODES, holder=ANN, folder="/nowhere")._read_again(state)
    assert sorted(machines.sent) == [("one", "Number"), ("two", "Number")]


def test_a_control_plane_that_reads_slowly_is_asked_for_the_lock_alone(
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
            [OutputLine("stdout", each) for each in ("<<< RunLock", "taken", "", ">>> RunLock")]
        )

    monkeypatch.setattr(direct, "attempt", attempt)
    lock = RunLock(topology=NODES, holder=ANN, folder="/nowhere")
    assert not lock._ask_one(NODES.control_planes[0].host).granted
    assert lock._ask_one(NODES.control_planes[0].host).granted
    assert limits == [(True, run_lock.ANSWER + run_lock.READING), (False, run_lock.ANSWER)]
    # What it was not asked with the lock it is asked afterwards, with all the time that a reading has.
    machines.sent.clear()
    lock._read_again(state)
    assert machines.sent == [("one", "Number")]


def test_a_wait_makes_what_was_known_of_the_cluster_old(state: State, machines: Machines) -> None:
    one = host(state)
    ask_what_is_missing(one, [Reading(OfCluster)])
    wait(one, Other, seconds=60)
    assert answers_of(state).known(one, Reading(OfCluster)) is None
