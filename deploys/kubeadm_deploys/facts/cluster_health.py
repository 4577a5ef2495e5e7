"""What the API server says of nodes and of the workloads that make a cluster usable."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.answers import ClusterFact
from kubeadm_deploys.scripts import ENVIRONMENT, script

KUBECTL_CACHE = "/run/kubeadm-deploys-kubectl"
"""What kubectl remembers of the cluster, so that nothing of it is in root's home."""

ADMIN_CONF = "/etc/kubernetes/admin.conf"

_REQUEST_SECONDS = 30
"""How long the API server has for one request; kubectl would wait for ever."""


_KUBECTL = f"{ENVIRONMENT} kubectl --kubeconfig {ADMIN_CONF} --cache-dir {KUBECTL_CACHE}"

KUBECTL = f"{_KUBECTL} --request-timeout={_REQUEST_SECONDS}s"
"""kubectl as the administrator, for requests that are answered at once."""

KUBECTL_WAIT = _KUBECTL
"""kubectl for what watches the API until a limit of its own: a limit for each request would end the watch."""

UNINITIALIZED = "node.cloudprovider.kubernetes.io/uninitialized"
"""The taint that a node of a cloud has until the cloud's controller has found its server."""

_COLUMNS = (
    "{.kind}",
    "{.metadata.name}",
    '{.status.conditions[?(@.type=="Ready")].status}',
    f'{{.spec.taints[?(@.key=="{UNINITIALIZED}")].key}}',
    "{.metadata.labels.k8s-app}",
    "{.metadata.deletionTimestamp}",
    "{.spec.nodeName}",
    # What was just applied counts only once its controller has seen it.
    "{.metadata.generation}",
    "{.status.observedGeneration}",
    # Deployments, then daemon sets: wanted, of the newest form, available.
    "{.spec.replicas}{.status.desiredNumberScheduled}",
    "{.status.updatedReplicas}{.status.updatedNumberScheduled}",
    "{.status.availableReplicas}{.status.numberAvailable}",
)
_JSONPATH = "{range .items[*]}" + '{"|"}'.join(_COLUMNS) + '{"\\n"}{end}'


@dataclass(frozen=True, kw_only=True)
class ClusterHealthState:
    """``nodes`` by name with their readiness, those of them that are ``uninitialized``, ``dns_pods`` by name with
    their node, and the ``workloads`` of kube-system by kind and name, with whether all that is wanted of them is
    available in its newest form.
    """

    nodes: dict[str, bool] = field(default_factory=dict)
    uninitialized: list[str] = field(default_factory=list)
    dns_pods: dict[str, str] = field(default_factory=dict)
    workloads: dict[str, bool] = field(default_factory=dict)


class ClusterHealth(ClusterFact[ClusterHealthState]):
    """Nodes, DNS pods and workloads of kube-system, in one command."""

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
                if taint:
                    state.uninitialized.append(name)
            elif kind == "Pod" and app == "kube-dns" and node and not deleted:
                state.dns_pods[name] = node
            elif kind in ("Deployment", "DaemonSet"):
                # A count of zero is left out of an object's status.
                generation, observed, wanted, updated, available = (count or "0" for count in counts)
                state.workloads[f"{kind.lower()}/{name}"] = (
                    generation == observed and wanted == updated == available
                )
        return state


class InitRemainder(ClusterFact[list[str]]):
    """What the last phases of ``kubeadm init`` make and the cluster does not have: nothing on a finished one."""

    @override
    def command(self) -> StringCommand:
        return script("read-init-remainder")

    @override
    def process(self, output: list[str]) -> list[str]:
        return output


class NodesReady(FactBase[list[str]]):
    """Waits until nodes are Ready; the host fails after ``timeout`` seconds with what was seen last.

    A fact, although it takes its time: waiting changes nothing, and a command of an operation counts as a change.
    """

    @override
    def command(self, nodes: tuple[str, ...], timeout: int) -> StringCommand:
        return script("await-ready-nodes", str(timeout), *nodes)


class WorkloadsAvailable(FactBase[list[str]]):
    """Waits until workloads of kube-system are available in their newest form; see ``NodesReady``."""

    @override
    def command(self, workloads: tuple[str, ...], timeout: int) -> StringCommand:
        return script("await-workloads", str(timeout), *workloads)


def crowded_dns_pods(health: ClusterHealthState) -> list[str]:
    """The DNS pods to move so that no node has two while another has none.

    The first Ready node gets every replica and keeps it: without a move, its loss takes DNS with it.
    """
    free = [node for node, ready in health.nodes.items() if ready and node not in health.dns_pods.values()]
    alone = {node: pod for pod, node in health.dns_pods.items()}
    crowded = [pod for pod, node in health.dns_pods.items() if alone[node] != pod]
    return crowded[: len(free)]
