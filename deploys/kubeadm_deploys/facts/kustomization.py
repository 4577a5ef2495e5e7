"""Whether the cluster is as a kustomization says."""

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.cluster_health import KUBECTL


class KustomizationDiffers(FactBase[bool]):
    """Whether applying a kustomization would change the cluster: asks the API server, changes nothing.

    True also while there is no API server to ask, as on a machine that is still bare.
    """

    @staticmethod
    def default() -> bool:
        return True

    @override
    def command(self, folder: str, workload: str) -> StringCommand:
        # kubectl diff exits with 0 when nothing differs, with 1 when something does, above that on errors. It takes
        # seconds to compare with nothing, so a cluster without the workload is not asked further.
        return StringCommand(
            f"if {{ {KUBECTL} --namespace kube-system get",
            QuoteString(workload),
            f"&& {KUBECTL} diff --server-side --force-conflicts --field-manager kubeadm-deploys --kustomize",
            QuoteString(folder),
            "; } > /dev/null 2>&1; then echo same; else echo differs; fi",
        )

    @override
    def process(self, output: list[str]) -> bool:
        return output[-1].strip() != "same"
