"""A machine without its cluster: what the node's sections prepared stays, what the cluster made of it goes."""

from collections.abc import Generator, Sequence
from datetime import UTC, datetime

from pyinfra import host, logger
from pyinfra.api import Host, operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys import hosts_file
from kubeadm_deploys.facts.api_endpoint import ApiEndpoint
from kubeadm_deploys.facts.cluster_traces import ClusterTraces
from kubeadm_deploys.facts.kubeadm_node import SAVED_ETCD, KubeadmNode
from kubeadm_deploys.facts.reading import ask
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.scripts import script

_SECONDS = 600
"""How long cleaning may take; pods are killed and not waited for."""


def clean_command(*, saved: str = "") -> StringCommand:
    """The command that takes everything of a cluster from a machine, however far it had come; needs no API server.

    ``saved`` is a folder below ``SAVED_ETCD`` where data of etcd are kept; when it is empty they are deleted, and with
    them those that were kept before.
    """
    return script("clean-machine", saved, SAVED_ETCD, seconds=_SECONDS)


def cleaning(machine: Host, *, keep: bool) -> Generator[StringCommand, None, None]:
    """Clean a machine while operations run; with ``keep`` data of etcd are kept, and the operator reads where."""
    if not keep:
        yield clean_command()
        return
    found = ask(machine, KubeadmNode)
    saved = f"{SAVED_ETCD}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    yield clean_command(saved=saved)
    if "etcd" in found.files:
        logger.warning(
            f"--> Warning: {machine.name}: the etcd data that were there are kept in {saved}, until deploys/reset.py "
            "cleans the machine"
        )


@operation()
@fails_clearly
def cleaned(
    *, endpoint: str, units: Sequence[str], paths: Sequence[str], keep_etcd: bool
) -> Generator[StringCommand, None, None]:
    """Take everything of a cluster from this machine.

    + endpoint: name of the cluster's API, to be forgotten
    + units: systemd units to stop and disable
    + paths: files and folders of ours to delete, the units' too
    + keep_etcd: whether data of etcd are renamed and kept
    """
    given_up = () if keep_etcd else (SAVED_ETCD,)
    if not ask(host, ClusterTraces, endpoint=endpoint, paths=(*paths, *given_up)):
        host.noop("nothing of a cluster is here")
        return
    yield from cleaning(host, keep=keep_etcd)
    for unit in units:
        name = QuoteString(unit)
        yield StringCommand(
            "if systemctl --quiet is-enabled",
            name,
            "2> /dev/null; then systemctl --quiet disable --now",
            name,
            "; fi",
        )
    yield StringCommand("rm --recursive --force", *map(QuoteString, paths), "&& systemctl daemon-reload")
    texts = ask(host, ApiEndpoint).hosts_files
    without = {path: hosts_file.without_name(text, name=endpoint) for path, text in texts.items()}
    if differing := {path: text for path, text in without.items() if text != texts[path]}:
        yield write_command({path: text.encode(errors="surrogateescape") for path, text in differing.items()})
