"""pyinfra's command line, killed at a moment at which no earlier run was killed.

python -m tests.chaos.command_killer RECORD NTH ARGUMENT...     (the arguments are pyinfra's own)

A remote command of an operation that may change something has a moment when it has ended. One that runs in kubeadm's unit,
where it survives its operator, also has a moment one second after it has begun. At the ``NTH`` moment that RECORD
does not have, the process adds it there, as a line of JSON, and kills itself as with ``kill -9``. So each run gets further than
those before it, although it repeats some of their commands, and one that finds nothing new comes to its end.

Commands are told apart as the simulation does; what it does not know has no moment.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

# First, because it patches the standard library for gevent. It has no types.
from pyinfra_cli.main import main as pyinfra  # type: ignore[import-untyped]

# isort: split
import gevent
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host

from kubeadm_deploys.facts.kubeadm_node import KUBEADM_UNIT
from tests.simulation.commands import UnknownCommand, fence_of, sent
from tests.simulation.scripts import CHANGES_NOTHING

_ONLY_READ = {*CHANGES_NOTHING, "get", "wait", "kubeadm config validate"}
_READINGS = ("read-", "await-", "compare-", "find-")
"""How the names of scripts begin that only read."""

_SECONDS = 1
"""How long a command in kubeadm's unit runs before its first moment."""

Moment = dict[str, Any]


class Killer:
    """Counts the moments that a ``record`` does not have, and kills this process at number ``left``."""

    def __init__(self, record: Path, *, left: int) -> None:
        self._record, self._left = record, left
        lines = record.read_text().splitlines() if record.exists() else []
        self._known: list[Moment] = [json.loads(line) for line in lines]

    def watch(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method that runs a command on a host, with its moments."""

        def run_shell_command(
            host: Host, command: str | StringCommand, *arguments: Any, **options: Any
        ) -> Any:
            text = command.get_raw_value() if isinstance(command, StringCommand) else command
            moment = _moment(host, text, stdin=str(options.get("_stdin") or ""))
            if moment is None:
                return run(host, command, *arguments, **options)
            early = None
            if KUBEADM_UNIT in text:
                early = gevent.spawn_later(_SECONDS, self._reached, {**moment, "ended": False})
            try:
                result = run(host, command, *arguments, **options)
            finally:
                if early:
                    early.kill()
            self._reached({**moment, "ended": True})
            return result

        return run_shell_command

    def _reached(self, moment: Moment) -> None:
        if moment in self._known:
            return
        self._known.append(moment)
        self._left -= 1
        if self._left == 0:
            with self._record.open("a") as file:
                file.write(json.dumps(moment) + "\n")
            os.kill(os.getpid(), signal.SIGKILL)


def _moment(host: Host, command: str, *, stdin: str) -> Moment | None:
    """Return what a command is told by, None if it changes nothing or no operation runs."""
    operation = next((each for each in host.state.inventory if each.executing_op_hash), None)
    if operation is None or operation.executing_op_hash is None:
        return None
    try:
        parts = sent(host.name, fence_of(command)[1]).parts
    except UnknownCommand:
        return None
    changes = [
        part
        for part in parts
        if not (part.reading or part.label in _ONLY_READ or part.name.startswith(_READINGS))
    ]
    if not changes:
        return None
    return {
        "operation": ", ".join(sorted(host.state.get_op_meta(operation.executing_op_hash).names)),
        "host": host.name.removeprefix("@docker/"),
        "command": changes[0].label,
        "arguments": [" ".join(part.words) for part in changes],
        "input": sha256(stdin.encode()).hexdigest()[:8],
    }


def main() -> None:
    """Run pyinfra's command line, and kill it."""
    record, nth = Path(sys.argv.pop(1)), int(sys.argv.pop(1))
    # pyinfra has no hook before a command.
    Host.run_shell_command = Killer(record, left=nth).watch(Host.run_shell_command)  # type: ignore[method-assign]
    pyinfra()


if __name__ == "__main__":
    main()
