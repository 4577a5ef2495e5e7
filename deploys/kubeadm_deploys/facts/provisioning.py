"""Whether a machine is what the inventory says: cloud-init has finished, host name, interface, flags of a kubelet."""

import base64
import json
import re
from dataclasses import dataclass

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines

# $1 is the time in seconds, $2 the node's address, $3 the MAC of its interface or nothing.
#
# A machine that is a node already is past its provisioning: what cloud-init says there is old, and asking it takes
# half a second. Without a MAC there is nothing to wait for: then a wrong address is likelier than a late interface.
_SCRIPT = r"""
deadline=$(($(date +%s) + $1))
if command -v cloud-init > /dev/null && [ ! -e /etc/kubernetes/kubelet.conf ]; then
  said=$(timeout "$1" cloud-init status --wait --long 2>&1 < /dev/null)
  echo "cloud_init $?"
  echo "cloud_init_said $(printf %s "$said" | base64 -w 0)"
fi
echo "hostname $(hostname)"
found() {
  for name in $(ip -oneline -4 address show up to "$2" | awk '{print $2}'); do
    if [ "$(cat "/sys/class/net/$name/operstate")" = down ]; then continue; fi
    if [ -z "$3" ] || [ "$(cat "/sys/class/net/$name/address")" = "$3" ]; then echo "$name"; return 0; fi
  done
  return 1
}
until interface=$(found "$@") || [ -z "$3" ] || [ "$(date +%s)" -ge "$deadline" ]; do sleep 1; done
if [ -n "$interface" ]; then
  echo "interface $interface"
else
  echo "seen $(ip -json address show | tr -d '\n')"
fi
if [ -e /etc/kubernetes/kubelet.conf ] && [ -f /var/lib/kubelet/kubeadm-flags.env ]; then
  echo "kubelet_flags $(tr '\n' ' ' < /var/lib/kubelet/kubeadm-flags.env)"
fi
"""

_FLAG = re.compile(r"--([-a-z]+)=([^\s\"]*)")


@dataclass(frozen=True, kw_only=True)
class Interface:
    """A network interface as it is: IPv4 ``addresses``, and whether it is ``up`` and has a link."""

    name: str
    mac: str
    up: bool
    addresses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ProvisioningState:
    """How far a machine is.

    ``cloud_init`` is the exit code of ``cloud-init status`` (0 done or disabled, 1 error, 2 done with warnings, 124
    still running) and ``cloud_init_said`` its words. ``interface`` is the name of the interface that has the node's
    address; without one, ``seen`` are those that are there. ``kubelet_flags`` are those that kubeadm gave the kubelet
    of a machine that is a node already, None on any other.
    """

    cloud_init: int = 0
    cloud_init_said: str = ""
    hostname: str = ""
    interface: str = ""
    seen: tuple[Interface, ...] = ()
    kubelet_flags: dict[str, str] | None = None


class Provisioning(FactBase[ProvisioningState]):
    """Waits until cloud-init has finished and the interface with this MAC is up with the node's address.

    A fact, although it takes its time: waiting changes nothing, and what is read after it has to be true.
    """

    @override
    def command(self, timeout: int, node_ip: str, mac: str) -> StringCommand:
        return StringCommand(
            StringCommand("set --", str(timeout), QuoteString(node_ip), QuoteString(mac)),
            _SCRIPT,
            _separator="\n",
        )

    @override
    def process(self, output: list[str]) -> ProvisioningState:
        values = lines.parse(output)
        # While it waits, cloud-init prints dots before its words.
        said = base64.b64decode(values.get("cloud_init_said", "")).decode(errors="replace").lstrip(".\n")
        return ProvisioningState(
            cloud_init=int(values.get("cloud_init", "0")),
            cloud_init_said=said,
            hostname=values.get("hostname", ""),
            interface=values.get("interface", ""),
            seen=_interfaces(values.get("seen", "")),
            kubelet_flags=(
                dict(_FLAG.findall(values["kubelet_flags"])) if "kubelet_flags" in values else None
            ),
        )


def _interfaces(document: str) -> tuple[Interface, ...]:
    return tuple(
        Interface(
            name=each["ifname"],
            mac=each.get("address", ""),
            up="UP" in each["flags"] and each["operstate"] != "DOWN",
            addresses=tuple(info["local"] for info in each["addr_info"] if info["family"] == "inet"),
        )
        for each in json.loads(document or "[]")
    )
