"""Run kubectl on a control plane, to apply what differs."""

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.facts.cluster_health import KUBECTL_APPLY
from kubeadm_deploys.facts.kustomization import KustomizationDiffers
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import read


def differs_reading(*, folder: str, workload: str) -> Reading[bool]:
    """Return what ``kustomization_applied`` reads from the cluster."""
    return Reading.of(KustomizationDiffers, folder=folder, workload=workload)


@operation()
@fails_clearly
def kustomization_applied(
    *, topology: Topology, folder: str, workload: str
) -> Generator[StringCommand, None, None]:
    """Apply a folder with a kustomization, server-side, if the cluster differs from it.

    + topology: the cluster; runs on its leader
    + folder: absolute path on the control plane
    + workload: a workload of the kustomization in kube-system, like ``deployment/coredns``
    """
    api_leader = ask_leader(host.state, topology)
    if host.name != api_leader.leader:
        host.noop(f"runs on {api_leader.leader}")
        return
    # Without an API server to compare with, everything is applied.
    if api_leader.api_answers and not read(host, differs_reading(folder=folder, workload=workload)):
        host.noop("the cluster is up to date")
        return
    yield apply_command(folder)


def apply_command(folder: str) -> StringCommand:
    """Return the command that applies a folder with a kustomization, server-side."""
    return StringCommand(f"{KUBECTL_APPLY} --kustomize", QuoteString(folder))
