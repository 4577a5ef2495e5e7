"""Whether the cluster is as a kustomization says."""

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.cluster_health import KUBECTL


class KustomizationDiffers(FactBase[bool]):
    """Whether applying a kustomization would change the cluster: asks the API server, changes nothing."""

    @override
    def command(self, folder: str, workload: str) -> StringCommand:
        # kubectl diff exits with 0 when nothing differs, with 1 when something does, above that on errors. It takes
        # seconds to compare with nothing, so a cluster without the workload is not asked further.
        return StringCommand(
            StringCommand(
                f"found=$({KUBECTL} --namespace kube-system get --ignore-not-found --output name",
                QuoteString(workload),
                ") || exit 2",
            ),
            'if [ -z "$found" ]; then echo differs; exit 0; fi',
            StringCommand(
                f"{KUBECTL} diff --server-side --force-conflicts --field-manager kubeadm-deploys --kustomize",
                QuoteString(folder),
                "> /dev/null",
            ),
            "case $? in 0) echo same ;; 1) echo differs ;; *) exit 2 ;; esac",
            _separator="\n",
        )

    @override
    def process(self, output: list[str]) -> bool:
        return {"same": False, "differs": True}[output[-1].strip()]
