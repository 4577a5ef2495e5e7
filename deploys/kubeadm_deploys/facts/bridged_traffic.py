"""What a machine's kernel does with bridged traffic."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines

_SCRIPT = """
grep -qw overlay /proc/filesystems && echo 'module:overlay loaded'
[ -d /proc/sys/net/bridge ] && echo 'module:br_netfilter loaded'
for key in net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables net.ipv4.ip_forward; do
  path=/proc/sys/$(echo "$key" | tr . /)
  [ -f "$path" ] && echo "sysctl:$key $(cat "$path")"
done
echo "container $(systemd-detect-virt --container 2>/dev/null)"
"""


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
        return StringCommand(_SCRIPT, lines.files_script(paths), _separator="\n")

    @override
    def process(self, output: list[str]) -> BridgedTrafficState:
        values = lines.parse(output)
        return BridgedTrafficState(
            modules=frozenset(lines.by_prefix(values, "module:")),
            sysctls=lines.by_prefix(values, "sysctl:"),
            files=lines.files(values),
            in_container=values.get("container", "none") not in ("none", ""),
        )
