"""What a cluster leaves on a machine: what kubeadm, the kubelet, kube-proxy, Calico and this project made there."""

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.scripts import script


class ClusterTraces(FactBase[list[str]]):
    """Everything of a cluster that is on a machine, in one command: ``file /etc/kubernetes/pki`` and the like.

    ``paths`` are looked for as well, ``endpoint`` in /etc/hosts.
    """

    @override
    def command(self, endpoint: str, paths: tuple[str, ...]) -> StringCommand:
        return script("find-cluster-traces", endpoint, *paths)

    @override
    def process(self, output: list[str]) -> list[str]:
        return output
