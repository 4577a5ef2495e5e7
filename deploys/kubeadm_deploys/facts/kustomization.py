"""Compare the cluster with a kustomization."""

from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.remote.answers import ClusterFact
from kubeadm_deploys.scripts import script


class KustomizationDiffers(ClusterFact[bool]):
    """Ask the API server whether applying a kustomization would change the cluster; nothing is changed."""

    @override
    def command(self, folder: str, workload: str) -> StringCommand:
        return script("compare-kustomization", folder, workload)

    @override
    def process(self, output: list[str]) -> bool:
        return {"same": False, "differs": True}[output[-1].strip()]
