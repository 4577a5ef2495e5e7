"""What a control plane has of the CNI, and what the node's interface says about the MTU."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines

CALICO_FOLDER = "/etc/kubernetes/calico"
"""What Calico is applied from, on every control plane."""

_RELEASES = r"""; do
  echo "release:$path $(sed -n 's/^ *image: .*\/node:v//p' "$path" 2> /dev/null | head -n 1)"
done"""


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
        return StringCommand(
            StringCommand(
                "interface=$(ip -o -4 address show to", QuoteString(node_ip), "| awk '{print $2; exit}')"
            ),
            'if [ -n "$interface" ]; then echo "mtu $(cat "/sys/class/net/$interface/mtu")"; fi',
            lines.files_script(paths),
            StringCommand("for path in", *(QuoteString(path) for path in paths), _RELEASES),
            _separator="\n",
        )

    @override
    def process(self, output: list[str]) -> CniFilesState:
        values = lines.parse(output)
        return CniFilesState(
            files=lines.files(values),
            releases=lines.by_prefix(values, "release:"),
            mtu=int(values.get("mtu", "0")),
        )
