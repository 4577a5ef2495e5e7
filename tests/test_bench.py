"""The benchmark's arithmetic; the benchmark itself is no test."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kubeadm_deploys.operations.kubeadm import kubeadm
from tests.bench.__main__ import size
from tests.bench.machine import processor
from tests.bench.phases import seconds_by_phase
from tests.bench.processes import ROOT, Finished, Line
from tests.bench.product import (
    Command,
    Join,
    joins,
    operations_by_cost,
    traffic_by_host,
)

JOIN = str(kubeadm("join", stdin="the document"))
"""What the product runs."""


def command(
    operation: str,
    host: str,
    *,
    asker: str = "",
    command: str = "true",
    started: float = 0,
    seconds: float = 1,
    sent: int = 0,
    received: int = 0,
) -> Command:
    return Command(
        operation=operation,
        host=host,
        asker=asker or host,
        command=command,
        started=started,
        seconds=seconds,
        sent=sent,
        received=received,
    )


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
        command("", "@docker/a", sent=10, received=1),
        command("x", "@docker/a", asker="b", sent=20, received=2),
        command("x", "b", sent=5),
    ]
    traffic = traffic_by_host(commands)
    assert [(name, host.commands, host.bytes) for name, host in traffic.items()] == [
        ("a", 2, 33),
        ("b", 1, 5),
    ]


def test_an_operation_costs_what_its_slowest_host_pays() -> None:
    commands = [
        command("fast", "a"),
        command("slow", "a", seconds=2),
        command("slow", "b", seconds=1.5),
        command("slow", "b", seconds=1.5),
    ]
    costs = [(cost.name, cost.commands, cost.seconds) for cost in operations_by_cost(commands)]
    assert costs == [("slow", 2, 3.0), ("fast", 1, 1)]


def test_a_join_is_all_that_was_done_for_its_node_beside_what_kubeadm_took() -> None:
    commands = [
        command("Swap", "@docker/b", started=1),
        command("Join", "@docker/a", asker="@docker/b", command="ask etcd", started=10, seconds=2),
        command("Join", "@docker/b", command="wait", started=14.5, seconds=0.5),
        command("Join", "@docker/w", command=JOIN, started=9, seconds=6),
        command("Join", "@docker/b", command=JOIN, started=15, seconds=25),
        command("Join", "@docker/a", asker="@docker/c", command="ask etcd", started=40, seconds=1),
        command("Join", "@docker/c", command=JOIN, started=43, seconds=20),
        command("Wait", "@docker/b", started=63, seconds=9),
    ]
    assert joins(commands) == [
        Join(host="w", started=9, seconds=6, kubeadm=6),
        Join(host="b", started=10, seconds=30, kubeadm=25),
        Join(host="c", started=40, seconds=23, kubeadm=20),
    ]


def test_what_only_looks_at_joining_is_no_join() -> None:
    init = str(kubeadm("init", "--skip-token-print", stdin="the document"))
    commands = [
        command("Create", "a", command=init),
        command("Join", "b", command="pgrep -f 'kubeadm join' || true"),
    ]
    assert joins(commands) == []


DEPLOY = """
from pyinfra import host, inventory
from pyinfra.api import operation
from pyinfra.facts.server import Arch

from kubeadm_deploys.operations import direct

@operation()
def joined():
    if host.name == "@fake/a" or not host.state.is_executing:
        return
    leader = inventory.get_host("@fake/a")
    leader.get_fact(Arch)
    direct.run(leader, "at once")
    yield "in its turn"

host.get_fact(Arch)
joined(name="Join")
"""


def test_the_recorder_says_for_whom_a_host_was_asked(tmp_path: Path) -> None:
    inventory, deploy, record = tmp_path / "inventory.py", tmp_path / "deploy.py", tmp_path / "record"
    data = {"fake_delay": 0.1, "fake_delay_jitter": 0}
    inventory.write_text(f"hosts = {[(f'@fake/{name}', data) for name in 'ab']}")
    deploy.write_text(DEPLOY)
    subprocess.run(
        (sys.executable, "-m", "tests.bench.recorder", record, "-y", inventory, deploy),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )
    commands = [Command(**json.loads(line)) for line in record.read_text().splitlines()]
    reading = [(each.host, each.asker) for each in commands if not each.operation]
    assert sorted(reading) == [("@fake/a", "@fake/a"), ("@fake/b", "@fake/b")]
    fact, at_once, own = (each for each in commands if each.operation == "Join")
    assert (fact.host, fact.asker) == ("@fake/a", "@fake/b")
    assert (at_once.host, at_once.asker, at_once.command) == ("@fake/a", "@fake/b", "at once")
    assert (own.host, own.asker, own.command) == ("@fake/b", "@fake/b", "in its turn")
    assert own.seconds >= 0.1
    # Both are rounded to milliseconds.
    assert own.started >= at_once.ended - 0.002


@pytest.mark.parametrize("text", ["2+1", "1+0", "1", "1+x"])
def test_sizes_have_one_control_plane_and_at_least_one_worker(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size"):
        size(text)


def test_a_size_is_its_number_of_workers() -> None:
    assert size("1+12") == 12


def test_a_processor_without_a_name_is_called_by_its_architecture() -> None:
    assert processor("model name\t: Fast 9000\nmodel name\t: Fast 9000\n") == "Fast 9000"
    assert processor("Features: fp asimd\n")
