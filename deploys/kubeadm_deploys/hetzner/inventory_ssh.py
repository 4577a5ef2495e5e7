"""The ssh_config(5) of a cluster, for its users (``ssh -F``) and for pyinfra's way through a jump host."""

import ipaddress
import logging
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyinfra import logger
from pyinfra.api.exceptions import InventoryError
from pyinfra.connectors.sshuserclient import SSHClient

_USERS_KNOWN_HOSTS = Path("~/.ssh/known_hosts")


@dataclass(frozen=True, kw_only=True)
class JumpHost:
    """A machine through which the servers are reached; ``name`` is what ssh calls it."""

    name: str
    user: str
    address: str
    port: int


def parse_jump_host(text: str, *, cluster_name: str, servers: Collection[str]) -> JumpHost:
    """Read ``user@host[:port]``; ``servers`` are the names and addresses that are taken.

    Raises:
        InventoryError: it is not of that form.
    """
    try:
        parts = urlsplit(f"//{text}")
        port = parts.port or 22
    except ValueError:
        raise InventoryError(
            f"hetzner.jump_host: {text!r} is not a jump host; write it like admin@bastion.example.com:22, "
            "an IPv6 address like admin@[2001:db8::1]:22"
        ) from None
    address = text.rpartition("@")[2].removesuffix(f":{parts.port}").strip("[]")
    # Its own name keeps what the user's ssh knows of it. But pyinfra goes round in circles when a server is
    # its own jump host, and an IPv6 address must be in brackets for ssh and must not be for pyinfra.
    name = f"{cluster_name}-jump-host" if _is_ipv6(address) or address in servers else address
    return JumpHost(name=name, user=parts.username or "root", address=address, port=port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def ssh_config(
    hosts: Mapping[str, Mapping[str, Any]],
    *,
    jump_host: JumpHost | None,
    known_hosts: Path,
    users_config: Path,
) -> str:
    """The text of the file, from each server's data by name; ``known_hosts`` is the jump host's file.

    ssh and pyinfra take the first value that they meet, so the user's own file fills in what is left open.
    """
    blocks = [_server_block(name, data, jump_host=jump_host) for name, data in hosts.items()]
    if jump_host:
        keys = {data["ssh_key"]: None for data in hosts.values() if data.get("ssh_key")}
        blocks.append(_jump_block(jump_host, keys=keys, known_hosts=known_hosts))
    blocks.append(f"Host *\n    Include {users_config}\n")
    return "\n".join(blocks)


def quiet_paramiko() -> None:
    """Leave it to pyinfra to tell that a server does not answer yet.

    paramiko logs a traceback at each attempt too, which Python prints when nobody takes the log.
    """
    logging.getLogger("paramiko").addHandler(logging.NullHandler())


def explain_changed_keys(known_hosts: Mapping[str, Sequence[Path]]) -> None:
    """Make pyinfra name the right files when a machine's key has changed, from the files by address.

    It refuses the machine as it should. But the command that it prints is for ~/.ssh/known_hosts.
    """
    if not hasattr(SSHClient, "_ssh_config"):
        # pyinfra 3.10 looks up the port here, which is not there yet when it is the jump host that is refused:
        # a traceback and no message.
        SSHClient._ssh_config = {}

    def correct(record: logging.LogRecord) -> bool:
        command, _, entry = record.getMessage().strip().rpartition(" ")
        # With another port than 22 the entry is [address]:port.
        paths = known_hosts.get(entry.removeprefix("[").partition("]")[0])
        if command == "ssh-keygen -R" and paths:
            record.msg, record.args = f"    rm {shlex.join(map(str, paths))}", ()
        return True

    logger.addFilter(correct)


def _server_block(name: str, data: Mapping[str, Any], *, jump_host: JumpHost | None) -> str:
    settings = {
        "HostName": data["ssh_hostname"],
        "Port": data.get("ssh_port"),
        "User": data["ssh_user"],
        "IdentityFile": _quoted(data.get("ssh_key")),
        "UserKnownHostsFile": _quoted(data["ssh_known_hosts_file"]),
        "StrictHostKeyChecking": data.get("ssh_strict_host_key_checking", "accept-new"),
        "ProxyJump": jump_host.name if jump_host else None,
    }
    # Users name the server; pyinfra looks for the address that it connects to.
    return _block(f"{name} {data['ssh_hostname']}", settings)


def _jump_block(jump_host: JumpHost, *, keys: Iterable[str], known_hosts: Path) -> str:
    # pyinfra cannot read a path with a blank here; then the jump host is only looked for where ssh knows it from.
    own = [] if " " in str(known_hosts) else [str(known_hosts)]
    users = _USERS_KNOWN_HOSTS.expanduser()
    settings = {
        "HostName": jump_host.address if jump_host.name != jump_host.address else None,
        "Port": jump_host.port if jump_host.port != 22 else None,
        "User": jump_host.user,
        "IdentityFile": _quoted(next(iter(keys), None)),
        "UserKnownHostsFile": " ".join([*own, *([str(users)] if users.exists() else [])]),
        # Without a word here pyinfra asks on the terminal, in the middle of a run.
        "StrictHostKeyChecking": "accept-new",
    }
    return _block(jump_host.name, settings)


def _block(patterns: str, settings: Mapping[str, object]) -> str:
    lines = (f"    {key} {value}\n" for key, value in settings.items() if value)
    return f"Host {patterns}\n{''.join(lines)}"


def _quoted(path: str | None) -> str | None:
    return f'"{Path(path).expanduser().absolute()}"' if path else None
