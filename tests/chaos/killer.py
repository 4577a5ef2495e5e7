"""pyinfra's command line, killed after a number of changes.

python -m tests.chaos.killer RECORD CHANGES ARGUMENT...     (the arguments are pyinfra's own)

For each operation that changed a host, a JSON object with operation and host is appended to RECORD as one
line. After change number CHANGES the process kills itself as with ``kill -9``; with 0 never. Commands that
run on other hosts at that moment continue, as when an operator's machine crashes.
"""

import json
import os
import signal
import sys
from typing import IO

# First, because it patches the standard library for gevent. It has no types.
from pyinfra_cli.main import main as pyinfra  # type: ignore[import-untyped]

# isort: split
from pyinfra.api import operations
from pyinfra.api.host import Host
from pyinfra.api.state import State


def kill_after(record: IO[str], *, changes: int) -> None:
    """Make this process die after ``changes`` changes of hosts."""
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
    """Run pyinfra's command line and record its changes."""
    record, changes = sys.argv.pop(1), int(sys.argv.pop(1))
    with open(record, "a") as file:
        kill_after(file, changes=changes)
        pyinfra()


if __name__ == "__main__":
    main()
