"""The options of a verification run, and the inventory that they choose."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from kubeadm_deploys.verification.inventory import (
    CONTROL_PLANE,
    InventoryProblem,
    Machine,
    cluster_machines,
    read_machines,
    select,
)

AGNHOST_IMAGE = "registry.k8s.io/e2e-test-images/agnhost:2.63.0"
"""The image of Kubernetes' own end-to-end tests, at the tag that Kubernetes 1.36 uses."""

EXTERNAL_NAME = "registry.k8s.io"
"""A name that is not the cluster's own: where its images come from, unless a mirror stands in."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The machines of the inventory that are nodes, and those among them that ``--limit`` leaves."""

    inventory: str
    nodes: tuple[Machine, ...]
    limited: tuple[Machine, ...]

    @property
    def control_planes(self) -> tuple[Machine, ...]:
        """Where kubectl can run, whatever ``--limit`` says."""
        return tuple(machine for machine in self.nodes if CONTROL_PLANE in machine.groups)


SELECTION = pytest.StashKey[Selection]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, shown by ``pytest --pyargs kubeadm_deploys.verification --help``."""
    group = parser.getgroup("kubeadm-deploys", "kubeadm-deploys verification")
    group.addoption("--inventory", metavar="FILE", help="pyinfra inventory of the machines to verify")
    group.addoption(
        "--limit",
        metavar="NAME",
        action="append",
        default=[],
        help="verify only this host or group of the inventory (repeatable, globs allowed)",
    )
    group.addoption(
        "--agnhost-image",
        metavar="IMAGE",
        default=AGNHOST_IMAGE,
        help="image of the pods that the suites talk through (default: %(default)s)",
    )
    group.addoption(
        "--external-name",
        metavar="NAME",
        default=EXTERNAL_NAME,
        help="DNS name outside the cluster that pods must resolve where their node does (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the inventory before anything is collected: without machines there is nothing to pass."""
    if config.option.help:
        return
    inventory = config.getoption("--inventory")
    if not inventory:
        raise pytest.UsageError(
            "--inventory is missing; name the pyinfra inventory of the machines to verify"
        )
    # Under /tmp, because the sockets of ssh's shared connections live here and their paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="kubeadm-deploys-", dir="/tmp"))
    config.add_cleanup(lambda: forget_connections(folder))
    try:
        nodes = cluster_machines(read_machines(inventory, ssh_config=folder / "ssh_config"))
        limited = select(nodes, limit=config.getoption("--limit"))
    except InventoryProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    config.stash[SELECTION] = Selection(inventory=inventory, nodes=nodes, limited=limited)


def forget_connections(folder: Path) -> None:
    """Close ssh's shared connections, which would outlive the run by a minute, and remove their settings."""
    for socket in folder.iterdir():
        if socket.is_socket():
            subprocess.run(
                ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "kubeadm-deploys"],
                capture_output=True,
                check=False,
            )
            # ssh's connection agrees to end before it removes its socket: whoever comes second finds nothing.
            socket.unlink(missing_ok=True)
    shutil.rmtree(folder)
