"""The docker command line, and the one network that everything in the lab shares."""

import json
import subprocess
from collections.abc import Mapping

from tests.lab.layout import GATEWAY, LABEL, NETWORK, SUBNET


class LabError(Exception):
    """Something the user can cure; the message is one sentence that says what, where and how."""


LONGEST = 900
"""Seconds for any docker command: one that hangs would take all the time that tests have, without a word."""


def docker(*args: str, input: str | bytes | None = None, timeout: float = LONGEST) -> str:
    """Run one docker command and return what it printed.

    docker's own client is used and not its API, because it knows DOCKER_HOST, contexts and Docker Desktop.
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
    """Names or ids that a docker listing (`ps -aq`, `volume ls -q` ...) prints for exactly these labels."""
    filters = [f"--filter=label={key}={value}" for key, value in labels.items()]
    return docker(*command, *filters).split()


def image_exists(*, tag: str) -> bool:
    """Whether the daemon has this image (asked by list, because inspect cannot tell absence from failure)."""
    return bool(docker("image", "ls", "-q", tag).strip())


def ensure_network() -> None:
    """Make the lab's network unless it is there; refuse one of the same name that the lab did not make."""
    if not _network_names():
        try:
            docker(
                *("network", "create", f"--subnet={SUBNET}", f"--gateway={GATEWAY}"),
                *(f"--label={LABEL}=network", NETWORK),
            )
        except LabError:
            # Another process of the lab may have made it in between; any other reason is the user's to see.
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
