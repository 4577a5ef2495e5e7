"""From any pyinfra inventory to the machines that testinfra talks to."""

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
    """Why an inventory cannot be verified, in one sentence for the operator."""


class HostData(dict[str, Any]):
    """pyinfra's data of a host, whose repr has names and no values: pytest prints what a failed test was given."""

    def __repr__(self) -> str:
        return f"<data: {', '.join(self)}>"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One host of the inventory.

    ``name`` is the name in reports, and that of the Node object unless the data name another;
    ``connection`` is a testinfra host spec; ``data`` are pyinfra's, groups and host merged.
    """

    name: str
    connection: str
    groups: tuple[str, ...]
    data: Mapping[str, Any] = field(repr=False)

    @property
    def node_name(self) -> str:
        """The name under which the machine is a node of its cluster."""
        return str(self.data.get("node_name", self.name))

    def listed(self, option: str) -> list[str]:
        """The values of an option that is a list, which may be written as text with commas."""
        value = self.data.get(option) or []
        return [item.strip() for item in value.split(",")] if isinstance(value, str) else list(value)


def read_machines(inventory: str, *, ssh_config: Path) -> tuple[Machine, ...]:
    """Read an inventory through pyinfra, without connecting to its hosts.

    ``ssh_config`` is where ``ssh_settings`` puts the settings of the SSH hosts.

    Raises:
        InventoryProblem: when the inventory cannot be read, has no host, or one that cannot be reached.
    """
    hosts = _read(inventory)
    if not hosts:
        raise InventoryProblem(f"inventory {inventory} has no host; put the machines to verify into it")
    ssh_config.write_text(ssh_settings(hosts, control_folder=ssh_config.parent))
    ssh_config.chmod(0o600)
    return tuple(
        Machine(
            name=bare_name(host["name"]),
            connection=connection(host, ssh_config=ssh_config),
            groups=tuple(host["groups"]),
            data=host["data"],
        )
        for host in hosts
    )


def select(machines: Sequence[Machine], *, limit: Iterable[str]) -> tuple[Machine, ...]:
    """Choose the machines that a list of names, globs or groups leaves; an empty list leaves all.

    Raises:
        InventoryProblem: when one of them matches nothing.
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
    """Leave out what is no node, such as a load balancer; without cluster groups every machine is one."""
    nodes = tuple(machine for machine in machines if {CONTROL_PLANE, WORKERS} & set(machine.groups))
    return nodes or tuple(machines)


def bare_name(name: str) -> str:
    """Drop pyinfra's connector from a host's name: ``@docker/node-1`` is ``node-1``."""
    return name.removeprefix("@").rpartition("/")[2] if name.startswith("@") else name


def connection(host: Mapping[str, Any], *, ssh_config: Path) -> str:
    """Write testinfra's host spec for a host that ``read_inventory`` printed.

    Raises:
        InventoryProblem: for a connector or a way to log in that testinfra does not have.
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
                    f"host {host['name']} logs in with {key}, which the verification never puts on a "
                    "command line; use ssh_key without a passphrase or a key in ssh-agent"
                )
        target = f"ssh://{quote(bare_name(host['name']), safe='')}"
        options = {"ssh_config": str(ssh_config), **options}
    else:
        raise InventoryProblem(
            f"host {host['name']} uses the connector {connector}, which the verification cannot use; "
            "choose ssh, docker, podman or local"
        )
    return f"{target}?{urlencode(options)}" if options else target


def ssh_settings(hosts: Iterable[Mapping[str, Any]], *, control_folder: Path) -> str:
    """Write an ssh_config(5) that reaches the hosts the way pyinfra does.

    ssh takes the first value that it meets, so the user's own configuration, included last, fills in
    what the inventory leaves open. One connection a host is kept open for all its commands.
    """
    hosts = [host for host in hosts if host["connector"] == "ssh"]
    blocks = [_ssh_block(host, socket=control_folder / str(number)) for number, host in enumerate(hosts)]
    return "\n".join([*blocks, *_jump_host_block(hosts)])


def _jump_host_block(hosts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the user's own configuration says of the machines on the way, which are in no host's block."""
    files = {_users_config(host["data"]): None for host in hosts}
    if files:
        others = " ".join(f"!{bare_name(host['name'])}" for host in hosts)
        # A hop is an ssh of its own that is started with this file, and must not ask anything either.
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
        # paramiko's word for a check that is switched off is "off" as well as ssh's "no".
        "StrictHostKeyChecking": "no" if checking in ("off", "no", "False") else checking,
        "BatchMode": "yes",
        # The path of a Unix socket has little room (104 bytes on some systems): a number, not a name.
        "ControlPath": _quoted_path(str(socket)),
    }
    lines = [f"Host {name}", *(f"    {key} {value}" for key, value in settings.items() if value)]
    return "\n".join([*lines, f"    Include {_users_config(data)}", ""])


def _users_config(data: Mapping[str, Any]) -> str:
    # ssh looks for a relative path in ~/.ssh, pyinfra in the working directory.
    return f'"{Path(data.get("ssh_config_file") or "~/.ssh/config").expanduser().absolute()}"'


def _quoted_path(path: str | None) -> str | None:
    return f'"{Path(path).expanduser().absolute()}"' if path else None


def _read(inventory: str) -> list[dict[str, Any]]:
    # A path that does not exist would be taken for the name of a host to reach by SSH.
    if not Path(inventory).exists() and not {"@", ","} & set(inventory):
        raise InventoryProblem(f"inventory {inventory} does not exist; name a pyinfra inventory file")
    script = Path(__file__).with_name("read_inventory.py")
    # -P keeps the script's folder, whose module names are not pyinfra's business, off the import path.
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
        last_words = process.stderr.strip().splitlines()[-1:] or [
            f"it ended with exit code {process.returncode}"
        ]
        answer = {"error": last_words[0]}
    if "error" in answer:
        raise InventoryProblem(f"inventory {inventory} cannot be read: {' '.join(answer['error'].split())}")
    # Such as that the machines are those of an hour ago.
    sys.stderr.write(process.stderr)
    return [{**host, "data": HostData(host["data"])} for host in answer["hosts"]]
