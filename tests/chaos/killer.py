"""pyinfra's command line, which kills itself when it has changed something.

python -m tests.chaos.killer RECORD CHANGES ARGUMENT...     (the arguments are pyinfra's own)

RECORD gets one JSON object a line for each operation that changed a host: operation and host. With the CHANGES-th of
them the process is killed as by ``kill -9``; with 0 never. Commands that run on other hosts at that moment run on, as
they do when an operator's machine dies.
"""

import json
import os
import signal
import sys
from typing import IO

# First, because it makes the standard library cooperative (gevent) before anybody uses it. It has no types.
from pyinfra_cli.main import main as pyinfra  # type: ignore[import-untyped]

# isort: split
from pyinfra.api import operations
from pyinfra.api.host import Host
from pyinfra.api.state import State


def kill_after(record: IO[str], *, changes: int) -> None:
    """Have this process die with its ``changes``-th change of a host."""
    run_host_op = operations.run_host_op
    seen = 0

    def run_and_die(state: State, host: Host, op_hash: str) -> bool:
        nonlocal seen
        succeeded: bool = run_host_op(state, host, op_hash)
        if op_hash in state.ops[host] and state.ops[host][op_hash].operation_meta.did_change():
            name = ", ".join(sorted(state.get_op_meta(op_hash).names))
            record.write(json.dumps({"operation": name, "host": host.name}) + "\n")
            record.flush()
            seen += 1
            if seen == changes:
                os.kill(os.getpid(), signal.SIGKILL)
        return succeeded

    operations.run_host_op = run_and_die


def main() -> None:
    """Run pyinfra's command line with the record open."""
    record, changes = sys.argv.pop(1), int(sys.argv.pop(1))
    with open(record, "a") as file:
        kill_after(file, changes=changes)
        pyinfra()


if __name__ == "__main__":
    main()
