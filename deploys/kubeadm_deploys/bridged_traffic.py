"""Guide section "Forwarding IPv4 and letting iptables see bridged traffic".

Afterwards the modules overlay and br_netfilter work and the three sysctls are 1, now and after a reboot.
Source: Kubernetes documentation, "Container Runtimes", install and configure prerequisites.
"""

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.operations import server

from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.bridged_traffic import BridgedTraffic, BridgedTrafficState
from kubeadm_deploys.facts.reading import read_for_plan
from kubeadm_deploys.managed_files import write_files

MODULES = ("overlay", "br_netfilter")
SYSCTLS = ("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables", "net.ipv4.ip_forward")

MODULES_FILE = "/etc/modules-load.d/k8s.conf"
SYSCTLS_FILE = "/etc/sysctl.d/k8s.conf"

_FILES = {
    MODULES_FILE: "".join(f"{module}\n" for module in MODULES),
    SYSCTLS_FILE: "".join(f"{key} = 1\n" for key in SYSCTLS),
}

READING = Reading.of(BridgedTraffic, paths=tuple(_FILES))


def missing_modules(found: BridgedTrafficState) -> list[str]:
    """The modules that neither are loaded nor built into the kernel."""
    return [module for module in MODULES if module not in found.modules]


def sysctls_differ(found: BridgedTrafficState) -> bool:
    """Whether the running kernel has another value for one of the sysctls."""
    return any(found.sysctls.get(key) != "1" for key in SYSCTLS)


@deploy("Bridged traffic")
def configure_bridged_traffic() -> None:
    """Load overlay and br_netfilter, and let iptables see bridged traffic, now and after a reboot.

    In a container the kernel belongs to the machine around it: a missing module is an error there, and
    the sysctls are the container's own (its network namespace's).

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

    write_files(wanted=_FILES, found=found.files)
    if missing:
        server.shell(name="Load the kernel modules", commands=[f"modprobe --all {' '.join(missing)}"])
    if missing or sysctls_differ(found):
        server.shell(name="Set the sysctls in the running kernel", commands=[f"sysctl --load={SYSCTLS_FILE}"])
