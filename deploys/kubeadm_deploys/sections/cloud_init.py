"""Wait until the provider has finished setting up the machine.

A new machine answers over SSH while cloud-init still installs packages, and its private interface may come up
later or not at all. What is read or installed meanwhile is wrong, or fails much later with an unrelated
message.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pyinfra import host, logger
from pyinfra.api import FactBase, deploy
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError
from typing_extensions import override

from kubeadm_deploys.clouds import cloud_of
from kubeadm_deploys.documents.kubeadm_documents import kubelet_flags
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import PlanFact, Reading
from kubeadm_deploys.remote.progress import reported
from kubeadm_deploys.remote.reading import ask, ask_again, read, read_for_plan
from kubeadm_deploys.scripts import script

STILL_RUNNING = 124
"""The exit code of ``timeout`` when it had to stop its command."""

_FLAG = re.compile(r"--([-a-z]+)=([^\s\"]*)")


@dataclass(frozen=True, kw_only=True)
class Interface:
    """A network interface: its IPv4 ``addresses``, and whether it is ``up`` and has a link."""

    name: str
    mac: str
    up: bool
    addresses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CloudInitState:
    """How far the setup of a machine is.

    ``cloud_init`` is the exit code of ``cloud-init status`` (0 done or disabled, 1 error, 2 done with
    warnings, 124 still running) and ``cloud_init_said`` its output. ``interface`` is the name of the
    interface with the node's address; without one, ``seen`` are the machine's interfaces. ``kubelet_flags``
    are the flags that kubeadm gave the kubelet of a machine that is already a node, None on any other
    machine.
    """

    cloud_init: int = 0
    cloud_init_said: str = ""
    hostname: str = ""
    interface: str = ""
    seen: tuple[Interface, ...] = ()
    kubelet_flags: dict[str, str] | None = None


class CloudInit(FactBase[CloudInitState]):
    """Wait until cloud-init has finished and the interface with this MAC is up with the node's address, for
    ``timeout`` seconds each. With 0 it does not wait, and an unfinished cloud-init counts as still running.

    A fact although it waits: waiting changes nothing, and what is read afterwards must be true.
    """

    @override
    def command(self, timeout: int, node_ip: str, mac: str) -> StringCommand:
        return script("await-cloud-init", str(timeout), node_ip, mac)

    @override
    def process(self, output: list[str]) -> CloudInitState:
        values = lines.parse(output)
        # While it waits, cloud-init prints dots before its status.
        status = base64.b64decode(values.get("cloud_init_said", "")).decode(errors="replace").lstrip(".\n")
        return CloudInitState(
            cloud_init=int(values.get("cloud_init", "0")),
            cloud_init_said=status,
            hostname=values.get("hostname", ""),
            interface=values.get("interface", ""),
            seen=_interfaces(values.get("seen", "")),
            kubelet_flags=(
                dict(_FLAG.findall(values["kubelet_flags"])) if "kubelet_flags" in values else None
            ),
        )


class CloudInitInTime(CloudInit, PlanFact[CloudInitState]):
    """``CloudInit`` for a machine that the run waits for; it is read once more with everything else."""


def _interfaces(document: str) -> tuple[Interface, ...]:
    return tuple(
        Interface(
            name=entry["ifname"],
            mac=entry.get("address", ""),
            up="UP" in entry["flags"] and entry["operstate"] != "DOWN",
            addresses=tuple(info["local"] for info in entry["addr_info"] if info["family"] == "inet"),
        )
        for entry in json.loads(document or "[]")
    )


@deploy("Cloud-init")
def wait_for_cloud_init(*, options: ClusterOptions, node: Node) -> None:
    """Wait until the machine is what the inventory says; call it before everything else.

    Raises:
        DeployError: cloud-init did not finish, no interface got the node's address in time, the host name
            differs, or the machine is a node that joined with other flags.
    """
    if is_unfinished(read(host, reading(node)), node=node):
        with reported(host, f"waiting for cloud-init, and for an interface with {node.ip}"):
            ask(
                host,
                CloudInitInTime,
                # cloud-init and the interface may each take that long.
                seconds=2 * options.cloud_init_timeout + 60,
                timeout=options.cloud_init_timeout,
                node_ip=node.ip,
                mac=node.interface_mac,
            )
        # The machine's earlier answers are outdated.
        ask_again(host)
    # cloud-init's output may change, for example its time.
    found = read_for_plan(host, reading(node), counts=lambda found: replace(found, cloud_init_said=""))
    for warning in cloud_init_warnings(found):
        logger.warning(f"--> Warning: {host.name}: {warning}")
    problems = list(cloud_init_problems(found=found, options=options, node=node))
    if problems:
        raise DeployError(f"{host.name}: {'; and '.join(problems)}")


def reading(node: Node) -> Reading[CloudInitState]:
    """Return what the section reads of a machine, without waiting."""
    return Reading.of(CloudInit, timeout=0, node_ip=node.ip, mac=node.interface_mac)


def is_unfinished(found: CloudInitState, *, node: Node) -> bool:
    """Return whether a machine may still become by itself what the inventory says.

    Without a MAC there is nothing to wait for: then a wrong address is likelier than a late interface.
    """
    return found.cloud_init == STILL_RUNNING or not (found.interface or not node.interface_mac)


def cloud_init_warnings(found: CloudInitState) -> Iterator[str]:
    """Yield what the operator should know about a machine that can still become a node.

    cloud-init reports an error when any of its modules failed, in some clouds also when a private network
    came up late; what a node needs is checked separately.
    """
    if found.cloud_init == 1:
        status = " ".join(found.cloud_init_said.split())
        yield f"cloud-init ended with an error; check whether it matters: {status}"


def cloud_init_problems(*, found: CloudInitState, options: ClusterOptions, node: Node) -> Iterator[str]:
    """Yield each problem that keeps the machine from becoming this node, with its fix."""
    if found.cloud_init == STILL_RUNNING:
        yield (
            f"cloud-init has not finished after {options.cloud_init_timeout} s; "
            "look at /var/log/cloud-init-output.log on it, or raise cloud_init_timeout"
        )
    if cloud_of(options).names_are_host_names and found.hostname != node.name:
        yield (
            f"its host name is {found.hostname}, but its server is named {node.name}; "
            f"run 'hostnamectl set-hostname {node.name}' on it"
        )
    if not found.interface:
        yield f"{_interface_problem(found=found, node=node)}; {_interface_fix(options=options, node=node)}"
    wanted = kubelet_flags(options=options, node=node)
    if found.kubelet_flags is not None and (
        differences := list(differing_flags(found=found.kubelet_flags, wanted=wanted))
    ):
        yield (
            f"its kubelet runs with {' and '.join(differences)}, and these flags are only read when a node "
            "joins; set node_ip, cloud_provider and provider_id back, or remove the node with "
            "deploys/remove_node.py and run again"
        )


def differing_flags(*, found: Mapping[str, str], wanted: Mapping[str, str]) -> Iterator[str]:
    """Describe each flag of a node's kubelet that differs from the wanted one.

    Address and provider ID may be missing: then the kubelet or the cloud found them, as in a cluster that
    another tool created.
    """
    for flag in ("node-ip", "cloud-provider", "provider-id"):
        current, expected = found.get(flag, ""), wanted.get(flag, "")
        if current != expected and ((current and expected) or flag == "cloud-provider"):
            yield f"{flag} {current or 'unset'} instead of {expected or 'unset'}"


def _interface_problem(*, found: CloudInitState, node: Node) -> str:
    if not node.interface_mac:
        seen = ", ".join(f"{other.name} {address}" for other in found.seen for address in other.addresses)
        return f"no interface has the address {node.ip} (found: {seen or 'none'})"
    interface = next((other for other in found.seen if other.mac == node.interface_mac), None)
    if interface is None:
        return f"no interface has the MAC {node.interface_mac} of {node.ip}"
    if not interface.up:
        return f"interface {interface.name} of {node.ip} is down"
    addresses = ", ".join(interface.addresses) or "no address"
    return f"interface {interface.name} ({node.interface_mac}) has {addresses} instead of {node.ip}"


def _interface_fix(*, options: ClusterOptions, node: Node) -> str:
    if not node.interface_mac:
        return "set node_ip to an address that the machine has"
    reattach = cloud_of(options).reattach(options=options, node=node)
    return f"waited {options.cloud_init_timeout} s for it; {reattach}"
