"""Read a machine's hardware, system and network, and other runtimes and clusters on it."""

import ipaddress
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.kubeadm_node import SAVED_ETCD
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import TimedFact
from kubeadm_deploys.scripts import script

PORTS = (6443, 2379, 2380, 10250, 10257, 10259)
"""Ports of a node's own programs: API server, etcd (two), kubelet, controller manager, scheduler."""

DISKS = ("/", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd")

NETWORK_MTUS = range(626, 9217)
"""MTUs in bytes of interfaces that can carry pod traffic: from the least of an IPv4 pod (576) with VXLAN's header,
to the jumbo frames of common switches. The loopback interface has 65536.
"""

TOOLS = ("apt-get", "dpkg", "ip", "systemctl")
"""Programs that the sections use before they install anything."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """An IPv4 route: its network, device (empty without one) and protocol, its origin (empty if unknown)."""

    network: ipaddress.IPv4Network
    device: str = ""
    protocol: str = ""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The filesystem of a path: its mount point, and its ``free`` and total ``size`` in bytes."""

    mount: str
    free: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Clock:
    """The seconds by which a machine's clock is ahead of the operator's: between ``least`` and ``most``."""

    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """The state of a machine; values that could not be read are empty, zero or None.

    ``os`` is ID and VERSION_ID of /etc/os-release. ``missing_tools`` are programs, ``missing_modules`` kernel
    modules that are neither available nor loadable. ``cgroup`` is the cgroup version with its
    ``controllers``, ``memory`` is in bytes, ``disks`` are by path, ``macs`` and ``mtus`` (in bytes) by
    interface. ``addresses`` maps IPv4 addresses to interfaces. ``gateway_route`` is whether there is a route to
    the gateway of Calico's pods, which a default route is. ``listeners`` are TCP ports in use, each with the
    program's name, empty if unknown.

    ``processes`` are those of other runtimes and clusters, ``leftovers`` folders with data of such clusters,
    ``docker`` is the number of Docker's containers (None without Docker's folder), ``tasks`` the number of
    running containers by containerd namespace, ``etcd_entries`` are the entries of /var/lib/etcd. ``kubelet``
    is the installed package's version, ``api_server`` the release in the API server's manifest.

    ``cni_configurations`` are names of files in /etc/cni/net.d. ``kubelet_arguments`` is KUBELET_EXTRA_ARGS of
    /etc/default/kubelet, ``kubelet_units`` are unit files and drop-ins that override the kubelet's package.
    ``containerd_units`` are drop-ins that replace containerd's command, ``sysctl_files`` map files that turn one of
    the section's sysctls off to its name, and ``blocked_modules`` kernel modules to the file that blocks them.
    ``apt_sources`` are the URLs of Kubernetes repositories by apt's source file. ``firewalls`` are active
    firewalls and nftables chains that drop incoming traffic by default, ``network_managers`` what may configure
    the pods' interfaces. ``environment_proxies`` are the names of the variables with proxies in /etc/environment.
    ``broken_drop_ins`` are files with which containerd would not start, each with the reason.
    """

    clock: Clock | None = None
    os: tuple[str, str] = ("", "")
    architecture: str = ""
    kernel: str = ""
    in_container: bool = False
    systemd: bool | None = None
    missing_tools: tuple[str, ...] = ()
    missing_modules: tuple[str, ...] = ()
    cgroup: int = 0
    controllers: frozenset[str] = frozenset()
    memory: int = 0
    cpus: int = 0
    disks: dict[str, Disk] = field(default_factory=dict)
    hostname: str = ""
    machine_id: str = ""
    product_uuid: str = ""
    macs: dict[str, str] = field(default_factory=dict)
    mtus: dict[str, int] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    gateway_route: bool = True
    listeners: tuple[tuple[int, str], ...] = ()
    processes: frozenset[str] = frozenset()
    leftovers: tuple[str, ...] = ()
    docker: int | None = None
    tasks: dict[str, int] = field(default_factory=dict)
    etcd_entries: frozenset[str] = frozenset()
    kubelet: str = ""
    api_server: str = ""
    cni_configurations: tuple[str, ...] = ()
    kubelet_arguments: str = ""
    kubelet_units: tuple[str, ...] = ()
    containerd_units: tuple[str, ...] = ()
    sysctl_files: dict[str, str] = field(default_factory=dict)
    blocked_modules: dict[str, str] = field(default_factory=dict)
    apt_sources: dict[str, str] = field(default_factory=dict)
    firewalls: tuple[str, ...] = ()
    network_managers: tuple[str, ...] = ()
    environment_proxies: tuple[str, ...] = ()
    broken_drop_ins: dict[str, str] = field(default_factory=dict)

    def mtu_of(self, address: str) -> int:
        """Return the MTU of the interface with an address, 0 if it is unknown."""
        return self.mtus.get(self.addresses.get(address, ""), 0)


class Machine(TimedFact[MachineState]):
    """Read all of it in one command.

    The machine's clock is compared with the operator's. The machine reads its clock between the moment when
    the command is sent and the moment when its answer arrives, so the uncertainty is the time that the
    connection takes.
    """

    def __init__(self) -> None:
        self._asked = 0.0

    @override
    def command(self) -> StringCommand:
        # The command is created immediately before it is sent.
        self._asked = time.time()
        return script(
            "read-machine",
            " ".join(TOOLS),
            " ".join(DISKS),
            SAVED_ETCD,
        )

    @override
    def process(self, output: list[str]) -> MachineState:
        answered = time.time()
        values = lines.parse(output)
        rows = [line.split() for line in output if line.strip()]
        version, *controllers = values.get("cgroup", "0").split()
        return MachineState(
            clock=_clock(values, asked=self._asked, answered=answered, ended=self.ended),
            os=_pair(values.get("os", "")),
            architecture={"x86_64": "amd64", "aarch64": "arm64"}.get(
                values.get("architecture", ""), values.get("architecture", "")
            ),
            kernel=values.get("kernel", ""),
            in_container=values.get("container", "none") not in ("none", ""),
            systemd=values["systemd"] == "yes" if "systemd" in values else None,
            missing_tools=tuple(lines.by_prefix(values, "missing:")),
            missing_modules=tuple(lines.by_prefix(values, "no-module:")),
            cgroup=int(version),
            controllers=frozenset(controllers),
            memory=_number(values.get("memory", "")) * 1024,
            cpus=_number(values.get("cpus", "")),
            disks=dict(_disks(lines.by_prefix(values, "disk:"))),
            hostname=values.get("hostname", ""),
            machine_id=values.get("machine-id", ""),
            product_uuid=values.get("product-uuid", "").lower(),
            macs=lines.by_prefix(values, "mac:"),
            mtus={name: _number(mtu) for name, mtu in lines.by_prefix(values, "mtu:").items()},
            addresses=lines.by_prefix(values, "address:"),
            routes=tuple(_routes(rows)),
            gateway_route="no-gateway-route" not in values,
            listeners=tuple(sorted(set(_listeners(rows)))),
            processes=frozenset(lines.by_prefix(values, "process:")),
            leftovers=tuple(lines.by_prefix(values, "data:")),
            docker=_number(values["docker"]) if "docker" in values else None,
            tasks={name: _number(count) for name, count in lines.by_prefix(values, "tasks:").items()},
            etcd_entries=frozenset(lines.by_prefix(values, "etcd-entry:")),
            kubelet=values.get("kubelet", ""),
            api_server=values.get("api-server", ""),
            cni_configurations=tuple(lines.by_prefix(values, "cni-configuration:")),
            kubelet_arguments=values.get("kubelet-arguments", ""),
            kubelet_units=tuple(lines.by_prefix(values, "kubelet-unit:")),
            containerd_units=tuple(lines.by_prefix(values, "containerd-unit:")),
            sysctl_files=lines.by_prefix(values, "sysctl-file:"),
            blocked_modules=lines.by_prefix(values, "blocked-module:"),
            apt_sources=lines.by_prefix(values, "apt-source:"),
            firewalls=tuple(row.removeprefix("firewall:") for row in output if row.startswith("firewall:")),
            network_managers=tuple(lines.by_prefix(values, "network-manager:")),
            environment_proxies=tuple(lines.by_prefix(values, "environment-proxy:")),
            broken_drop_ins=lines.by_prefix(values, "containerd-drop-in:"),
        )


def network_of(machine: MachineState, address: str) -> ipaddress.IPv4Network | None:
    """Return the most specific network with this address to which a machine has a route, None if it has none.

    Default routes, and the halves by which a VPN replaces them, do not count.
    """
    found = ipaddress.IPv4Address(address)
    networks = [
        route.network for route in machine.routes if found in route.network and route.network.prefixlen > 1
    ]
    return max(networks, key=lambda network: network.prefixlen, default=None)


def _clock(values: dict[str, str], *, asked: float, answered: float, ended: float | None) -> Clock | None:
    try:
        started, finished = (float(values[key]) for key in ("started", "finished"))
    except (KeyError, ValueError):
        return None
    # Other facts of the same command may have taken longer.
    finished = ended or finished
    # If the clock was set in between, the two bounds may be swapped.
    least, most = sorted((finished - answered, started - asked))
    return Clock(least=least, most=most)


def _disks(found: dict[str, str]) -> Iterator[tuple[str, Disk]]:
    for path, value in found.items():
        free, rest = _pair(value)
        size, mount = _pair(rest)
        if free.isdecimal() and size.isdecimal():
            yield path, Disk(mount=mount, free=int(free) * 1024, size=int(size) * 1024)


def _routes(rows: Iterable[list[str]]) -> Iterator[Route]:
    """Yield routes from iproute2's output or from /proc/net/route, which is hexadecimal and little-endian."""
    for kind, *words in rows:
        if kind == "kernel-route":
            device, destination, mask = words
            network, netmask = (int.from_bytes(bytes.fromhex(text), "little") for text in (destination, mask))
            # Blackhole routes have no device there; on nodes they belong to the pod network.
            if netmask and device != "*":
                prefix = f"{ipaddress.IPv4Address(network)}/{ipaddress.IPv4Address(netmask)}"
                yield Route(network=ipaddress.IPv4Network(prefix), device=device)
        elif kind == "route":
            # Blackhole routes have their type before the network; lines of further hops have no network.
            target = next((word for word in words[:2] if word[0].isdecimal()), "")
            named = dict(itertools.pairwise(words))
            if target:
                yield Route(
                    network=ipaddress.IPv4Network(target, strict=False),
                    device=named.get("dev", ""),
                    protocol=named.get("proto", ""),
                )


def _listeners(rows: Iterable[list[str]]) -> Iterator[tuple[int, str]]:
    for kind, *words in rows:
        if kind == "listener" and words[0].isdecimal():
            yield int(words[0]), " ".join(words[1:])
        elif kind == "kernel-listener":
            yield int(words[0], 16), ""


def _pair(value: str) -> tuple[str, str]:
    first, _, second = value.partition(" ")
    return first, second


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
