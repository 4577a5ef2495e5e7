"""What a machine's kernel does with bridged traffic."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class BridgedTrafficState:
    """``modules`` that work, whether loaded or built into the kernel; running ``sysctls``; sha256 of ``files``."""

    modules: frozenset[str] = frozenset()
    sysctls: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    in_container: bool = False


class BridgedTraffic(FactBase[BridgedTrafficState]):
    """Modules, sysctls and their files, in one command.

    A module that is built into the kernel is in neither /proc/modules nor (always) /sys/module, so what
    it provides is looked for: a filesystem type, a folder of sysctls.
    """

    @override
    def command(self, paths: tuple[str, ...]) -> StringCommand:
        return script("read-bridged-traffic", *paths)

    @override
    def process(self, output: list[str]) -> BridgedTrafficState:
        values = lines.parse(output)
        return BridgedTrafficState(
            modules=frozenset(lines.by_prefix(values, "module:")),
            sysctls=lines.by_prefix(values, "sysctl:"),
            files=lines.files(values),
            in_container=values.get("container", "none") not in ("none", ""),
        )
