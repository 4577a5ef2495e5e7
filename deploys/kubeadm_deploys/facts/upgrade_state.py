"""Read what only an upgrade needs to know of machines and of the cluster."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import ClusterFact
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class UpgradeReading:
    """A machine before or during an upgrade.

    ``images`` are the releases in the manifests of its static pods, by name. ``free`` is the room in
    /etc/kubernetes, and ``etcd`` the size of etcd's data, both in MiB. ``edits`` are the lines in which the
    manifests differ from those of kubeadm; ``compared`` is whether they were compared.
    """

    images: dict[str, str] = field(default_factory=dict)
    free: int = 0
    etcd: int = 0
    edits: tuple[str, ...] = ()
    compared: bool = False


class UpgradeState(FactBase[UpgradeReading]):
    """Read a machine's static pods and its room in one command."""

    @override
    def command(self) -> StringCommand:
        return script("read-upgrade-state", *MANIFESTS)

    @override
    def process(self, output: list[str]) -> UpgradeReading:
        values = lines.parse(output)
        images = lines.by_prefix(values, "image:")
        return UpgradeReading(
            images={name: image.rpartition(":")[2].removeprefix("v") for name, image in images.items()},
            free=int(values.get("free", "0")),
            etcd=int(values.get("etcd", "0")),
            edits=tuple(lines.by_prefix(values, "edit:").values()),
            compared="compared" in values,
        )


_COLUMNS = (
    "{.kind}",
    "{.metadata.namespace}/{.metadata.name}",
    # Of deployments and stateful sets, and of daemon sets: wanted and available pods.
    "{.spec.replicas}{.status.desiredNumberScheduled}",
    "{.status.availableReplicas}{.status.numberAvailable}",
)
_JSONPATH = "{range .items[*]}" + '{"|"}'.join(_COLUMNS) + '{"\\n"}{end}'


class WholeWorkloads(ClusterFact[dict[str, bool]]):
    """Read for each workload of the cluster whether all its wanted pods are available."""

    @override
    def command(self) -> StringCommand:
        return StringCommand(
            f"{KUBECTL} get deployments,statefulsets,daemonsets --all-namespaces --output",
            QuoteString(f"jsonpath={_JSONPATH}"),
        )

    @override
    def process(self, output: list[str]) -> dict[str, bool]:
        found = {}
        for line in filter(None, output):
            kind, name, wanted, available = line.split("|")
            # An object's status omits counts of zero.
            found[f"{kind.lower()} {name}"] = int(available or 0) >= int(wanted or 0)
        return found


_ELECTED = ("kube-controller-manager", "kube-scheduler")


class ControllerLeases(ClusterFact[dict[str, str]]):
    """Read when the controller manager and the scheduler last renewed their leases, by name, as the API has it.

    Source: Kubernetes documentation, "Leases"; a lease is renewed every 2 s, and another instance takes it 15 s after that.
    """

    @override
    def command(self) -> StringCommand:
        jsonpath = '{range .items[*]}{.metadata.name}|{.spec.renewTime}{"\\n"}{end}'
        return StringCommand(
            f"{KUBECTL} --namespace kube-system get leases --output",
            QuoteString(f"jsonpath={jsonpath}"),
        )

    @override
    def process(self, output: list[str]) -> dict[str, str]:
        renewed = dict(line.split("|") for line in filter(None, output))
        return {name: time for name, time in renewed.items() if name in _ELECTED}


class KubeletThroughApi(ClusterFact[str]):
    """Ask a kubelet for its health through the API server of this machine, which needs its right to do so."""

    @override
    def command(self, node: str) -> StringCommand:
        return StringCommand(f"{KUBECTL} get --raw", QuoteString(f"/api/v1/nodes/{node}/proxy/healthz"))

    @override
    def process(self, output: list[str]) -> str:
        return "".join(output).strip()
