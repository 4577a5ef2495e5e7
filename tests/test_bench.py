"""The benchmark's arithmetic; the benchmark itself is no test."""

import argparse

import pytest

from tests.bench.__main__ import size
from tests.bench.machine import processor
from tests.bench.phases import seconds_by_phase
from tests.bench.processes import Finished, Line
from tests.bench.product import Command, operations_by_cost, traffic_by_host


def test_phases_are_cut_where_deploys_begin() -> None:
    lines = (
        Line(0.4, "--> Connecting to hosts..."),
        Line(2.0, "--> Starting operation: Swap | Turn swap off "),
        Line(2.5, "    [@docker/a] Success"),
        Line(3.0, "--> Starting operation: Swap | Mask the units (x)"),
        Line(5.0, "--> Starting operation: Every node is prepared "),
        Line(6.0, "--> Starting operation: CNI | Apply Calico "),
        Line(9.0, "--> Results:"),
    )
    assert seconds_by_phase(Finished(seconds=9.5, lines=lines)) == {
        "start, connect, read": 2.0,
        "Swap": 4.0,
        "CNI": 3.0,
        "end of pyinfra": 0.5,
    }


def test_a_deploy_that_comes_twice_is_one_phase() -> None:
    lines = tuple(
        Line(seconds, f"--> Starting operation: {name} ")
        for seconds, name in ((1.0, "A | x"), (2.0, "B | y"), (4.0, "A | z"))
    )
    phases = seconds_by_phase(Finished(seconds=7.0, lines=lines))
    assert (phases["A"], phases["B"]) == (4.0, 2.0)


def test_commands_are_summed_up_by_host() -> None:
    commands = [
        Command(operation="", host="@docker/a", seconds=1, sent=10, received=1),
        Command(operation="x", host="@docker/a", seconds=1, sent=20, received=2),
        Command(operation="x", host="b", seconds=1, sent=5, received=0),
    ]
    traffic = traffic_by_host(commands)
    assert [(name, host.commands, host.bytes) for name, host in traffic.items()] == [
        ("a", 2, 33),
        ("b", 1, 5),
    ]


def test_an_operation_costs_what_its_slowest_host_pays() -> None:
    commands = [
        Command(operation="fast", host="a", seconds=1, sent=0, received=0),
        Command(operation="slow", host="a", seconds=2, sent=0, received=0),
        Command(operation="slow", host="b", seconds=1.5, sent=0, received=0),
        Command(operation="slow", host="b", seconds=1.5, sent=0, received=0),
    ]
    costs = [(cost.name, cost.commands, cost.seconds) for cost in operations_by_cost(commands)]
    assert costs == [("slow", 2, 3.0), ("fast", 1, 1)]


@pytest.mark.parametrize("text", ["2+1", "1+0", "1", "1+x"])
def test_sizes_have_one_control_plane_and_at_least_one_worker(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size"):
        size(text)


def test_a_size_is_its_number_of_workers() -> None:
    assert size("1+12") == 12


def test_a_processor_without_a_name_is_called_by_its_architecture() -> None:
    assert processor("model name\t: Fast 9000\nmodel name\t: Fast 9000\n") == "Fast 9000"
    assert processor("Features: fp asimd\n")
