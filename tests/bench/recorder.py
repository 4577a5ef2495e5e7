"""pyinfra's command line, with a record of its remote commands.

python -m tests.bench.recorder RECORD ARGUMENT...     (the arguments are pyinfra's own)

RECORD gets one JSON object per line: operation (empty while the deploy is read, and for the run lock, which
is renewed in parallel to the operations), host, the host for whose part of the operation the command runs (a
join also runs commands on the leader), the command as pyinfra would print it, its start, seconds, and the
bytes sent and received. They are recorded where pyinfra passes a command to its connector, for docker and SSH
alike, inside pyinfra's process: a wrapper around docker would add several processes per command and distort
the results.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import IO, Any

# First, because it patches the standard library for gevent. It has no types.
from pyinfra_cli.main import main as pyinfra  # type: ignore[import-untyped]

# isort: split
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.util import get_file_io
from pyinfra.context import ctx_host

Method = Callable[..., Any]


def record_commands(record: IO[str]) -> None:
    """Record every remote command of this process when it ends."""
    loaded = time.monotonic()

    def write(host: Host, *, command: str, started: float, sent: int, received: int) -> None:
        asker = ctx_host.get()
        entry = {
            "operation": _operation(asker) if asker else "",
            "host": host.name,
            "asker": (asker or host).name,
            "command": command,
            "started": round(started - loaded, 3),
            "seconds": round(time.monotonic() - started, 3),
            "sent": sent,
            "received": received,
        }
        record.write(json.dumps(entry) + "\n")

    def recorded_shell(run: Method) -> Method:
        def run_shell_command(host: Host, command: str | StringCommand, *args: Any, **options: Any) -> Any:
            started = time.monotonic()
            succeeded, output = run(host, command, *args, **options)
            text = command.get_raw_value() if isinstance(command, StringCommand) else command
            sent = len(text.encode()) + len(str(options.get("_stdin") or "").encode())
            received = sum(len(line.encode()) + 1 for line in output.output_lines)
            write(host, command=str(command), started=started, sent=sent, received=received)
            return succeeded, output

        return run_shell_command

    def recorded_copy(copy: Method, *, upload: bool) -> Method:
        def copy_file(host: Host, first: Any, second: Any, *args: Any, **options: Any) -> Any:
            started = time.monotonic()
            result = copy(host, first, second, *args, **options)
            with get_file_io(first if upload else second) as file:
                size = len(file.read())
            sent, received = (size, 0) if upload else (0, size)
            write(host, command=copy.__name__, started=started, sent=sent, received=received)
            return result

        return copy_file

    for name, method in {
        "run_shell_command": recorded_shell(Host.run_shell_command),
        "put_file": recorded_copy(Host.put_file, upload=True),
        "get_file": recorded_copy(Host.get_file, upload=False),
    }.items():
        setattr(Host, name, method)


def _operation(host: Host) -> str:
    if not host.executing_op_hash:
        return ""
    return ", ".join(sorted(host.state.get_op_meta(host.executing_op_hash).names))


def main() -> None:
    """Run pyinfra's command line and record its remote commands."""
    with open(sys.argv.pop(1), "w") as record:
        record_commands(record)
        pyinfra()


if __name__ == "__main__":
    main()
