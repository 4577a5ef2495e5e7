"""Turn any pyinfra inventory into machines that testinfra can reach."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

CONTROL_PLANE = "control_plane"
WORKERS = "workers"

_CONTAINER_CONNECTORS = ("docker", "podman")


class InventoryProblem(Exception):
    """An inventory that cannot be verified; the message is one sentence for the operator."""


_NEW_NAMES = {
    "load_balancer_address": "api_load_balancer_address",
    "load_balancer_range": "service_load_balancer_cidr",
}
"""Option names of releases before 0.2, with the names that the suites read."""


class HostData(dict[str, Any]):
    """pyinfra's host data; its repr hides values, because pytest prints the arguments of a failed test."""

    def __repr__(self) -> str:
        return f"<data: {', '.join(self)}>"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One host of the inventory.

    ``name`` is used in reports, and is the Node object's name unless the data sets ``node_name``;
    ``connection`` is a testinfra host spec; ``data`` is pyinfra's data, groups and host merged.
    """

    name: str
    connection: str
    groups: tuple[str, ...]
    data: Mapping[str, Any] = field(repr=False)

    @property
    def node_name(self) -> str:
        """The name of the machine's Node object."""
        return str(self.data.get("node_name", self.name))

    def listed(self, option: str) -> list[str]:
        """Return the values of a list option, which may be comma-separated text."""
        value = self.data.get(option) or []
        return [item.strip() for item in value.split(",")] if isinstance(value, str) else list(value)


def read_machines(inventory: str, *, ssh_config: Path) -> tuple[Machine, ...]:
    """Read an inventory through pyinfra, without connecting to its hosts.

    ``ssh_config`` is the file to which the settings of the SSH hosts are written.

    Raises:
        InventoryProblem: the inventory cannot be read, has no host, or has one that testinfra cannot reach.
    """
    hosts = _read(inventory)
    if not hosts:
        raise InventoryProblem(f"inventory {inventory} has no host; add the machines to verify")
    ssh_config.write_text(ssh_settings(hosts, control_folder=ssh_config.parent))
    ssh_config.chmod(0o600)
    return tuple(
        Machine(
            name=bare_name(host["name"]),
            connection=connection(host, ssh_config=ssh_config),
            groups=tuple(host["groups"]),
            data=HostData({_NEW_NAMES.get(key, key): value for key, value in host["data"].items()}),
        )
        for host in hosts
    )


def select(machines: Sequence[Machine], *, limit: Iterable[str]) -> tuple[Machine, ...]:
    """Return the machines that match a list of names, globs or groups; an empty list selects all.

    Raises:
        InventoryProblem: a pattern matches nothing.
    """
    chosen: set[str] = set()
    for pattern in limit:
        matches = {
            machine.name
            for machine in machines
            if pattern in machine.groups or fnmatch(machine.name, bare_name(pattern))
        }
        if not matches:
            names = ", ".join(machine.name for machine in machines)
            raise InventoryProblem(f"--limit {pattern} matches no host or group; the hosts are {names}")
        chosen |= matches
    return tuple(machine for machine in machines if not chosen or machine.name in chosen)


def cluster_machines(machines: Sequence[Machine]) -> tuple[Machine, ...]:
    """Return the machines in the cluster's groups; if there are no such groups, all machines."""
    nodes = tuple(machine for machine in machines if {CONTROL_PLANE, WORKERS} & set(machine.groups))
    return nodes or tuple(machines)


def bare_name(name: str) -> str:
    """Remove pyinfra's connector from a host name: ``@docker/node-1`` becomes ``node-1``."""
    return name.removeprefix("@").rpartition("/")[2] if name.startswith("@") else name


def connection(host: Mapping[str, Any], *, ssh_config: Path) -> str:
    """Return testinfra's host spec for a host that ``read_inventory`` printed.

    Raises:
        InventoryProblem: testinfra does not support the connector or the login method.
    """
    sudo = {"sudo": "true", "sudo_user": host.get("sudo_user")} if host.get("sudo") else {}
    options = {key: value for key, value in sudo.items() if value}
    connector, data = host["connector"], host["data"]
    if connector == "local":
        target = "local://"
    elif connector in _CONTAINER_CONNECTORS:
        target = f"{connector}://{data['docker_identifier']}"
    elif connector == "ssh":
        for key in ("ssh_password", "ssh_key_password"):
            if data.get(key):
                raise InventoryProblem(
                    f"host {host['name']} uses {key}, which the verification does not support; "
                    "use an ssh_key without a passphrase or a key in ssh-agent"
                )
        target = f"ssh://{quote(bare_name(host['name']), safe='')}"
        options = {"ssh_config": str(ssh_config), **options}
    else:
        raise InventoryProblem(
            f"host {host['name']} uses the connector {connector}, which the verification does not support; "
            "use ssh, docker, podman or local"
        )
    return f"{target}?{urlencode(options)}" if options else target


def ssh_settings(hosts: Iterable[Mapping[str, Any]], *, control_folder: Path) -> str:
    """Return an ssh_config(5) that connects to the hosts as pyinfra does.

    ssh uses the first value that it finds, so the user's own configuration, included last, supplies what the
    inventory does not set. One connection per host is kept open for all its commands.
    """
    hosts = [host for host in hosts if host["connector"] == "ssh"]
    blocks = [_ssh_block(host, socket=control_folder / str(number)) for number, host in enumerate(hosts)]
    return "\n".join([*blocks, *_jump_host_block(hosts)])


def _jump_host_block(hosts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a block with the user's own configuration for jump hosts, which have no block."""
    files = {_users_config(host["data"]): None for host in hosts}
    if files:
        others = " ".join(f"!{bare_name(host['name'])}" for host in hosts)
        # ssh starts a second ssh with this file for each hop; it must not prompt either.
        lines = [f"Host * {others}", "    BatchMode yes", *(f"    Include {file}" for file in files)]
        yield "\n".join([*lines, ""])


def _ssh_block(host: Mapping[str, Any], *, socket: Path) -> str:
    data = host["data"]
    name = bare_name(host["name"])
    checking = str(data.get("ssh_strict_host_key_checking", "accept-new"))
    settings = {
        "HostName": data.get("ssh_hostname") or name,
        "Port": data.get("ssh_port"),
        "User": data.get("ssh_user"),
        "IdentityFile": _quoted_path(data.get("ssh_key")),
        "IdentitiesOnly": "yes" if data.get("ssh_key") else None,
        "UserKnownHostsFile": _quoted_path(data.get("ssh_known_hosts_file")),
        # paramiko accepts "off" as well as ssh's "no" to disable the check.
        "StrictHostKeyChecking": "no" if checking in ("off", "no", "False") else checking,
        "BatchMode": "yes",
        # A Unix socket path is limited to 104 bytes on some systems, so use a number, not a name.
        "ControlPath": _quoted_path(str(socket)),
    }
    lines = [f"Host {name}", *(f"    {key} {value}" for key, value in settings.items() if value)]
    return "\n".join([*lines, f"    Include {_users_config(data)}", ""])


def _users_config(data: Mapping[str, Any]) -> str:
    # ssh resolves a relative path in ~/.ssh, pyinfra in the working directory.
    return f'"{Path(data.get("ssh_config_file") or "~/.ssh/config").expanduser().absolute()}"'


def _quoted_path(path: str | None) -> str | None:
    return f'"{Path(path).expanduser().absolute()}"' if path else None


def _read(inventory: str) -> list[dict[str, Any]]:
    # pyinfra would take a path that does not exist for an SSH host name.
    if not Path(inventory).exists() and not {"@", ","} & set(inventory):
        raise InventoryProblem(f"inventory {inventory} does not exist; specify a pyinfra inventory file")
    script = Path(__file__).with_name("read_inventory.py")
    # -P keeps the script's folder off the import path, so that its modules do not shadow others.
    process = subprocess.run(
        [sys.executable, "-P", str(script), inventory],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(process.stdout)
    except ValueError:
        last_line = process.stderr.strip().splitlines()[-1:] or [f"exit code {process.returncode}"]
        answer = {"error": last_line[0]}
    if "error" in answer:
        raise InventoryProblem(f"inventory {inventory} cannot be read: {' '.join(answer['error'].split())}")
    # Warnings, such as that the API is down and cached servers are used.
    sys.stderr.write(process.stderr)
    return [{**host, "data": HostData(host["data"])} for host in answer["hosts"]]
