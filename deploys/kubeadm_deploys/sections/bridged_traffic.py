"""Guide section "Forwarding IPv4 and letting iptables see bridged traffic".

Afterwards the modules overlay and br_netfilter are available and the three sysctls are 1, now and at boot.
Source: Kubernetes documentation, "Container Runtimes", install and configure prerequisites.
"""

from dataclasses import dataclass, field

from pyinfra import host
from pyinfra.api import FactBase, deploy
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError
from pyinfra.operations import server
from typing_extensions import override

from kubeadm_deploys.operations.managed_files import write_files
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import read_for_plan
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class BridgedTrafficState:
    """Available ``modules``, loaded or built in; running ``sysctls``; sha256 of ``files`` by path."""

    modules: frozenset[str] = frozenset()
    sysctls: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    in_container: bool = False


class BridgedTraffic(FactBase[BridgedTrafficState]):
    """Read modules, sysctls and their files in one command.

    A module that is built into the kernel is not in /proc/modules, and not always in /sys/module. So the
    script looks for what the module provides: a filesystem type, a folder of sysctls.
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


MODULES = ("overlay", "br_netfilter")
SYSCTLS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.ipv4.ip_forward")

MODULES_FILE = "/etc/modules-load.d/k8s.conf"
SYSCTLS_FILE = "/etc/sysctl.d/k8s.conf"

LIMITS = {"fs.inotify.max_user_instances": 8192, "fs.inotify.max_user_watches": 524288}
"""What a node needs at least: with the kernel's 128 instances, some thirty pods end with "too many open files"."""

# A file for each, which exists only where the limit was too low, so that none is ever lowered. Files of
# /etc/sysctl.d are applied in the order of their names, so the administrator's own count more.
LIMITS_FILES = {
    key: f"/etc/sysctl.d/10-kubeadm-deploys-{key.rpartition('.')[2].replace('_', '-')}.conf" for key in LIMITS
}

_FILES = {
    MODULES_FILE: "".join(f"{module}\n" for module in MODULES),
    SYSCTLS_FILE: "".join(f"{key} = 1\n" for key in SYSCTLS),
}

READING = Reading.of(BridgedTraffic, paths=(*_FILES, *LIMITS_FILES.values()))


def missing_modules(found: BridgedTrafficState) -> list[str]:
    """Return the modules that are neither loaded nor built into the kernel."""
    return [module for module in MODULES if module not in found.modules]


def sysctls_differ(found: BridgedTrafficState) -> bool:
    """Return whether the running kernel has another value for one of the sysctls."""
    return any(found.sysctls.get(key) != "1" for key in SYSCTLS)


def low_limits(found: BridgedTrafficState) -> list[str]:
    """Return the limits that are too low; those of a container are those of the machine that runs it."""
    if found.in_container:
        return []
    return [key for key, least in LIMITS.items() if key in found.sysctls and int(found.sysctls[key]) < least]


def limit_files(found: BridgedTrafficState) -> dict[str, str]:
    """Return the wanted files of limits: those that are too low, and those that an earlier run raised."""
    low = low_limits(found)
    return {
        path: f"{key} = {LIMITS[key]}\n"
        for key, path in LIMITS_FILES.items()
        if key in low or path in found.files
    }


@deploy("Bridged traffic")
def configure_bridged_traffic() -> None:
    """Load overlay and br_netfilter, and let iptables see bridged traffic, now and after a reboot.

    Limits of inotify that are too low for a node are raised; higher ones stay. In a container the kernel
    belongs to the machine that runs it: a missing module is an error, the sysctls are those of the container's
    network namespace, and limits are left alone.

    Raises:
        DeployError: a module is missing in a container.
    """
    found = read_for_plan(host, READING)
    missing = missing_modules(found)
    if missing and found.in_container:
        raise DeployError(
            f"{host.name}: kernel module {missing[0]} is not loaded, and a container cannot load it; "
            f"run 'modprobe {' '.join(missing)}' on the machine that runs this container"
        )

    low = low_limits(found)
    write_files(wanted=_FILES | limit_files(found), found=found.files)
    if missing:
        server.shell(name="Load the kernel modules", commands=[f"modprobe --all {' '.join(missing)}"])
    if missing or sysctls_differ(found):
        server.shell(name="Set the sysctls in the running kernel", commands=[f"sysctl --load={SYSCTLS_FILE}"])
    if low:
        server.shell(
            name="Raise the limits of inotify", commands=[f"sysctl --load={LIMITS_FILES[key]}" for key in low]
        )
