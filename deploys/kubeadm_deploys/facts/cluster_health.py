"""Read nodes and the workloads that make a cluster usable from the API server."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.remote.answers import ClusterFact
from kubeadm_deploys.scripts import ENVIRONMENT, script

KUBECTL_CACHE = "/run/kubeadm-deploys-kubectl"
"""kubectl's cache, so that it writes nothing into root's home."""

ADMIN_CONF = "/etc/kubernetes/admin.conf"

_REQUEST_SECONDS = 30
"""The limit for one request to the API server; without it, kubectl waits forever."""


_KUBECTL = f"{ENVIRONMENT} kubectl --kubeconfig {ADMIN_CONF} --cache-dir {KUBECTL_CACHE}"

KUBECTL = f"{_KUBECTL} --request-timeout={_REQUEST_SECONDS}s"
"""kubectl as the administrator, for requests that are answered immediately."""

KUBECTL_APPLY = f"{KUBECTL} apply --server-side --force-conflicts --field-manager kubeadm-deploys"
"""Set the given fields, even if another manager owns them; the manager's name marks our fields."""


KUBECTL_WAIT = _KUBECTL
"""kubectl for commands that watch the API and have their own limit: a request limit would end the watch."""

UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
"""The taint of a cloud's node until the cloud controller has found its server."""

_COLUMNS = (
    "{.kind}",
    "{.metadata.name}",
    '{.status.conditions[?(@.type=="Ready")].status}',
    f'{{.spec.taints[?(@.key=="{UNINITIALIZED}")].key}}',
    "{.metadata.labels.k8s-app}",
    "{.metadata.deletionTimestamp}",
    # Of pods; of nodes, whether they are cordoned.
    "{.spec.nodeName}{.spec.unschedulable}",
    # An applied change counts only after its controller has observed it.
    "{.metadata.generation}",
    "{.status.observedGeneration}",
    # Of deployments and of daemon sets: wanted, updated and available replicas.
    "{.spec.replicas}{.status.desiredNumberScheduled}",
    "{.status.updatedReplicas}{.status.updatedNumberScheduled}",
    "{.status.availableReplicas}{.status.numberAvailable}",
)
_JSONPATH = "{range .items[*]}" + '{"|"}'.join(_COLUMNS) + '{"\\n"}{end}'


@dataclass(frozen=True, kw_only=True)
class ClusterHealthState:
    """The health of a cluster.

    ``nodes`` maps names to readiness, ``cordoned`` lists cordoned nodes, ``uninitialized`` nodes with that taint,
    ``dns_pods`` maps names of DNS pods to their nodes, and ``workloads`` maps kind and name of the workloads in
    kube-system to whether all wanted replicas are updated and available.
    """

    nodes: dict[str, bool] = field(default_factory=dict)
    cordoned: list[str] = field(default_factory=list)
    uninitialized: list[str] = field(default_factory=list)
    dns_pods: dict[str, str] = field(default_factory=dict)
    workloads: dict[str, bool] = field(default_factory=dict)


class ClusterHealth(ClusterFact[ClusterHealthState]):
    """Read nodes, DNS pods and workloads of kube-system in one command."""

    @override
    def command(self) -> StringCommand:
        return StringCommand(
            f"{KUBECTL} --namespace kube-system get nodes,pods,deployments,daemonsets --output",
            QuoteString(f"jsonpath={_JSONPATH}"),
        )

    @override
    def process(self, output: list[str]) -> ClusterHealthState:
        state = ClusterHealthState()
        for line in filter(None, output):
            kind, name, ready, taint, app, deleted, node, *counts = line.split("|")
            if kind == "Node":
                state.nodes[name] = ready == "True"
                if node:
                    state.cordoned.append(name)
                if taint:
                    state.uninitialized.append(name)
            elif kind == "Pod" and app == "kube-dns" and node and not deleted:
                state.dns_pods[name] = node
            elif kind in ("Deployment", "DaemonSet"):
                # An object's status omits counts of zero.
                generation, observed, wanted, updated, available = (count or "0" for count in counts)
                state.workloads[f"{kind.lower()}/{name}"] = (
                    generation == observed and wanted == updated == available
                )
        return state


class InitRemainder(ClusterFact[list[str]]):
    """List what the last phases of ``kubeadm init`` create and the cluster lacks; empty if init has finished."""

    @override
    def command(self) -> StringCommand:
        return script("read-init-remainder")

    @override
    def process(self, output: list[str]) -> list[str]:
        return output


class NodesReady(FactBase[list[str]]):
    """Wait until nodes are Ready; after ``timeout`` seconds the host fails with the last state.

    A fact and not an operation, because waiting changes nothing, and every command of an operation counts as
    a change.
    """

    @override
    def command(self, nodes: tuple[str, ...], timeout: int) -> StringCommand:
        return script("await-ready-nodes", str(timeout), *nodes)


class WorkloadsAvailable(FactBase[list[str]]):
    """Wait until workloads of kube-system are updated and available; see ``NodesReady``."""

    @override
    def command(self, workloads: tuple[str, ...], timeout: int) -> StringCommand:
        return script("await-workloads", str(timeout), *workloads)


def crowded_dns_pods(health: ClusterHealthState) -> list[str]:
    """Return the DNS pods to move so that no node has two while another node, which may get it, has none.

    The first Ready node gets all replicas and keeps them; if they stay there, DNS is lost with that node.
    """
    free = [
        node
        for node, ready in health.nodes.items()
        if ready and node not in health.cordoned and node not in health.dns_pods.values()
    ]
    staying = {node: pod for pod, node in health.dns_pods.items()}
    crowded = [pod for pod, node in health.dns_pods.items() if staying[node] != pod]
    return crowded[: len(free)]


_TAINTS_AND_NAMES = (
    f'{{range .items[*]}}{{.spec.taints[?(@.key=="{UNINITIALIZED}")].key}} {{.metadata.name}}{{"\\n"}}{{end}}'
)


class NodesInitialized(FactBase[list[str]]):
    """Wait until the cloud controller has initialised every node and the waiting DNS pods have a node.

    The host fails if nodes still wait after ``timeout`` seconds. A fact and not an operation: see
    ``NodesReady``.
    """

    @override
    def command(self, timeout: int) -> StringCommand:
        return script("await-initialized-nodes", str(timeout), _TAINTS_AND_NAMES)
