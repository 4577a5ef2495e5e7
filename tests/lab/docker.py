"""The docker command line, and the one network that all containers of the lab share."""

import ipaddress
import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.lab.layout import GATEWAY, LABEL, NETWORK, SUBNET


class LabError(Exception):
    """An error that the user can fix; the message is one sentence that says what, where and how."""


LONGEST = 900
"""Seconds for any docker command, so that one that hangs fails with an error."""


def docker(*args: str, input: str | bytes | None = None, timeout: float = LONGEST) -> str:
    """Run one docker command and return what it printed.

    It uses docker's client, not its API, because the client supports DOCKER_HOST, contexts and Docker
    Desktop.
    """
    shown = " ".join(("docker", *args[:2]))
    data = input.encode() if isinstance(input, str) else input
    try:
        done = subprocess.run(
            ("docker", *args), input=data, timeout=timeout, capture_output=True, check=False
        )
    except FileNotFoundError:
        raise LabError(
            "docker is not installed: run `make cluster` as root, or install Debian's package docker.io"
        ) from None
    except subprocess.TimeoutExpired:
        raise LabError(f"`{shown}` did not end within {timeout:.0f} s") from None
    if done.returncode != 0:
        reason = done.stderr.decode().strip() or f"exit code {done.returncode}"
        raise LabError(f"`{shown}` failed: {reason}")
    return done.stdout.decode()


def labelled(*command: str, labels: Mapping[str, str]) -> list[str]:
    """Return the names or IDs that a listing (`ps -aq`, `volume ls -q` ...) prints for these labels."""
    filters = [f"--filter=label={key}={value}" for key, value in labels.items()]
    return docker(*command, *filters).split()


def image_exists(*, tag: str) -> bool:
    """Return whether the daemon has this image (by list: inspect fails alike on absence and errors)."""
    return bool(docker("image", "ls", "-q", tag).strip())


def ensure_network() -> None:
    """Create the lab's network if it is missing; refuse one of the same name that the lab did not create."""
    if not _network_names():
        try:
            docker(
                *("network", "create", f"--subnet={SUBNET}", f"--gateway={GATEWAY}"),
                *(f"--label={LABEL}=network", NETWORK),
            )
        except LabError:
            # Another process of the lab may have created it meanwhile; any other error is for the user.
            if not _network_names():
                raise
    _check_network()


def _network_names() -> list[str]:
    return docker("network", "ls", "-q", f"--filter=name=^{NETWORK}$").split()


def _check_network() -> None:
    (network,) = json.loads(docker("network", "inspect", NETWORK))
    subnets = [config.get("Subnet") for config in network["IPAM"]["Config"] or []]
    if LABEL not in (network["Labels"] or {}) or subnets != [SUBNET]:
        raise LabError(
            f"docker network {NETWORK!r} with subnet {subnets} is not the lab's: "
            f"remove it with `docker network rm {NETWORK}`"
        )
    others = sorted(interfaces_to(SUBNET, routes=_routes()) - {f"br-{network['Id'][:12]}"})
    if others:
        raise LabError(
            f"the lab's subnet {SUBNET} is also that of the interface {others[0]}: if an earlier docker daemon has left "
            "it, iptables rules are left too, and the simplest way to remove both is to restart this machine"
        )


def interfaces_to(subnet: str, *, routes: str) -> set[str]:
    """Return the interfaces that ``routes``, the text of /proc/net/route, has for exactly this subnet."""
    wanted = ipaddress.IPv4Network(subnet)
    found = set()
    for line in routes.splitlines()[1:]:
        interface, destination, _, _, _, _, _, mask, *_ = line.split()
        # The kernel prints addresses as numbers in the machine's byte order, which is little-endian here.
        address = ipaddress.IPv4Address(bytes.fromhex(destination)[::-1])
        if (address, ipaddress.IPv4Address(bytes.fromhex(mask)[::-1])) == (
            wanted.network_address,
            wanted.netmask,
        ):
            found.add(interface)
    return found


def _routes() -> str:
    """Return this machine's routes; empty where docker is not beside us (a Mac, whose docker has its own machine)."""
    path = Path("/proc/net/route")
    return path.read_text() if path.exists() else ""
