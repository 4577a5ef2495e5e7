"""Which container images a machine has."""

from pyinfra.api import FactBase
from typing_extensions import override


class Images(FactBase[frozenset[str]]):
    """Names of the images that containerd has for Kubernetes; none where it does not run."""

    @override
    def command(self) -> str:
        return "ctr --namespace k8s.io images list --quiet 2> /dev/null; true"

    @override
    def process(self, output: list[str]) -> frozenset[str]:
        return frozenset(line.strip() for line in output)
