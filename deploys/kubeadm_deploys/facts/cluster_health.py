"""What the API server says of nodes and of the workloads that make a cluster usable."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from typing_extensions import override

_SCRIPT = r"""
export KUBECONFIG=/etc/kubernetes/admin.conf
if ! command -v kubectl >/dev/null || [ ! -f "$KUBECONFIG" ]; then exit 0; fi
kubectl get nodes --output jsonpath='{range .items[*]}node {.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}' &
kubectl --namespace kube-system get pods --selector k8s-app=kube-dns --field-selector status.phase!=Succeeded,status.phase!=Failed \
  --output jsonpath='{range .items[*]}dns {.metadata.name} {.spec.nodeName}{"\n"}{end}' &
kubectl --namespace kube-system get deployments --output jsonpath='{range .items[*]}workload deployment/{.metadata.name} {.spec.replicas} {.status.updatedReplicas} {.status.availableReplicas}{"\n"}{end}' &
kubectl --namespace kube-system get daemonsets --output jsonpath='{range .items[*]}workload daemonset/{.metadata.name} {.status.desiredNumberScheduled} {.status.updatedNumberScheduled} {.status.numberAvailable}{"\n"}{end}' &
wait
"""


@dataclass(frozen=True, kw_only=True)
class ClusterHealthState:
    """``nodes`` by name with their readiness, ``dns_pods`` by name with their node, and the workloads of
    kube-system that are ``available`` in their newest form on as many nodes or replicas as wanted.
    """

    nodes: dict[str, bool] = field(default_factory=dict)
    dns_pods: dict[str, str] = field(default_factory=dict)
    workloads: dict[str, bool] = field(default_factory=dict)


class ClusterHealth(FactBase[ClusterHealthState]):
    """Nodes, DNS pods and workloads of kube-system, in one command; empty where there is no cluster."""

    default = ClusterHealthState

    @override
    def command(self) -> str:
        return _SCRIPT

    @override
    def process(self, output: list[str]) -> ClusterHealthState:
        rows = [line.split() for line in output]
        return ClusterHealthState(
            nodes={row[1]: row[2:] == ["True"] for row in rows if row[0] == "node"},
            # A pod that is not scheduled yet has no node.
            dns_pods={row[1]: row[2] for row in rows if row[0] == "dns" and len(row) == 3},
            workloads={
                row[1]: len(row) == 5 and row[2] == row[3] == row[4] for row in rows if row[0] == "workload"
            },
        )


def crowded_dns_pods(health: ClusterHealthState) -> list[str]:
    """The DNS pods to move so that no node has two while another has none.

    The first Ready node gets every replica and keeps it: without a move, its loss takes DNS with it.
    """
    free = [node for node, ready in health.nodes.items() if ready and node not in health.dns_pods.values()]
    alone = {node: pod for pod, node in health.dns_pods.items()}
    crowded = [pod for pod, node in health.dns_pods.items() if alone[node] != pod]
    return crowded[: len(free)]
