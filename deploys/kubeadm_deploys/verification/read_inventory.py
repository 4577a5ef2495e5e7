"""Print a pyinfra inventory as JSON: ``python read_inventory.py INVENTORY``.

This is a separate process, because importing ``pyinfra_cli`` patches the standard library for gevent, which
must not affect the pytest run. It connects to no host. What the inventory itself prints goes to stderr, so
that stdout holds one JSON document: ``{"hosts": [...]}`` or ``{"error": "..."}``.
"""

# pyinfra is typed in parts only.
# mypy: disable-error-code="import-untyped, no-untyped-call"

import contextlib
import json
import os
import sys
from typing import Any

from pyinfra.api.config import Config
from pyinfra.api.connectors import get_execution_connectors
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.host import Host
from pyinfra.api.state import State
from pyinfra.context import ctx_config, ctx_state
from pyinfra_cli.exceptions import UnexpectedExternalError
from pyinfra_cli.inventory import make_inventory
from pyinfra_cli.util import exec_file


def main(inventory: str) -> int:
    """Read the inventory as the pyinfra command line does, from the working directory."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            hosts = _hosts(inventory)
    # Inventories are programs: any exception that one raises is reported as its error.
    except Exception as error:
        print(json.dumps({"error": _sentence(error)}))
        return 1
    # Data may hold any value; the suites do not use those that JSON cannot represent.
    print(json.dumps({"hosts": hosts}, default=str))
    return 0


def _hosts(inventory: str) -> list[dict[str, Any]]:
    folder = os.getcwd()
    # As in pyinfra, installed packages take precedence over files in the working directory.
    sys.path.append(folder)
    state = State()
    state.cwd = folder
    ctx_state.set(state)
    config = Config()
    ctx_config.set(config)
    if os.path.exists("config.py"):
        exec_file("config.py")
    connectors = {connector: name for name, connector in get_execution_connectors().items()}
    return [
        _host(host, connector=connectors[host.connector_cls], config=config)
        for host in make_inventory(inventory, cwd=folder)
    ]


def _host(host: Host, *, connector: str, config: Config) -> dict[str, Any]:
    data = host.data.dict()
    return {
        "name": host.name,
        "connector": connector,
        "groups": list(dict.fromkeys(host.groups)),
        "data": data,
        "sudo": bool(data.get("_sudo", config.SUDO)),
        "sudo_user": data.get("_sudo_user", config.SUDO_USER),
    }


def _sentence(error: Exception) -> str:
    cause = error.exception if isinstance(error, UnexpectedExternalError) else error
    return str(cause) if isinstance(cause, PyinfraError) else f"{type(cause).__name__}: {cause}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
