"""The ssh_config(5) of a cluster, for its users (``ssh -F``) and for pyinfra with a jump host."""

import logging
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pyinfra import logger
from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys.model import checks
from kubeadm_deploys.remote.workarounds import let_jump_hosts_be_refused

_USERS_KNOWN_HOSTS = Path("~/.ssh/known_hosts")


@dataclass(frozen=True, kw_only=True)
class JumpHost:
    """A machine through which the servers are reached; ``name`` is its name in the ssh_config."""

    name: str
    user: str
    address: str
    port: int


def parse_jump_host(text: str, *, cluster_name: str, servers: Collection[str]) -> JumpHost:
    """Parse ``user@host[:port]``; ``servers`` are the names and addresses of the cluster's servers.

    Raises:
        InventoryError: the text does not have that form.
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
    # Under its own address the user's ssh settings for it apply. But pyinfra loops when a server is its own
    # jump host, and ssh needs brackets around an IPv6 address, while pyinfra does not accept them.
    name = f"{cluster_name}-jump-host" if checks.is_ipv6(address) or address in servers else address
    return JumpHost(name=name, user=parts.username or "root", address=address, port=port)


def ssh_config(
    hosts: Mapping[str, Mapping[str, Any]],
    *,
    jump_host: JumpHost | None,
    known_hosts: Path,
    users_config: Path,
) -> str:
    """Return the text of the file, from each server's data by name; ``known_hosts`` is the jump host's file.

    ssh and pyinfra use the first value that they find, so the user's own file supplies what is not set here.
    """
    blocks = [_server_block(name, data, jump_host=jump_host) for name, data in hosts.items()]
    if jump_host:
        keys = {data["ssh_key"]: None for data in hosts.values() if data.get("ssh_key")}
        blocks.append(_jump_block(jump_host, keys=keys, known_hosts=known_hosts))
    blocks.append(f"Host *\n    Include {users_config}\n")
    return "\n".join(blocks)


def explain_changed_keys(known_hosts: Mapping[str, Sequence[Path]]) -> None:
    """Make pyinfra name the right files when a host key has changed; ``known_hosts`` has them by address.

    pyinfra rightly refuses such a machine, but the command that it prints is for ~/.ssh/known_hosts.
    """
    let_jump_hosts_be_refused()

    def correct(record: logging.LogRecord) -> bool:
        command, _, entry = record.getMessage().strip().rpartition(" ")
        # With a port other than 22 the entry is [address]:port.
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
    # Users connect by name; pyinfra looks up the address that it connects to.
    return _block(f"{name} {data['ssh_hostname']}", settings)


def _jump_block(jump_host: JumpHost, *, keys: Iterable[str], known_hosts: Path) -> str:
    # pyinfra cannot parse a path with a space here; then only the user's own known_hosts is used.
    cluster_files = [] if " " in str(known_hosts) else [str(known_hosts)]
    users_file = _USERS_KNOWN_HOSTS.expanduser()
    settings = {
        "HostName": jump_host.address if jump_host.name != jump_host.address else None,
        "Port": jump_host.port if jump_host.port != 22 else None,
        "User": jump_host.user,
        "IdentityFile": _quoted(next(iter(keys), None)),
        "UserKnownHostsFile": " ".join([*cluster_files, *([str(users_file)] if users_file.exists() else [])]),
        # Without this pyinfra prompts on the terminal in the middle of a run.
        "StrictHostKeyChecking": "accept-new",
    }
    return _block(jump_host.name, settings)


def _block(patterns: str, settings: Mapping[str, object]) -> str:
    lines = (f"    {key} {value}\n" for key, value in settings.items() if value)
    return f"Host {patterns}\n{''.join(lines)}"


def _quoted(path: str | None) -> str | None:
    return f'"{Path(path).expanduser().absolute()}"' if path else None
