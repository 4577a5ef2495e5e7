"""The report of a failed run, with pyinfra's real command line, and the secrets that it must not contain."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.run.diagnosis import DIAGNOSE
from kubeadm_deploys.run.failure_report import Failure, file_name, report
from kubeadm_deploys.run.redaction import MASK
from tests.support.fake_answers import framed
from tests.support.pyinfra_command import pyinfra

TOKEN = "abcdef.0123456789abcdef"


def test_the_file_name_has_the_cluster_and_the_time_in_utc() -> None:
    now = datetime(2026, 11, 25, 1, 2, 3, tzinfo=timezone(timedelta(hours=2)))
    assert file_name(cluster_name="demo", now=now) == "demo-failure-20261124T230203Z.log"


def test_the_report_is_complete_and_has_no_secrets() -> None:
    nodes = [
        Node(host=f"host-{name}", name=name, ip=f"10.0.0.{n}", address="") for n, name in enumerate("ab")
    ]
    own = {"staticPodURLHeader": {"x-password": ["own-secret"]}}
    nodes[1] = replace(nodes[1], kubelet_configuration=own)
    text = report(
        now=datetime(2026, 11, 25, 14, 3, 5, tzinfo=UTC),
        deploy="deploys/cluster.py",
        versions={"pyinfra": "3.10.0"},
        options=ClusterOptions(
            cluster_name="demo",
            http_proxy="http://bob:hunter%40%402@10.0.0.7:3128",
            kubelet_configuration={"staticPodURL": "http://me:pa55word@10.0.0.9", "x-password": 4711},
        ),
        topology=Topology(control_planes=(nodes[0],), workers=(nodes[1],)),
        failures=[Failure(host="host-b", operation="Join the cluster", error=f"one\ntoken {TOKEN}")],
        output=["Starting", "sesame", "own-secret", "pin 4711", "proxy bob hunter@@2"],
        machines={"host-b": "$ date\nnow", "host-a": "no longer answers: gone"},
        secrets=["sesame"],
    )
    for words in (
        "deploys/cluster.py failed at 2026-11-25 14:03:05 UTC",
        "pyinfra 3.10.0",
        "host-b: Join the cluster\n    one\n",
        "control plane a: host host-a, node_ip 10.0.0.0",
        "worker b: host host-b, node_ip 10.0.0.1",
        "cluster_name = 'demo'",
        "Starting",
        "Machine host-b ====\n$ date\nnow",
        "Machine host-a ====\nno longer answers: gone",
    ):
        assert words in text
    assert [
        secret for secret in ("pa55word", TOKEN, "sesame", "4711", "hunter", "own-secret") if secret in text
    ] == []
    assert (
        "best-effort" in text.splitlines()[0]
        and "Review this file before you share it" in text.splitlines()[1]
    )


def test_diagnostics_without_kubernetes_are_fast_and_in_ascii() -> None:
    begin = time.monotonic()
    done = subprocess.run(["sh", "-c", str(DIAGNOSE)], capture_output=True, timeout=90)
    assert (done.returncode, done.stderr) == (0, b"")
    output = done.stdout.decode("ascii")
    for command in (
        "uname --all",
        "kubelet --version",
        "journalctl --unit containerd",
        "crictl --timeout 5s ps",
    ):
        assert f"$ {command}" in output
    assert time.monotonic() - begin < 60


DEPLOY = """
from pyinfra import host, inventory
from pyinfra.api import operation
from pyinfra.api.exceptions import DeployError
from pyinfra.operations import server
from kubeadm_deploys import ClusterOptions
from kubeadm_deploys.run import reporting, run_lock
from kubeadm_deploys.run.locking import acquire_run_lock
from kubeadm_deploys.model.nodes import Node, Topology

run_lock.ANSWER = reporting._ANSWER_SECONDS = 2
nodes = tuple(Node(host=host.name, name="cp", ip="10.0.0.1", address="10.0.0.1") for host in inventory)
topology = Topology(control_planes=nodes, workers=())
reporting.report_on_failure(options=ClusterOptions(cluster_name="demo"), topology=topology)
acquire_run_lock(topology=topology, folder={folder!r})

@operation()
def raising():
    if host.state.is_executing:
        raise DeployError("raised inside an operation")
    yield "true"

{work}
"""

SHELL = 'server.shell(name="Work hard", commands=[{!r}])'


def write(folder: Path, work: str) -> None:
    (folder / "work.py").write_text(DEPLOY.format(folder=str(folder / "lock"), work=work))


def environment() -> dict[str, str]:
    return {**os.environ, "HCLOUD_TOKEN": "open-sesame", "HARBOR": "hunter2"}


def start(tmp_path: Path, work: str, *arguments: str, inventory: str = "@local") -> subprocess.Popen[str]:
    write(tmp_path, work)
    return subprocess.Popen(
        [Path(sys.executable).with_name("pyinfra"), *(arguments or ("-y",)), inventory, "work.py"],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(tmp_path: Path, work: str, *arguments: str, inventory: str = "@local") -> tuple[int, str, str]:
    write(tmp_path, work)
    done = pyinfra(*(arguments or ("-y",)), inventory, "work.py", folder=tmp_path, environment=environment())
    return done.returncode, done.stdout, done.stderr


def reports(tmp_path: Path) -> list[Path]:
    return list(tmp_path.glob("demo-failure-*.log"))


def the_report(tmp_path: Path, stderr: str) -> str:
    """Return the text of the only report, after checking its mode and that its path ends the run's output."""
    (path,) = reports(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert stderr.splitlines()[-1].endswith(f" {path}")
    return path.read_text()


def test_a_failed_run_ends_with_the_path_of_its_report(tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path, SHELL.format("echo open-sesame; echo it hurts >&2; exit 3"))
    assert code == 1
    assert "No hosts remaining!" in stderr
    text = the_report(tmp_path, stderr)
    assert "@local: Work hard\n    it hurts" in text
    assert "==== Machine @local ====\n\n$ uname --all" in text
    assert "cluster_name = 'demo'" in text
    assert "open-sesame" not in text
    assert list((tmp_path / "lock").iterdir()) == []


def test_secrets_in_data_are_not_in_the_report(tmp_path: Path) -> None:
    data = {
        "x_registry": {"password": "two words"},
        "x_token": 4711,
        "x_user": "bob",
        "registries": {"r.example.com": {"username": "bob", "password_env": "HARBOR"}},
    }
    inventory = tmp_path / "inventory.py"
    inventory.write_text(f'hosts = [("@local", {data!r})]\n')
    output = "bob logs in with two words or 4711, or open-sesame, or hunter2 as Ym9iOmh1bnRlcjI= for HARBOR"
    code, _, stderr = run(tmp_path, SHELL.format(f"echo {output} >&2; exit 3"), inventory=str(inventory))
    assert code == 1
    masked = f"    bob logs in with {MASK} or {MASK}, or {MASK}, or {MASK} as {MASK} for HARBOR\n"
    assert masked in the_report(tmp_path, stderr)


def test_json_output_stays_valid(tmp_path: Path) -> None:
    # The first of the two hosts does not fail.
    work = f"if host.name == '@local':\n    {SHELL.format('exit 3')}\n{SHELL.format('true')}"
    inventory = tmp_path / "inventory.py"
    taken = framed("RunLock", ["asked", "taken"])
    data = {"fake_delay": 0, "fake_delay_jitter": 0, "fake_responses": {"take-run-lock": taken}}
    inventory.write_text(f'hosts = [("@fake/well", {data!r}), "@local"]\n')
    code, stdout, stderr = run(tmp_path, work, "-y", "--json", inventory=str(inventory))
    assert code == 1
    assert json.loads(stdout)["results"]["totals"]["error"] >= 1
    text = the_report(tmp_path, stderr)
    # Diagnostics are also collected from a healthy control plane.
    assert "==== Machine @fake/well ====" in text
    assert "==== Machine @local ====" in text


def test_an_exception_in_an_operation_is_a_failure(tmp_path: Path) -> None:
    code, _, stderr = run(tmp_path, 'raising(name="Raise")')
    assert code == 1
    text = the_report(tmp_path, stderr)
    assert "@local: Raise\n    Traceback" in text
    assert "DeployError: raised inside an operation" in text


def test_the_report_says_which_machine_no_longer_answers(tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text(
        f'#!/bin/sh\nif [ -e {shlex.quote(str(tmp_path))}/dead ]; then sleep 10; fi\nexec sh "$@"\n'
    )
    shell.chmod(0o755)
    inventory = tmp_path / "inventory.py"
    inventory.write_text(f'hosts = [("@local", {{"_shell_executable": {str(shell)!r}}})]\n')
    code, _, stderr = run(tmp_path, SHELL.format("touch dead; exit 1"), inventory=str(inventory))
    assert code == 1
    assert "==== Machine @local ====\nno longer answers: no answer in 2 s" in the_report(tmp_path, stderr)


@pytest.mark.parametrize(
    ("work", "arguments", "code"),
    [
        (SHELL.format("true"), ("-y",), 0),
        (SHELL.format("exit 3"), ("--dry",), 0),
        (SHELL.replace(")", ", _ignore_errors=True)").format("exit 3"), ("-y",), 0),
        # No operation has started.
        ('raise DeployError("refused")', ("-y",), 1),
    ],
)
def test_without_a_failure_there_is_no_report(
    tmp_path: Path, work: str, arguments: tuple[str, ...], code: int
) -> None:
    assert run(tmp_path, work, *arguments)[0] == code
    assert reports(tmp_path) == []


def test_a_run_that_finds_the_lock_taken_writes_no_report(tmp_path: Path) -> None:
    first = start(tmp_path, SHELL.format("touch begun; until [ -e go ]; do sleep 0.1; done"))
    while not (tmp_path / "begun").exists():
        assert first.poll() is None
        time.sleep(0.05)
    code, _, stderr = run(tmp_path, SHELL.format("true"))
    assert (code, "has been running work.py on this cluster since" in stderr) == (1, True)
    (tmp_path / "go").touch()
    first.communicate(timeout=60)
    assert reports(tmp_path) == []


def test_ctrl_c_is_not_a_failure(tmp_path: Path) -> None:
    process = start(tmp_path, SHELL.format("touch begun; sleep 2; exit 3"))
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert "Error" in stderr
    assert reports(tmp_path) == []


def test_a_report_that_cannot_be_written_hides_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    code, _, stderr = run(folder, SHELL.format(f"rm -r {folder}; echo it hurts >&2; exit 3"))
    assert code == 1
    assert "it hurts" in stderr
    assert "No hosts remaining!" in stderr
    assert "Warning: no report could be written" in stderr
