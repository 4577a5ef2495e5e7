"""pyinfra's command line, with a record of what it asks of the hosts.

python -m tests.bench.recorder RECORD ARGUMENT...     (the arguments are pyinfra's own)

RECORD gets one JSON object a line: operation (empty while the deploy is read, and for the run's lock, which is renewed
beside the operations), host, the host whose part of the operation asked for it (a join asks the leader, too), the
command as pyinfra would print it, when it started, seconds, and the bytes sent and received. They are counted where
pyinfra hands a command to its connector, the same for docker and SSH, in its own process: a program in front of docker
would cost several processes a command and change what is measured.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import IO, Any

# First, because it makes the standard library cooperative (gevent) before anybody uses it. It has no types.
from pyinfra_cli.main import main as pyinfra  # type: ignore[import-untyped]

# isort: split
from pyinfra.api.command import StringCommand
from pyinfra.api.host import Host
from pyinfra.api.util import get_file_io
from pyinfra.context import ctx_host

Method = Callable[..., Any]


def record_commands(record: IO[str]) -> None:
    """Have every remote command of this process written down when it ends."""
    beginning = time.monotonic()

    def write(host: Host, *, command: str, started: float, sent: int, received: int) -> None:
        asker = ctx_host.get()
        entry = {
            "operation": _operation(asker) if asker else "",
            "host": host.name,
            "asker": (asker or host).name,
            "command": command,
            "started": round(started - beginning, 3),
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
    """Run pyinfra's command line with the record open."""
    with open(sys.argv.pop(1), "w") as record:
        record_commands(record)
        pyinfra()


if __name__ == "__main__":
    main()
