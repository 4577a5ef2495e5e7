"""Which DNS servers a machine asks."""

import base64
from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class ResolverState:
    """Contents of the resolver ``sources`` by path, and sha256 of ``files``."""

    sources: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


class Resolver(FactBase[ResolverState]):
    """Resolver configurations, in one command."""

    @override
    def command(self, sources: tuple[str, ...], paths: tuple[str, ...]) -> StringCommand:
        return script("read-resolver", *sources, "--", *paths)

    @override
    def process(self, output: list[str]) -> ResolverState:
        values = lines.parse(output)
        return ResolverState(
            sources={
                path: base64.b64decode(content).decode(errors="replace")
                for path, content in lines.by_prefix(values, "source:").items()
            },
            files=lines.files(values),
        )
