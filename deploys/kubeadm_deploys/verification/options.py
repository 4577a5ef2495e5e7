"""The options of a verification run, and the machines that they select."""

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
"""The image of Kubernetes' own end-to-end tests, with the tag that Kubernetes 1.36 uses."""

EXTERNAL_NAME = "registry.k8s.io"
"""A name outside the cluster's domain: the registry of its images, unless a mirror is used."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The machines of the inventory that are nodes, and those of them that ``--limit`` selects."""

    inventory: str
    nodes: tuple[Machine, ...]
    limited: tuple[Machine, ...]

    @property
    def control_planes(self) -> tuple[Machine, ...]:
        """The machines on which kubectl can run, regardless of ``--limit``."""
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
        help="image of the test pods (default: %(default)s)",
    )
    group.addoption(
        "--external-name",
        metavar="NAME",
        default=EXTERNAL_NAME,
        help="external DNS name that pods must resolve if their node resolves it (default: %(default)s)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Read the inventory before tests are collected, so that a run without machines fails."""
    if config.option.help:
        return
    inventory = config.getoption("--inventory")
    if not inventory:
        raise pytest.UsageError(
            "--inventory is missing; specify the pyinfra inventory of the machines to verify"
        )
    # Under /tmp, because it holds the sockets of ssh's shared connections, whose paths must be short.
    folder = Path(tempfile.mkdtemp(prefix="kubeadm-deploys-", dir="/tmp"))
    config.add_cleanup(lambda: forget_connections(folder))
    try:
        nodes = cluster_machines(read_machines(inventory, ssh_config=folder / "ssh_config"))
        limited = select(nodes, limit=config.getoption("--limit"))
    except InventoryProblem as problem:
        raise pytest.UsageError(str(problem)) from None
    config.stash[SELECTION] = Selection(inventory=inventory, nodes=nodes, limited=limited)


def forget_connections(folder: Path) -> None:
    """Close ssh's shared connections, which would outlive the run by a minute, and remove the folder."""
    for socket in folder.iterdir():
        if socket.is_socket():
            subprocess.run(
                ["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "kubeadm-deploys"],
                capture_output=True,
                check=False,
            )
            # ssh may remove the socket itself at any moment after it has accepted to exit.
            socket.unlink(missing_ok=True)
    shutil.rmtree(folder)
