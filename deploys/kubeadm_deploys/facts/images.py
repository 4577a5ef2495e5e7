"""Which container images a machine has."""

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.scripts import script


class Images(FactBase[frozenset[str]]):
    """Names of the images that containerd has for Kubernetes; none where it does not run."""

    @override
    def command(self) -> StringCommand:
        return script("read-images")

    @override
    def process(self, output: list[str]) -> frozenset[str]:
        return frozenset(line.strip() for line in output)
