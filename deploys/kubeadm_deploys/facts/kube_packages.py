"""Which Kubernetes packages a machine has, and where apt takes them from."""

import base64
from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class KubePackagesState:
    """Version by installed package, the ``held`` packages, the keyring's bytes and sha256 of ``files``.

    ``kubelet`` is what its unit is of ``enabled`` and ``active``, and ``has-node`` when kubeadm has made a node of the
    machine.
    """

    versions: dict[str, str] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    kubelet: frozenset[str] = frozenset()
    keyring: bytes = b""
    files: dict[str, str] = field(default_factory=dict)


class KubePackages(FactBase[KubePackagesState]):
    """Packages, holds and apt's sources, in one command."""

    @override
    def command(self, packages: tuple[str, ...], keyring: str, paths: tuple[str, ...]) -> StringCommand:
        return script("read-kube-packages", " ".join(packages), keyring, *paths)

    @override
    def process(self, output: list[str]) -> KubePackagesState:
        values = lines.parse(output)
        return KubePackagesState(
            versions=lines.by_prefix(values, "package:"),
            held=frozenset(lines.by_prefix(values, "held:")),
            kubelet=frozenset(lines.by_prefix(values, "kubelet:")),
            keyring=base64.b64decode(values.get("keyring", "")),
            files=lines.files(values),
        )


class AptRepositoryKey(FactBase[str]):
    """The armoured key that a repository publishes, fetched by the machine the way its apt fetches packages."""

    @override
    def command(self, url: str) -> StringCommand:
        return script("fetch-repository-key", url)

    @override
    def process(self, output: list[str]) -> str:
        return "\n".join(output)
