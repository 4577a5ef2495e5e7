"""What a cluster has of Hetzner's cloud controller manager, and what that one has done with the nodes."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.facts.cluster_health import UNINITIALIZED
from kubeadm_deploys.scripts import script

_TAINTS_AND_NAMES = (
    f'{{range .items[*]}}{{.spec.taints[?(@.key=="{UNINITIALIZED}")].key}} {{.metadata.name}}{{"\\n"}}{{end}}'
)


@dataclass(frozen=True, kw_only=True)
class CloudControllerState:
    """sha256 of the ``files`` that it is applied from, and of the token in the cluster's Secret, with the network
    that the Secret names; both are empty without a Secret, and the first is None when the cluster did not answer.
    """

    files: dict[str, str] = field(default_factory=dict)
    token_sha256: str | None = None
    network: str = ""


class CloudController(FactBase[CloudControllerState]):
    """Files and Secret, in one command."""

    @override
    def command(self, paths: tuple[str, ...] = ()) -> StringCommand:
        return script("read-cloud-controller", *paths)

    @override
    def process(self, output: list[str]) -> CloudControllerState:
        values = lines.parse(output)
        return CloudControllerState(
            files=lines.files(values),
            token_sha256="" if "no-secret" in values else values.get("token"),
            network=values.get("network", ""),
        )


class NodesInitialized(FactBase[list[str]]):
    """Waits until the cloud controller has initialised every node, and the DNS pods that waited for that have a
    node; the host fails when nodes still wait after ``timeout`` seconds.

    A fact, although it takes its time: see ``NodesReady``.
    """

    @override
    def command(self, timeout: int) -> StringCommand:
        return script("await-initialized-nodes", str(timeout), _TAINTS_AND_NAMES)
