"""What a cluster has of Hetzner's cloud controller manager, and what that one has done with the nodes."""

from dataclasses import dataclass

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.facts.answers import ClusterFact
from kubeadm_deploys.facts.cluster_health import KUBECTL, UNINITIALIZED
from kubeadm_deploys.scripts import script

_TAINTS_AND_NAMES = (
    f'{{range .items[*]}}{{.spec.taints[?(@.key=="{UNINITIALIZED}")].key}} {{.metadata.name}}{{"\\n"}}{{end}}'
)


@dataclass(frozen=True, kw_only=True)
class CloudSecretState:
    """sha256 of the token in the cluster's Secret, and the network that the Secret names; both are empty without a
    Secret, and the first is None when the cluster did not answer.
    """

    token_sha256: str | None = None
    network: str = ""


class CloudSecret(ClusterFact[CloudSecretState]):
    """What the cluster has of the token, which itself does not leave the machine."""

    @override
    def command(self) -> StringCommand:
        return script("read-cloud-secret")

    @override
    def process(self, output: list[str]) -> CloudSecretState:
        values = lines.parse(output)
        return CloudSecretState(
            token_sha256="" if "no-secret" in values else values["token"],
            network=values.get("network", ""),
        )


OLD_BINDING = "system:hcloud-cloud-controller-manager"
"""The ClusterRoleBinding by which manifests before 1.35.0 made the controller an administrator; the one of today has
another name."""


class CloudAdministrator(ClusterFact[bool]):
    """Whether an older manifest's binding still makes the cloud controller an administrator of the cluster."""

    @override
    def command(self) -> StringCommand:
        names = f"clusterrolebinding {OLD_BINDING} --ignore-not-found"
        return StringCommand(f"{KUBECTL} get {names} --output", QuoteString("jsonpath={.roleRef.name}"))

    @override
    def process(self, output: list[str]) -> bool:
        return [line.strip() for line in output if line.strip()] == ["cluster-admin"]


class CloudFiles(FactBase[dict[str, str]]):
    """sha256 by path of the files that the cloud controller is applied from, as far as they are there."""

    @override
    def command(self, paths: tuple[str, ...]) -> StringCommand:
        return script("read-files", *paths)

    @override
    def process(self, output: list[str]) -> dict[str, str]:
        return lines.files(lines.parse(output))


class NodesInitialized(FactBase[list[str]]):
    """Waits until the cloud controller has initialised every node, and the DNS pods that waited for that have a
    node; the host fails when nodes still wait after ``timeout`` seconds.

    A fact, although it takes its time: see ``NodesReady``.
    """

    @override
    def command(self, timeout: int) -> StringCommand:
        return script("await-initialized-nodes", str(timeout), _TAINTS_AND_NAMES)
