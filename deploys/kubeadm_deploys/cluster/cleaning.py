"""Remove the cluster from a machine; what the node's sections prepared stays."""

from collections.abc import Generator
from datetime import UTC, datetime

from pyinfra import logger
from pyinfra.api import Host
from pyinfra.api.command import StringCommand

from kubeadm_deploys.facts.kubeadm_node import SAVED_ETCD, KubeadmNode
from kubeadm_deploys.remote.reading import ask
from kubeadm_deploys.scripts import script

_SECONDS = 600
"""How long cleaning may take; pods are killed without a grace period."""


def clean_command(*, saved: str = "") -> StringCommand:
    """Return the command that removes all cluster state from a machine; it needs no API server.

    ``saved`` is a folder below ``SAVED_ETCD`` where etcd data is kept. If it is empty, the data is deleted,
    and also all data that was kept earlier.
    """
    return script("clean-machine", saved, SAVED_ETCD, seconds=_SECONDS)


def cleaning(machine: Host, *, keep: bool) -> Generator[StringCommand, None, None]:
    """Clean a machine while operations run; with ``keep``, keep its etcd data and print the folder."""
    if not keep:
        yield clean_command()
        return
    found = ask(machine, KubeadmNode)
    saved = f"{SAVED_ETCD}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    yield clean_command(saved=saved)
    if "etcd" in found.files:
        logger.warning(
            f"--> Warning: {machine.name}: the old etcd data is kept in {saved} until deploys/reset.py "
            "cleans the machine"
        )
