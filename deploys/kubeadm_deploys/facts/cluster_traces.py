"""Find cluster state on a machine: of kubeadm, kubelet, kube-proxy, the pod network and this package."""

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.scripts import script


class ClusterTraces(FactBase[list[str]]):
    """Find all cluster state on a machine in one command, as lines like ``file /etc/kubernetes/pki``.

    It also looks for ``paths``, and for ``endpoint`` in /etc/hosts.
    """

    @override
    def command(self, endpoint: str, paths: tuple[str, ...]) -> StringCommand:
        return script("find-cluster-traces", endpoint, *paths)

    @override
    def process(self, output: list[str]) -> list[str]:
        return output
