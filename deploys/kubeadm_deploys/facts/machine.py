"""What a machine is before anything is made of it: its size, its kernel, its neighbours, and who else uses it."""

import ipaddress
import itertools
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.facts.answers import TimedFact
from kubeadm_deploys.facts.kubeadm_node import SAVED_ETCD
from kubeadm_deploys.scripts import script

PORTS = (6443, 2379, 2380, 10250, 10257, 10259)
"""Ports that a node's own programs listen on: API server, etcd's two, kubelet, controller manager, scheduler."""

DISKS = ("/", "/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd")

TOOLS = ("apt-get", "dpkg", "ip", "systemctl")
"""What the sections use before they install anything."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """An IPv4 route: to which network, by which device (empty when by none), and who made it (empty if unknown)."""

    network: ipaddress.IPv4Network
    device: str = ""
    protocol: str = ""


@dataclass(frozen=True, kw_only=True)
class Disk:
    """The filesystem of a path: where it is mounted, and how many bytes of its ``size`` are ``free``."""

    mount: str
    free: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Clock:
    """How many seconds a machine's clock is ahead of the operator's: surely between ``least`` and ``most``."""

    least: float
    most: float


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """A machine as it is found; what could not be read is empty, zero or None.

    ``os`` is ID and VERSION_ID of /etc/os-release. ``missing_tools`` are programs, ``missing_modules`` those that
    neither work nor can be loaded. ``cgroup`` is the version of the control groups with its ``controllers``,
    ``memory`` in bytes, ``disks`` by path. ``macs`` by interface, ``addresses`` (IPv4) with their interface, and
    ``listeners`` the TCP ports that are listened on, each with the program's name, empty when nobody knows it.

    ``processes`` are those of other runtimes and clusters, ``leftovers`` folders with such a cluster's data,
    ``docker`` the number of Docker's containers (None without Docker's folder), ``tasks`` that of running containers
    by containerd's namespace, ``etcd_entries`` what lies in /var/lib/etcd. ``kubelet`` is the installed package's
    version, ``api_server`` the release that is to run here.
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
    addresses: dict[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    listeners: tuple[tuple[int, str], ...] = ()
    processes: frozenset[str] = frozenset()
    leftovers: tuple[str, ...] = ()
    docker: int | None = None
    tasks: dict[str, int] = field(default_factory=dict)
    etcd_entries: frozenset[str] = frozenset()
    kubelet: str = ""
    api_server: str = ""


class Machine(TimedFact[MachineState]):
    """All of it in one command.

    The machine's clock is compared with this one's. Each reading of it lies between the moments at which the command
    left and its answer came, so the difference is known to within what the connection took.
    """

    def __init__(self) -> None:
        self._asked = 0.0

    @override
    def command(self) -> StringCommand:
        # It is made right before it is sent.
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
            addresses=lines.by_prefix(values, "address:"),
            routes=tuple(_routes(rows)),
            listeners=tuple(_listeners(rows)),
            processes=frozenset(lines.by_prefix(values, "process:")),
            leftovers=tuple(lines.by_prefix(values, "data:")),
            docker=_number(values["docker"]) if "docker" in values else None,
            tasks={name: _number(count) for name, count in lines.by_prefix(values, "tasks:").items()},
            etcd_entries=frozenset(lines.by_prefix(values, "etcd-entry:")),
            kubelet=values.get("kubelet", ""),
            api_server=values.get("api-server", ""),
        )


def _clock(values: dict[str, str], *, asked: float, answered: float, ended: float | None) -> Clock | None:
    try:
        started, finished = (float(values[key]) for key in ("started", "finished"))
    except (KeyError, ValueError):
        return None
    # What else was asked may have taken longer.
    finished = ended or finished
    # A clock that was set in between leaves no time for both.
    least, most = sorted((finished - answered, started - asked))
    return Clock(least=least, most=most)


def _disks(found: dict[str, str]) -> Iterator[tuple[str, Disk]]:
    for path, value in found.items():
        free, rest = _pair(value)
        size, mount = _pair(rest)
        if free.isdecimal() and size.isdecimal():
            yield path, Disk(mount=mount, free=int(free) * 1024, size=int(size) * 1024)


def _routes(rows: Iterable[list[str]]) -> Iterator[Route]:
    """Routes as iproute2 prints them, or as /proc/net/route has them: hexadecimal, the least byte first."""
    for kind, *words in rows:
        if kind == "kernel-route":
            device, destination, mask = words
            network, netmask = (int.from_bytes(bytes.fromhex(each), "little") for each in (destination, mask))
            # Routes that lead nowhere have no device there; on nodes they are Calico's.
            if netmask and device != "*":
                prefix = f"{ipaddress.IPv4Address(network)}/{ipaddress.IPv4Address(netmask)}"
                yield Route(network=ipaddress.IPv4Network(prefix), device=device)
        elif kind == "route":
            # Routes that lead nowhere have their kind before the network; further hops have a line each, without one.
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
