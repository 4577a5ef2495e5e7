"""The door to machines: time limits and lost connections, with pyinfra's real command line."""

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from pyinfra.api import Config, Inventory, State
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.hiddenvalue import HiddenValue

from kubeadm_deploys.remote import connections, direct
from tests.support.pyinfra_processes import pyinfra_processes
from tests.support.ssh_machine import SshMachine, ssh_machine

UNKNOWN = "result unknown, the next run reads it"

DEPLOY = """
import socket
from pyinfra import host, inventory
from pyinfra.facts.server import Command
from pyinfra.operations import python, server
from kubeadm_deploys.remote import connections
from kubeadm_deploys.run import run_lock
from kubeadm_deploys.cluster.leader import Leader
from kubeadm_deploys.remote.run_parts import part
from kubeadm_deploys.remote.connections import guard_connections
from kubeadm_deploys.run.locking import acquire_run_lock
from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.model.nodes import Node, Topology

{before}
guard_connections(host.state)
{work}
"""

LOCK = """
run_lock.RENEWAL = 0.2
node = Node(host="machine", name="cp", ip="10.0.0.1", address="")
part(host.state, Leader).planned = ApiLeader(leader="machine", exists=False)
acquire_run_lock(topology=Topology(control_planes=(node,), workers=()), folder="lock")
"""

Pyinfra = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def pyinfra(tmp_path: Path) -> Iterator[Pyinfra]:
    """Return a function that starts pyinfra with a deploy; all hosts run commands in the same folder."""
    with pyinfra_processes(tmp_path) as start:

        def begin(*hosts: tuple[str, dict[str, Any]], before: str = "", work: str) -> subprocess.Popen[str]:
            listed = [(name, {**data, "_chdir": str(tmp_path)}) for name, data in hosts]
            (tmp_path / "inventory.py").write_text(f"hosts = {listed!r}\n")
            (tmp_path / "work.py").write_text(DEPLOY.format(before=before, work=work))
            return start("-y", "inventory.py", "work.py")

        yield begin


@pytest.fixture
def machine() -> Iterator[SshMachine]:
    with ssh_machine() as made:
        yield made


@pytest.fixture(params=["local", "over SSH"])
def target(request: pytest.FixtureRequest, machine: SshMachine) -> tuple[str, dict[str, Any]]:
    """A pyinfra host with its data."""
    return ("@local", {}) if request.param == "local" else ("machine", machine.data)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=60)
    assert "Traceback" not in output
    return process.returncode, output


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


LIMITS = "connections.OPERATION_SECONDS = connections.READING_SECONDS = 1"
HANG = 'server.shell(name="Hang", commands=["sleep 5"]{more})\nserver.shell(name="Go on", commands=["touch done"])'


def test_an_operation_that_does_not_end_fails(
    pyinfra: Pyinfra, target: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    code, output = ended(pyinfra(target, before=LIMITS, work=HANG.format(more="")))
    assert (code, (tmp_path / "done").exists()) == (1, False)
    assert f"no answer in 1 s; {UNKNOWN}" in output


def test_a_callers_own_limit_is_used(
    pyinfra: Pyinfra, target: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    code, output = ended(pyinfra(target, before=LIMITS, work=HANG.format(more=", _timeout=20")))
    assert (code, (tmp_path / "done").exists()) == (0, True), output


def test_a_reading_that_does_not_end_fails(pyinfra: Pyinfra, target: tuple[str, dict[str, Any]]) -> None:
    before = "connections.READING_SECONDS = 1"
    code, output = ended(pyinfra(target, before=before, work='host.get_fact(Command, "sleep 5")'))
    assert code == 1
    assert f"no answer in 1 s; {UNKNOWN}" in output


def test_the_documents_state_the_limits() -> None:
    root = Path(__file__).parents[2]
    documents = " ".join(path.read_text() for path in (root / "README.md", *root.glob("docs/*.md")))
    limits = f"{connections.OPERATION_SECONDS} s ({connections.READING_SECONDS} s"
    assert limits in " ".join(documents.split())


def local_state() -> State:
    return State(Inventory((["@local"], {})), Config())


def test_a_direct_command_that_does_not_end_fails_with_that_reason() -> None:
    state = local_state()
    connections.guard_connections(state)
    (host,) = state.inventory
    done, output = direct.run(host, "sleep 5", seconds=1)
    assert (done, output.stderr) == (False, f"no answer in 1 s; {UNKNOWN}")
    assert direct.run(host, "cat", stdin="given", seconds=5)[1].stdout == "given"


def test_a_run_has_one_door_which_asks_the_lock_before_each_command() -> None:
    state = local_state()
    (host,) = state.inventory
    asked: list[str] = []

    def fence(
        asked_for: object, command: connections.Command, send: Callable[[Any], connections.Answer]
    ) -> connections.Answer:
        asked.append(str(command))
        return send(StringCommand("echo first;", command))

    connections.guard_connections(state)
    connections.guard_connections(state, fence=fence)
    connections.guard_connections(state)
    assert sum(isinstance(handler, connections.Door) for handler in state.callback_handlers) == 1
    assert direct.run(host, StringCommand("echo", QuoteString(HiddenValue("s3cret"))))[1].stdout_lines == [
        "first",
        "s3cret",
    ]
    assert asked == ["echo '*MASKED*'"]
    direct.attempt(host, StringCommand("true"), seconds=5)
    assert len(asked) == 1


IDLE = 'server.shell(name="Wait", commands=["sleep 3"])'

SHOW = """
def show():
    transport = host.connector.client.get_transport()
    while not hasattr(transport.sock, "getsockopt"):
        transport = transport.sock.get_transport()
    options = ((socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    print("OPTIONS", *(transport.sock.getsockopt(*option) for option in options))

if host.name == "machine":
    python.call(name="Show", function=show)
"""


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
@pytest.mark.parametrize("jumping", [False, True], ids=["directly", "through a jump host"])
def test_an_ssh_connection_sends_keepalives(
    pyinfra: Pyinfra, machine: SshMachine, tmp_path: Path, jumping: bool
) -> None:
    data = machine.data
    with ssh_machine() as jump:
        if jumping:
            paramiko.ECDSAKey.generate().write_private_key_file(str(tmp_path / "key"))
            (tmp_path / "ssh_config").write_text(
                f"Host 127.0.0.1\n    ProxyJump root@localhost:{jump.port}\n"
                "Host localhost\n    StrictHostKeyChecking no\n    UserKnownHostsFile /dev/null\n"
                f"    IdentityFile {tmp_path}/key\n"
            )
            data = {**data, "ssh_config_file": "ssh_config"}
        code, output = ended(
            pyinfra(("machine", data), before="connections.KEEPALIVE = 1", work=f"{IDLE}{SHOW}")
        )
        assert code == 0, output
        assert "OPTIONS 1 45000" in output
        assert machine.keepalives >= 1
        assert jump.jumps == ([("127.0.0.1", machine.port)] if jumping else [])
        assert (jump.keepalives >= 1) is jumping


def test_a_connection_that_is_lost_during_a_command_is_reported(
    pyinfra: Pyinfra, machine: SshMachine, tmp_path: Path
) -> None:
    work = 'server.shell(name="Work", commands=["touch begun; sleep 3"])'
    process = pyinfra(("machine", machine.data), work=work)
    wait_for(tmp_path / "begun", process)
    machine.cut()
    code, output = ended(process)
    assert code == 1
    assert re.search(f"the connection was lost.*; {UNKNOWN}", output)


WAIT = """
if host.name == "@local":
    server.shell(name="Wait", commands=["touch begun; until [ -e go ]; do sleep 0.1; done"])
"""

GO_ON = """
server.shell(name="Go on", commands=["touch done-{}".format(host.name)])
"""


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="only Linux has it")
def test_a_machine_that_rebooted_is_connected_again_and_has_the_lock(
    pyinfra: Pyinfra, machine: SshMachine, tmp_path: Path
) -> None:
    process = pyinfra(("machine", machine.data), ("@local", {}), before=LOCK, work=f"{WAIT}{GO_ON}{SHOW}")
    wait_for(tmp_path / "begun", process)
    machine.cut()
    (tmp_path / "lock" / "lock").unlink()
    wait_for(tmp_path / "lock" / "lock", process)
    (tmp_path / "go").touch()
    code, output = ended(process)
    assert code == 0, output
    assert (tmp_path / "done-machine").exists()
    assert "OPTIONS 1 45000" in output
    assert list((tmp_path / "lock").iterdir()) == []


NOTICE = """
def notice():
    while connections.is_connected(inventory.get_host("machine")):
        gevent.sleep(0.05)

if host.name == "@local":
    python.call(name="Notice", function=notice)
"""


def test_a_machine_that_cannot_be_reached_is_another_error(
    pyinfra: Pyinfra, machine: SshMachine, tmp_path: Path
) -> None:
    # A command that is sent before the client notices the lost connection fails with another error.
    work = f"{WAIT}{NOTICE}{GO_ON}"
    process = pyinfra(("machine", machine.data), ("@local", {}), before="import gevent", work=work)
    wait_for(tmp_path / "begun", process)
    machine.stop()
    (tmp_path / "go").touch()
    code, output = ended(process)
    assert code == 1
    assert "cannot be reached: " in output and UNKNOWN not in output
    assert (tmp_path / "done-@local").exists()
