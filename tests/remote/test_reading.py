"""Readings of machines: a complete answer or an error, with a real shell and failing connectors."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paramiko import SSHException
from pyinfra.api import FactBase, StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.connectors.fake import FakeConnector
from pyinfra.connectors.util import CommandOutput, OutputLine
from typing_extensions import override

from kubeadm_deploys.facts.etcd import EtcdMembers
from kubeadm_deploys.remote.framing import framed_command, framed_lines
from kubeadm_deploys.remote.reading import NotRead, read
from tests.support.fake_answers import ENVIRONMENT, framed
from tests.support.pyinfra_hosts import fake_hosts

SHELLS = [["sh", "-c"], ["bash", "-c"]]


def ask(script: str, *, shell: list[str], **environment: str) -> tuple[int, list[str]]:
    """Run a script like a fact's command; return its exit status and stdout."""
    done = subprocess.run(
        [*shell, framed_command("Probe", script).get_raw_value()],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout.split("\n")[:-1]


def test_a_command_in_its_marks_keeps_its_stdin() -> None:
    framed = framed_command("Probe", StringCommand("cat", _stdin="a secret"))
    assert framed.connector_arguments == {"_stdin": "a secret"}
    assert "a secret" not in framed.get_raw_value()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("script", "status", "lines"),
    [
        ("echo one; echo two", 0, ["one", "two"]),
        ("printf 'no newline'", 0, ["no newline"]),
        ("printf 'one\\n\\n\\ntwo\\n'", 0, ["one", "", "", "two"]),
        ("printf 'one\\r\\ntwo\\r\\n'", 0, ["one", "two"]),
        ("true", 0, []),
        ("", 0, []),
        ("echo before; exit 0; echo after", 0, ["before"]),
        ("echo before; false", 1, ["before"]),
        ("echo before; exit 7", 7, ["before"]),
        ("set -eu\necho before\nfalse\necho after", 1, ["before"]),
        ("echo words >&2; echo one", 0, ["one"]),
        ("echo one # a comment", 0, ["one"]),
        ("cd /nonexistent 2> /dev/null || exit 0; echo after", 0, []),
        # Inside an answer, lines that look like marks are output.
        ("echo '<<< Probe'; echo '>>> Other'; echo one", 0, ["<<< Probe", ">>> Other", "one"]),
        ("echo '>>> Probe'; echo one", 0, [">>> Probe", "one"]),
    ],
)
def test_a_complete_answer_is_the_output_of_the_script(
    shell: list[str], script: str, status: int, lines: list[str]
) -> None:
    # Empty parentheses are a syntax error in a shell.
    found, output = ask(script or ":", shell=shell)
    assert found == status
    assert framed_lines("Probe", output) == lines


@pytest.mark.parametrize("welcome", ["Welcome to this machine", "\\nhave:kubelet.conf\\n", "no newline"])
def test_output_of_a_login_shell_is_not_part_of_the_answer(tmp_path: Path, welcome: str) -> None:
    """Over SSH, Debian's bash reads .bashrc for every command; with BASH_ENV it reads a file here too."""
    greeting = tmp_path / "bashrc"
    greeting.write_text(f"printf '{welcome}\\n'\n" if welcome != "no newline" else f"printf '{welcome}'\n")
    goodbye = f"trap 'cat {greeting}' EXIT;"
    status, output = ask("echo one", shell=["bash", "-c"], BASH_ENV=str(greeting))
    assert (status, framed_lines("Probe", output)) == (0, ["one"])
    assert "".join(output).startswith(welcome.replace("\\n", ""))
    after = subprocess.run(
        ["bash", "-c", f"{goodbye} {framed_command('Probe', 'echo one').get_raw_value()}"],
        capture_output=True,
        text=True,
    )
    assert framed_lines("Probe", after.stdout.split("\n")) == ["one"]
    assert after.stdout.count(welcome.replace("\\n", "")) == 1


def test_an_answer_that_was_cut_off_is_refused() -> None:
    _, whole = ask("echo one; echo two", shell=["sh", "-c"])
    assert framed_lines("Probe", whole) == ["one", "two"]
    end = whole.index(">>> Probe")
    for length in range(end + 1):
        assert framed_lines("Probe", whole[:length]) is None
    assert framed_lines("Probe", whole[whole.index("<<< Probe") + 1 :]) is None
    assert framed_lines("Probe", whole[::-1]) is None
    assert framed_lines("Other", whole) is None
    assert framed_lines("Probe", []) is None


def test_a_script_whose_shell_is_killed_gives_no_answer() -> None:
    _, output = ask("echo one; kill -9 $$", shell=["sh", "-c"])
    assert framed_lines("Probe", output) is None


class ProbeAnswer(FactBase[int]):
    """A number."""

    @override
    def command(self, what: str = "number") -> StringCommand:
        return StringCommand(f"cat {what}")

    @override
    def process(self, output: list[str]) -> int:
        return int(output[0])


@pytest.fixture
def host() -> Iterator[Host]:
    with fake_hosts({"cp-1": {}}) as state:
        yield state.inventory.get_host("@fake/cp-1")


Answer = tuple[bool, list[str], list[str]]


def answers(monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Answer]) -> list[dict[str, Any]]:
    """Make fake hosts give this answer; return the list of commands that they receive."""
    asked: list[dict[str, Any]] = []

    def run(self: FakeConnector, command: StringCommand, **arguments: Any) -> tuple[bool, CommandOutput]:
        asked.append({"command": command.get_raw_value(), **arguments})
        succeeded, stdout, stderr = answer()
        lines = [OutputLine("stdout", line) for line in stdout] + [
            OutputLine("stderr", line) for line in stderr
        ]
        return succeeded, CommandOutput(lines)

    monkeypatch.setattr(FakeConnector, "run_shell_command", run)
    return asked


def failing(error: Exception) -> Callable[[], Answer]:
    def fail() -> Answer:
        raise error

    return fail


def test_an_answer_is_read(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    asked = answers(
        monkeypatch, lambda: (True, ["Welcome", *framed("ProbeAnswer", ["42"]), "bye"], ["warned"])
    )
    assert read(host, ProbeAnswer, what="that") == 42
    assert "cat that" in asked[0]["command"]
    assert asked[0]["_timeout"] == 120
    assert read(host, ProbeAnswer, seconds=7) == 42
    assert asked[1]["_timeout"] == 7


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TimeoutError(), "no answer in 7 s"),
        (TimeoutError("timed out"), "no answer in 7 s"),
        (OSError("Socket is closed"), "Socket is closed"),
        (ConnectionResetError(104, "Connection reset by peer"), "[Errno 104] Connection reset by peer"),
        (SSHException("SSH session not active"), "the connection was lost (SSH session not active)"),
        (EOFError(), "the connection was lost (EOFError)"),
    ],
)
def test_a_lost_connection_is_not_an_answer(
    monkeypatch: pytest.MonkeyPatch, host: Host, error: Exception, reason: str
) -> None:
    answers(monkeypatch, failing(error))
    with pytest.raises(NotRead) as raised:
        read(host, ProbeAnswer, seconds=7)
    assert (raised.value.host, raised.value.what) == ("@fake/cp-1", "probe answer")
    assert (raised.value.reason, raised.value.reached) == (reason, False)
    assert str(raised.value) == f"@fake/cp-1: could not read probe answer: {reason}"


def test_a_refused_connection_is_not_an_answer(monkeypatch: pytest.MonkeyPatch, host: Host) -> None:
    host.connected = False
    monkeypatch.setattr(
        FakeConnector, "connect", lambda _: failing(ConnectError("Could not connect (timed out)"))()
    )
    with pytest.raises(
        NotRead, match=r"could not read probe answer: cannot be reached: Could not connect \(timed out\)"
    ) as raised:
        read(host, ProbeAnswer)
    assert not raised.value.reached


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        # The exit status is not 0, whatever the answer contains.
        (
            (False, framed("ProbeAnswer", ["42"]), ["kubectl: connection refused"]),
            "kubectl: connection refused",
        ),
        ((False, framed("ProbeAnswer", []), []), "<<< ProbeAnswer >>> ProbeAnswer"),
        ((False, [], ["sh: 1: Cannot fork"]), "sh: 1: Cannot fork"),
        ((False, [], []), "the command failed and printed nothing"),
        # sudo refuses on stdout, or a shell does not run the command.
        ((True, ["This account is currently not available."], []), "the answer is incomplete"),
        ((True, [], []), "the answer is incomplete"),
        ((True, framed("ProbeAnswer", ["42"])[:-1], ["Killed"]), "the answer is incomplete (Killed)"),
        ((True, framed("Other", ["42"]), []), "the answer is incomplete"),
        # Complete answers that cannot be parsed.
        ((True, framed("ProbeAnswer", ["forty-two"]), []), "the answer cannot be parsed (ValueError"),
        ((True, framed("ProbeAnswer", []), []), "the answer cannot be parsed (IndexError"),
    ],
)
def test_an_incomplete_answer_is_refused(
    monkeypatch: pytest.MonkeyPatch, host: Host, answer: Answer, reason: str
) -> None:
    answers(monkeypatch, lambda: answer)
    with pytest.raises(NotRead) as raised:
        read(host, ProbeAnswer)
    assert raised.value.reason.startswith(reason)
    assert raised.value.reached


@pytest.mark.parametrize(
    "answer",
    [
        "null",
        "[]",
        "{}",
        '{"members": null}',
        '{"members": [{}]}',
        '{"members": [{"ID": 1, "peerURLs": null}]}',
    ],
)
def test_json_of_another_form_is_not_an_answer(
    monkeypatch: pytest.MonkeyPatch, host: Host, answer: str
) -> None:
    answers(monkeypatch, lambda: (True, framed("EtcdMembers", [answer]), []))
    with pytest.raises(NotRead, match="the answer cannot be parsed"):
        read(host, EtcdMembers)


def test_an_error_repeats_only_the_end_of_a_machines_output(
    monkeypatch: pytest.MonkeyPatch, host: Host
) -> None:
    answers(monkeypatch, lambda: (False, [], ["x" * 10_000, "the reason"]))
    with pytest.raises(NotRead, match=r"x the reason$") as raised:
        read(host, ProbeAnswer)
    assert len(raised.value.reason) <= 400


def test_a_machine_is_read_again_after_it_was_unreachable() -> None:
    """Use pyinfra's own SSH connection to a server that reboots; see ``ssh_that_goes_away``."""
    done = subprocess.run(
        [sys.executable, Path(__file__).parents[1] / "support/ssh_that_goes_away.py"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen = {result.pop("when"): result for result in map(json.loads, done.stdout.splitlines())}
    assert {when: result["read"] for when, result in seen.items()} == {
        "up": True,
        "hangs": False,
        "up after it hung": True,
        "breaks off": False,
        "up after it broke off": True,
        "down": False,
        "still down": False,
        "up again": True,
    }
    assert {when for when, result in seen.items() if result["reached"]} == set()
    assert seen["hangs"]["reason"] == "no answer in 1 s"
    # A pyinfra operation gets an error that pyinfra handles, without a traceback.
    assert {result["command"] for result in seen.values() if not result["read"]} == {"NoAnswer"}
