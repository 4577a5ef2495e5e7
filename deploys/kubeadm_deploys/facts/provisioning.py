"""Whether a machine is what the inventory says: cloud-init has finished, host name, interface, flags of a kubelet."""

import base64
import json
import re
from dataclasses import dataclass

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.facts.answers import PlanFact
from kubeadm_deploys.scripts import script

STILL_RUNNING = 124
"""What ``timeout`` ends with when it had to end its command."""

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
    """Waits until cloud-init has finished and the interface with this MAC is up with the node's address, for ``timeout``
    seconds each; with 0 it does not wait, and cloud-init that has not finished is one that still runs.

    A fact, although it takes its time: waiting changes nothing, and what is read after it has to be true.
    """

    @override
    def command(self, timeout: int, node_ip: str, mac: str) -> StringCommand:
        return script("await-provisioning", str(timeout), node_ip, mac)

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


class ProvisioningInTime(Provisioning, PlanFact[ProvisioningState]):
    """The same for a machine that is waited for; what it is then is read once more with everything else."""


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
