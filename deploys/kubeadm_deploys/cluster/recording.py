"""Write the cluster's record through kubectl on a control plane."""

from collections.abc import Generator, Mapping

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.cluster.members import ask_settings
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.facts.cluster_health import KUBECTL_APPLY
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.operations.failure import failed, fails_clearly

WRITE = f"{KUBECTL_APPLY} --filename -"
"""Create the ConfigMap on stdin, or replace its content."""


@operation()
@fails_clearly
def releases_recorded(
    *, topology: Topology, releases: Mapping[str, str], new: bool
) -> Generator[StringCommand, None, None]:
    """Add the cluster's releases to its record where they are missing.

    Existing entries stay. A run with ``--limit`` has not seen the releases of all hosts, so it records
    nothing about a cluster that existed before.

    + topology: the cluster; runs on its leader
    + releases: by component
    + new: whether this run created the cluster
    """
    leader = ask_leader(host.state, topology).leader
    if host.name != leader:
        host.noop(f"runs on {leader}")
        return
    if isinstance(host.state.limit_hosts, list) and not new:
        host.noop("not recorded with --limit; a run without it records them")
        return
    if new and not host.state.is_executing:
        # The plan only needs to know that something changes.
        yield StringCommand(WRITE)
        return
    settings = ask_settings(host.state, topology)
    if settings and host.state.is_executing and is_missing(settings.record, releases=releases):
        # What was read may be older than a record that was written since.
        settings = ask_settings(host.state, topology, refresh=True)
    if settings is None or settings.silent:
        if host.state.is_executing:
            yield failed("no API server answers, so the record was not read; run this again when one answers")
        return
    if is_missing(settings.record, releases=releases):
        yield StringCommand(WRITE, _stdin=completed(settings.record, releases=releases, new=new).manifest())
    else:
        host.noop("the cluster's releases are recorded")


def is_missing(record: ClusterRecord, *, releases: Mapping[str, str]) -> bool:
    """Return whether a record lacks the release of any component."""
    return not releases.keys() <= (record.releases or {}).keys()


def completed(record: ClusterRecord, *, releases: Mapping[str, str], new: bool) -> ClusterRecord:
    """Add missing releases to the record; a ``new`` cluster has no labels or taints of earlier runs."""
    written = record.with_releases({**releases, **(record.releases or {})})
    return written.with_nodes({}) if new and written.nodes is None else written
