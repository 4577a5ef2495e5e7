"""Run many commands on one machine in one remote call.

A remote call takes longer than the commands in it (a tenth of a second through docker, more over SSH), so
every section runs all its commands in one call, and on all machines in parallel.
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
"""sshd accepts ten sessions per connection by default (MaxSessions)."""

# Some login shells lack the sbin folders in PATH. The cluster is not asked through a proxy of /etc/environment.
_PROLOGUE = """\
unset http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
errors=$(mktemp) && trap 'rm -f "$errors"' EXIT || exit 1
ask() {
    output=$(sh -c "$1" 2>"$errors" </dev/null)
    printf '%s %s %s\\n' "$?" "$(printf %s "$output" | base64 -w 0)" "$(base64 -w 0 <"$errors")"
}
"""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result of one command on one machine."""

    command: str
    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """The output; fails the test unless the command succeeded."""
        assert self.status == 0, f"{self.command}: exit code {self.status}: {self.stderr or self.stdout}"
        return self.stdout

    @property
    def lines(self) -> list[str]:
        """The non-empty lines of the output; fails the test unless the command succeeded."""
        return [line for line in self.text.splitlines() if line.strip()]


Answers = Mapping[str, Answer]


def ask(machine: Machine, commands: Mapping[str, str]) -> Answers:
    """Run shell commands on a machine, one after the other, in one remote call."""
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
    """Run commands on all machines in parallel, and cache the results for all tests."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._machines = machines
        self._pool = ThreadPoolExecutor(max_workers=PARALLEL_COMMANDS)
        self._asked: dict[tuple[str, ...], dict[str, Future[Answers]]] = {}

    def __call__(self, machine: Machine, commands: Mapping[str, str]) -> Answers:
        """Return a machine's results; the first call runs the commands on all machines."""
        key = tuple(commands.values())
        if key not in self._asked:
            self._asked[key] = {
                other.name: self._pool.submit(ask, other, commands) for other in self._machines
            }
        return self._asked[key][machine.name].result()


def _run(machine: Machine, script: str) -> Any:
    host = testinfra.get_host(machine.connection)
    try:
        return host.run("sh -c %s", script)
    except RuntimeError as error:
        # testinfra raises this when ssh itself failed (exit code 255).
        raise AssertionError(f"{machine.name} cannot be reached: {error}") from None


def _answer(command: str, line: str) -> Answer:
    status, stdout, stderr = line.split(" ")
    return Answer(
        command=command,
        status=int(status),
        stdout=base64.b64decode(stdout).decode(errors="replace"),
        stderr=base64.b64decode(stderr).decode(errors="replace").strip(),
    )
