"""The record that the cluster keeps, written through kubectl on a control plane."""

from collections.abc import Generator, Mapping

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.cluster.members import ask_settings
from kubeadm_deploys.cluster_record import ClusterRecord
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations.failure import failed, fails_clearly

WRITE = f"{KUBECTL} apply --server-side --force-conflicts --field-manager kubeadm-deploys --filename -"
"""Makes the ConfigMap on stdin, or has it say this and nothing else."""


@operation()
@fails_clearly
def releases_recorded(
    *, topology: Topology, releases: Mapping[str, str], new: bool
) -> Generator[StringCommand, None, None]:
    """Have the record say which releases the cluster has, where it does not say so yet.

    What it says already stays. A run that leaves hosts out has not seen what these have, so that it records nothing
    about a cluster that was there before.

    + topology: the cluster; its leader does it
    + releases: by component
    + new: whether the cluster is of this run's making
    """
    if host.name != ask_leader(host.state, topology).leader:
        host.noop("another control plane does it")
        return
    if isinstance(host.state.limit_hosts, list) and not new:
        host.noop("a run without --limit does it")
        return
    if new and not host.state.is_executing:
        # The plan wants to know only that there is something to do.
        yield StringCommand(WRITE)
        return
    settings = ask_settings(host.state, topology)
    if settings and host.state.is_executing and is_missing(settings.record, releases=releases):
        # What was read while the run was prepared may have been written since.
        settings = ask_settings(host.state, topology, anew=True)
    if settings is None or settings.silent:
        if host.state.is_executing:
            yield failed("no API server says which releases are recorded; run this again when one answers")
        return
    if is_missing(settings.record, releases=releases):
        yield StringCommand(WRITE, _stdin=completed(settings.record, releases=releases, new=new).manifest())
    else:
        host.noop("the cluster's releases are recorded")


def is_missing(record: ClusterRecord, *, releases: Mapping[str, str]) -> bool:
    """Whether a record lacks the release of any component."""
    return not releases.keys() <= (record.releases or {}).keys()


def completed(record: ClusterRecord, *, releases: Mapping[str, str], new: bool) -> ClusterRecord:
    """The record with the releases that it lacks. In a ``new`` cluster no node has marks of an earlier run."""
    written = record.with_releases({**releases, **(record.releases or {})})
    return written.with_nodes({}) if new and written.nodes is None else written
