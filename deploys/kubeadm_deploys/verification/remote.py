"""Many questions to one machine in one remote command.

A remote command costs more than what it asks (a tenth of a second through docker, more over SSH), so
every section asks all that it looks at at once, and of all machines in parallel.
"""

import base64
import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import testinfra

from kubeadm_deploys.verification.inventory import Machine

PARALLEL_COMMANDS = 8
"""sshd takes ten sessions on one connection by default (MaxSessions)."""

# Not every login shell has the folders of system programs in its path.
_PROLOGUE = """\
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
errors=$(mktemp) && trap 'rm -f "$errors"' EXIT || exit 1
ask() {
    output=$(sh -c "$1" 2>"$errors" </dev/null)
    printf '%s %s %s\\n' "$?" "$(printf %s "$output" | base64 -w 0)" "$(base64 -w 0 <"$errors")"
}
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How one command ended on one machine."""

    command: str
    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """The output of a command that has to succeed."""
        assert self.status == 0, f"{self.command}: exit code {self.status}: {self.stderr or self.stdout}"
        return self.stdout

    @property
    def lines(self) -> list[str]:
        """The lines of a command that has to succeed, without empty ones."""
        return [line for line in self.text.splitlines() if line.strip()]


Answers = Mapping[str, Answer]


def ask(machine: Machine, commands: Mapping[str, str]) -> Answers:
    """Run shell commands on a machine, one after the other, in one remote command."""
    script = _PROLOGUE + "\n".join(f"ask {shlex.quote(command)}" for command in commands.values())
    result = _run(machine, script)
    lines = result.stdout.splitlines()
    assert result.rc == 0 and len(lines) == len(commands), (
        f"{machine.name} does not answer: {result.stderr.strip() or result.stdout.strip()}"
    )
    return {
        name: _answer(command, line) for (name, command), line in zip(commands.items(), lines, strict=True)
    }


class Survey:
    """Ask machines in parallel, each question once, however many tests look at the answers."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._machines = machines
        self._pool = ThreadPoolExecutor(max_workers=PARALLEL_COMMANDS)
        self._asked: dict[tuple[str, ...], dict[str, Future[Answers]]] = {}

    def __call__(self, machine: Machine, commands: Mapping[str, str]) -> Answers:
        """Give a machine's answers; the first call asks the other machines the same."""
        key = tuple(commands.values())
        if key not in self._asked:
            self._asked[key] = {each.name: self._pool.submit(ask, each, commands) for each in self._machines}
        return self._asked[key][machine.name].result()


def _run(machine: Machine, script: str) -> Any:
    host = testinfra.get_host(machine.connection)
    try:
        return host.run("sh -c %s", script)
    except RuntimeError as error:
        # testinfra's way to say that ssh itself failed (exit code 255).
        raise AssertionError(f"{machine.name} cannot be reached: {error}") from None


def _answer(command: str, line: str) -> Answer:
    status, stdout, stderr = line.split(" ")
    return Answer(
        command=command,
        status=int(status),
        stdout=base64.b64decode(stdout).decode(errors="replace"),
        stderr=base64.b64decode(stderr).decode(errors="replace").strip(),
    )
