"""Whether the cluster is as a kustomization says."""

from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.answers import ClusterFact
from kubeadm_deploys.scripts import script


class KustomizationDiffers(ClusterFact[bool]):
    """Whether applying a kustomization would change the cluster: asks the API server, changes nothing."""

    @override
    def command(self, folder: str, workload: str) -> StringCommand:
        return script("compare-kustomization", folder, workload)

    @override
    def process(self, output: list[str]) -> bool:
        return {"same": False, "differs": True}[output[-1].strip()]
