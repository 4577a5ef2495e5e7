"""kubectl on a control plane: apply what differs, wait for what was asked."""

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.facts.cluster_health import ClusterHealth, crowded_dns_pods
from kubeadm_deploys.facts.cni import KustomizationDiffers

KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"


@operation()
def kustomization_applied(*, folder: str) -> Generator[StringCommand, None, None]:
    """Apply a folder with a kustomization, server-side, when the cluster differs from it.

    + folder: absolute path on the control plane
    """
    if not host.get_fact(KustomizationDiffers, folder=folder):
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
    """Wait until nodes are Ready and workloads of kube-system are available, with DNS spread over nodes.

    + nodes: names of the nodes
    + workloads: like ``deployment/coredns``
    + timeout: seconds for each of the conditions; what was seen last is printed when it passes
    """
    health = host.get_fact(ClusterHealth)
    if (
        all(health.nodes.get(node) for node in nodes)
        and all(health.workloads.get(workload) for workload in workloads)
        and not crowded_dns_pods(health)
    ):
        host.noop("the cluster is ready")
        return
    yield _wait(f"wait --for=condition=Ready --timeout={timeout}s", [f"node/{node}" for node in nodes])
    for pod in crowded_dns_pods(host.get_fact(ClusterHealth)):
        yield StringCommand(f"{KUBECTL} --namespace kube-system delete pod --wait=false", QuoteString(pod))
    for workload in workloads:
        yield _wait(f"--namespace kube-system rollout status --timeout={timeout}s", [workload])


def _wait(arguments: str, objects: list[str]) -> StringCommand:
    return StringCommand(
        f"{KUBECTL} {arguments}",
        *(QuoteString(name) for name in objects),
        f"|| {{ {KUBECTL} get nodes,pods --all-namespaces --output wide >&2; exit 1; }}",
    )
