"""The proxy to the API servers that a worker has of its own."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class LocalProxyState:
    """Whether haproxy is ``installed``, our unit ``running`` (now and after a reboot), and Debian's own service enabled
    although nothing is configured for it (``idle_service``); sha256 of ``files`` by path.
    """

    installed: bool = False
    running: bool = False
    idle_service: bool = False
    files: dict[str, str] = field(default_factory=dict)


class LocalProxy(FactBase[LocalProxyState]):
    """Package, unit and files in one command."""

    @override
    def command(self, unit: str, paths: tuple[str, ...]) -> StringCommand:
        return script("read-local-proxy", unit, *paths)

    @override
    def process(self, output: list[str]) -> LocalProxyState:
        values = lines.parse(output)
        return LocalProxyState(
            installed="installed" in values,
            running=(values.get("active"), values.get("enabled")) == ("active", "enabled"),
            idle_service="idle-service" in values,
            files=lines.files(values),
        )
