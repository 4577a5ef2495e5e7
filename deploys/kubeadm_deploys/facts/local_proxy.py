"""The proxy to the API servers that a worker has of its own."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines

# Debian's service is enabled as soon as the package is there. As long as its configuration is the package's own, which
# has no listener, nobody uses it.
_SCRIPT = r"""
if [ -x /usr/sbin/haproxy ]; then echo installed; fi
echo "active $(systemctl is-active "$unit")"
echo "enabled $(systemctl is-enabled "$unit" 2>/dev/null)"
packaged=$(dpkg-query --show --showformat '${Conffiles}\n' haproxy 2>/dev/null | sed -n 's|^ /etc/haproxy/haproxy.cfg ||p')
if [ -n "$packaged" ] && [ "$(md5sum < /etc/haproxy/haproxy.cfg | cut -c1-32)" = "$packaged" ] &&
   [ "$(systemctl is-enabled haproxy.service 2>/dev/null)" = enabled ]; then echo idle-service; fi
"""


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
        return StringCommand(
            StringCommand("unit=", QuoteString(unit), _separator=""),
            _SCRIPT,
            lines.files_script(paths),
            _separator="\n",
        )

    @override
    def process(self, output: list[str]) -> LocalProxyState:
        values = lines.parse(output)
        return LocalProxyState(
            installed="installed" in values,
            running=(values.get("active"), values.get("enabled")) == ("active", "enabled"),
            idle_service="idle-service" in values,
            files=lines.files(values),
        )
