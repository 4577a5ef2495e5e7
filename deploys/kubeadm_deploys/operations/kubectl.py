"""kubectl on a control plane: apply what differs, wait for what was asked."""

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.facts.cloud_controller import NodesInitialized
from kubeadm_deploys.facts.cluster_health import (
    KUBECTL,
    ClusterHealth,
    NodesReady,
    WorkloadsAvailable,
    crowded_dns_pods,
)
from kubeadm_deploys.facts.kustomization import KustomizationDiffers


@operation()
def kustomization_applied(*, folder: str, workload: str) -> Generator[StringCommand, None, None]:
    """Apply a folder with a kustomization, server-side, when the cluster differs from it.

    + folder: absolute path on the control plane
    + workload: one of those that the kustomization makes in kube-system, like ``daemonset/calico-node``
    """
    if not host.get_fact(KustomizationDiffers, folder=folder, workload=workload):
        host.noop("the cluster has all of it already")
        return
    yield StringCommand(
        f"{KUBECTL} apply --server-side --force-conflicts --field-manager kubeadm-deploys --kustomize",
        QuoteString(folder),
    )


@operation()
def cluster_ready(
    *, nodes: list[str], workloads: list[str], timeout: int
) -> Generator[StringCommand, None, None]:
    """Wait until nodes are Ready, known to their cloud, and workloads of kube-system available, with DNS spread.

    Only moving a DNS pod is a change; a dry run does not wait.

    + nodes: names of the nodes
    + workloads: like ``deployment/coredns``
    + timeout: seconds for each of the conditions
    """
    health = host.get_fact(ClusterHealth)
    if host.state.is_executing and not all(health.nodes.get(node) for node in nodes):
        host.get_fact(NodesReady, nodes=tuple(nodes), timeout=timeout)
        health = host.get_fact(ClusterHealth)
    if host.state.is_executing and health.uninitialized:
        host.get_fact(NodesInitialized, timeout=timeout)
        health = host.get_fact(ClusterHealth)
    crowded = crowded_dns_pods(health)
    for pod in crowded:
        yield StringCommand(f"{KUBECTL} --namespace kube-system delete pod --wait=false", QuoteString(pod))
    if host.state.is_executing and (crowded or not all(health.workloads.get(name) for name in workloads)):
        host.get_fact(WorkloadsAvailable, workloads=tuple(workloads), timeout=timeout)
