"""What a control plane has of the CNI, and what the node's interface says about the MTU."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.scripts import script

CALICO_FOLDER = "/etc/kubernetes/calico"
"""What Calico is applied from, on every control plane."""


@dataclass(frozen=True, kw_only=True)
class CniFilesState:
    """sha256 of the CNI's ``files``, and ``releases`` of Calico that manifests among them are of, by path.

    ``mtu`` is that of the interface that has the node's address, 0 if none has.
    """

    files: dict[str, str] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)
    mtu: int = 0


class CniFiles(FactBase[CniFilesState]):
    """The files that the CNI is applied from, in one command."""

    @override
    def command(self, node_ip: str, paths: tuple[str, ...]) -> StringCommand:
        return script("read-cni-files", node_ip, *paths)

    @override
    def process(self, output: list[str]) -> CniFilesState:
        values = lines.parse(output)
        return CniFilesState(
            files=lines.files(values),
            releases=lines.by_prefix(values, "release:"),
            mtu=int(values.get("mtu", "0")),
        )
