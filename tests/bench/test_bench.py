"""Tests of the benchmark's calculations, without running the benchmark."""

import argparse
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from kubeadm_deploys.cluster.kubeadm import kubeadm
from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_WAIT
from kubeadm_deploys.operations.packages import install_command
from tests.bench.__main__ import size
from tests.bench.goals import goals
from tests.bench.machine import Machine, processor
from tests.bench.measurement import Figures, ProductFigures, ScriptFigures
from tests.bench.phases import seconds_by_phase
from tests.bench.processes import ROOT, BenchError, Finished, Line
from tests.bench.product import Command, Join, ProductRun, Traffic, joins, operations_by_cost, traffic_by_host
from tests.bench.report import as_json, report
from tests.bench.rival import RivalRun
from tests.bench.sizes import Size, choose
from tests.bench.upgrade import UpgradeRun, seconds_by_program

JOIN = str(kubeadm("join", stdin="the document"))
CONTROL_PLANE_JOIN = str(kubeadm("join", "--ignore-preflight-errors=x", stdin="the document"))
"""Join commands as the product runs them."""

MACHINE = Machine(cores=2, processor="Fast 9000", memory_gib=24, kernel="6.18", load=0.1, other_hosts=0)


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


def product_run(*, seconds: float, commands: int = 9, joins: Sequence[Join] = ()) -> ProductRun:
    return ProductRun(
        seconds=seconds,
        phases={"Joining": seconds},
        hosts={"a": Traffic(commands=commands, bytes=2048)},
        operations=[],
        joins=list(joins),
        changes=[],
    )


def figures(text: str, *, cold: float = 50, second: float = 4, commands: int = 9) -> Figures:
    """Return results of a product that takes `cold` seconds, and of a script, if supported, that takes 50."""
    has_script = size(text).has_one_control_plane
    return Figures(
        size=size(text),
        product=ProductFigures(
            cold=product_run(
                seconds=cold,
                joins=[Join(host="bench-product-control-plane-2", started=40.5, seconds=30.25, kubeadm=28.5)],
            ),
            settling=1,
            second=product_run(seconds=second, commands=commands),
            growth=product_run(seconds=20) if has_script else None,
        ),
        script=ScriptFigures(cold=RivalRun(seconds=50, milestones={}), settling=1) if has_script else None,
    )


def test_phases_start_with_deploys() -> None:
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


def test_repeated_deploy_is_one_phase() -> None:
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


def test_cost_of_an_operation_is_that_of_its_slowest_host() -> None:
    commands = [
        command("fast", "a"),
        command("slow", "a", seconds=2),
        command("slow", "b", seconds=1.5),
        command("slow", "b", seconds=1.5),
    ]
    costs = [(cost.name, cost.commands, cost.seconds) for cost in operations_by_cost(commands)]
    assert costs == [("slow", 2, 3.0), ("fast", 1, 1)]


def test_join_has_all_commands_for_its_node_and_kubeadms_seconds() -> None:
    commands = [
        command("Swap", "@docker/b", started=1),
        command("Join", "@docker/a", asker="@docker/b", command="ask etcd", started=10, seconds=2),
        command("Join", "@docker/b", command="wait", started=14.5, seconds=0.5),
        command("Join", "@docker/w", command=JOIN, started=9, seconds=6),
        command("Join", "@docker/b", command=JOIN, started=15, seconds=25),
        command("Join", "@docker/a", asker="@docker/c", command="ask etcd", started=40, seconds=1),
        command("Join", "@docker/c", command=CONTROL_PLANE_JOIN, started=43, seconds=20),
        command("Wait", "@docker/b", started=63, seconds=9),
    ]
    assert joins(commands) == [
        Join(host="w", started=9, seconds=6, kubeadm=6),
        Join(host="b", started=10, seconds=30, kubeadm=25),
        Join(host="c", started=40, seconds=23, kubeadm=20),
    ]


def test_commands_that_only_mention_joining_are_not_joins() -> None:
    init = str(kubeadm("init", "--skip-token-print", stdin="the document"))
    commands = [
        command("Create", "a", command=init),
        command("Join", "b", command="pgrep -f 'kubeadm join' || true"),
    ]
    assert joins(commands) == []


DEPLOY = """
import gevent
from pyinfra import host, inventory
from pyinfra.api import operation
from pyinfra.facts.server import Arch

from kubeadm_deploys.remote import direct

@operation()
def joined():
    if host.name == "@fake/a" or not host.state.is_executing:
        return
    leader = inventory.get_host("@fake/a")
    leader.get_fact(Arch)
    # Like the renewal of the run lock.
    gevent.spawn(direct.run, inventory.get_host(host.name), "beside it").join()
    direct.run(leader, "at once")
    yield "in its turn"

host.get_fact(Arch)
joined(name="Join")
"""


def test_recorder_logs_for_which_host_a_command_runs(tmp_path: Path) -> None:
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
    *reading, renewal = (entry for entry in commands if not entry.operation)
    assert sorted((entry.host, entry.asker) for entry in reading) == [
        ("@fake/a", "@fake/a"),
        ("@fake/b", "@fake/b"),
    ]
    assert (renewal.host, renewal.asker, renewal.command) == ("@fake/b", "@fake/b", "beside it")
    fact, at_once, own = (entry for entry in commands if entry.operation == "Join")
    assert (fact.host, fact.asker) == ("@fake/a", "@fake/b")
    assert (at_once.host, at_once.asker, at_once.command) == ("@fake/a", "@fake/b", "at once")
    assert (own.host, own.asker, own.command) == ("@fake/b", "@fake/b", "in its turn")
    assert own.seconds >= 0.1
    # Both are rounded to milliseconds.
    assert own.started >= at_once.ended - 0.002


@pytest.mark.parametrize("text", ["0+1", "1+0", "1", "1+x", "1+1+1"])
def test_sizes_have_at_least_one_node_of_each_kind(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not a size"):
        size(text)


def test_size_is_parsed_and_printed_alike() -> None:
    assert size("3+12") == Size(control_planes=3, workers=12)
    assert str(size("3+12")) == "3+12"


def test_default_sizes_are_measured_if_they_fit() -> None:
    sizes, note = choose(asked=[], script_only=False, room=141)
    assert (list(map(str, sizes)), note) == (["1+1", "1+3", "3+3"], "")


def test_three_and_one_replaces_three_and_three_with_a_note() -> None:
    sizes, note = choose(asked=[], script_only=False, room=128)
    assert list(map(str, sizes)) == ["1+1", "1+3", "3+1"]
    assert note.startswith("3+1 is measured instead of 3+3: 3+3 needs about 141 inotify instances")
    assert "128 left" in note
    assert "sysctl fs.inotify.max_user_instances=" in note


@pytest.mark.parametrize(
    ("asked", "room", "message"),
    [
        # The measurement also adds a worker.
        ([Size(1, 3)], 97, r"1\+3 needs about 98 inotify instances.* has 97 left"),
        ([Size(3, 3)], 140, r"3\+3 needs about 141 .* has 140 left"),
        ([], 106, r"3\+1 needs about 107 .* has 106 left"),
        ([Size(1, 1)], -13, r"1\+1 needs about 64 .* has 0 left"),
    ],
)
def test_size_that_does_not_fit_is_refused(asked: list[Size], room: int, message: str) -> None:
    with pytest.raises(BenchError, match=message):
        choose(asked=asked, script_only=False, room=room)


def test_chosen_sizes_are_measured_once_the_smallest_first() -> None:
    asked = [Size(3, 1), Size(1, 2), Size(3, 1)]
    assert choose(asked=asked, script_only=False, room=128) == ([Size(1, 2), Size(3, 1)], "")


def test_script_alone_supports_only_one_control_plane() -> None:
    assert choose(asked=[], script_only=True, room=128) == ([Size(1, 1), Size(1, 3)], "")
    with pytest.raises(BenchError, match=r"leave out 3\+1"):
        choose(asked=[Size(1, 1), Size(3, 1)], script_only=True, room=128)


def test_growth_is_a_goal_only_with_one_control_plane() -> None:
    sizes = [figures("1+1"), figures("1+3", cold=60), figures("3+3", cold=150)]
    growth = [goal for goal in goals(sizes) if " to " in goal.text]
    assert [(goal.text, goal.measured, goal.met) for goal in growth] == [
        ("1+1 to 1+3: cold run at most 1.25 times as long", "1.20 (script: 1.00)", True),
        ("1+1 to 1+3: second run at most 1.25 times as long", "1.00", True),
    ]
    assert not [goal for goal in goals([figures("3+1"), figures("3+3")]) if " to " in goal.text]


def test_several_control_planes_have_only_the_goal_for_commands() -> None:
    (goal,) = goals([figures("3+1", second=12, commands=31)])
    assert (goal.text, goal.met) == ("3+1: second run at most 5 remote commands per host", False)


def test_report_lists_joins_with_kubeadms_seconds() -> None:
    lines = report(machine=MACHINE, sizes=[figures("3+3", cold=150)]).splitlines()
    (title,) = (index for index, line in enumerate(lines) if line.startswith("joins"))
    assert (
        " ".join(lines[title].split())
        == "joins, from the start of their turn seconds of which kubeadm started"
    )
    assert lines[title + 1].split() == ["control-plane-2", "30.2", "28.5", "at", "40.5"]
    assert not [line for line in lines if "script" in line or "one more worker" in line]


def test_report_with_one_control_plane_has_both_rivals_and_an_added_worker() -> None:
    text = report(machine=MACHINE, sizes=[figures("1+1")])
    assert "product / script, cold" in text
    assert "product, one more worker" in text


def test_an_upgrades_programs_are_summed_up() -> None:
    commands = [
        command("", "cp", command=str(kubeadm("upgrade", "apply", "v1.37.2", stdin="")), seconds=60),
        command("", "w", command=str(kubeadm("upgrade", "node", stdin="")), seconds=5),
        command("", "w", command=str(install_command(["kubeadm=1.37.2-*"])), seconds=12),
        command("", "cp", command=f"{KUBECTL_WAIT} drain w --ignore-daemonsets", seconds=20),
        command("", "cp", command=f"{KUBECTL} uncordon w", seconds=1),
        command("", "cp", command=JOIN, seconds=9),
    ]
    assert seconds_by_program(commands) == {"kubeadm": 65, "apt": 12, "drain": 20}


def test_report_has_an_upgrade_beside_its_programs() -> None:
    run = UpgradeRun(seconds=200, programs={"kubeadm": 90, "apt": 30, "drain": 20})
    text = report(machine=MACHINE, sizes=[dataclasses.replace(figures("1+1"), upgrade=run)])
    rows = [line.split() for line in text.splitlines()]
    assert ["product,", "upgrade", "by", "a", "minor", "200.0"] in rows
    assert ["the", "sum", "of", "these", "140.0"] in rows


def test_json_has_results_by_size() -> None:
    sizes = json.loads(as_json(machine=MACHINE, sizes=[figures("1+1"), figures("3+1")]))["sizes"]
    assert list(sizes) == ["1+1", "3+1"]
    assert sizes["3+1"]["size"] == {"control_planes": 3, "workers": 1}
    assert sizes["3+1"]["product"]["cold"]["joins"][0]["kubeadm"] == 28.5


def test_processor_without_a_name_gets_its_architecture() -> None:
    assert processor("model name\t: Fast 9000\nmodel name\t: Fast 9000\n") == "Fast 9000"
    assert processor("Features: fp asimd\n")
