"""Properties of the machine that docker runs on, which all docker hosts share, read from inside a container.

Not read directly, because docker may run in a virtual machine (Docker Desktop) or remotely (DOCKER_HOST).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.lab.docker import LabError, docker

_SCRIPT = """
cat /etc/resolv.conf
[ ! -e /proc/sys/net/bridge ] || echo bridge-netfilter
[ ! -e /proc/config.gz ] || echo kernel-config
echo "inotify $(cat /proc/sys/fs/inotify/max_user_instances)"
"""


@dataclass(frozen=True)
class Machine:
    """The properties of a machine that containers share."""

    cgroup_v1: bool
    kernel_config: bool
    """Whether the kernel exposes its build configuration, which `kubeadm` checks."""
    inotify_instances: int
    """The limit for root, which all containers share."""
    nameservers: tuple[str, ...]
    """The nameservers that containers can reach: docker omits a resolver on the machine's loopback."""


def probe(*, image: str) -> Machine:
    """Read the machine's properties; fail if its kernel cannot run a cluster."""
    # Not in the lab's network, where docker's own DNS server hides the nameservers.
    seen = docker("run", "--rm", "--network=bridge", "--entrypoint=sh", image, "-c", _SCRIPT).splitlines()
    if "bridge-netfilter" not in seen:
        raise LabError(
            "the kernel module br_netfilter is not loaded on the machine that docker runs on, "
            "and hosts cannot load it: run `modprobe br_netfilter` there"
        )
    return Machine(
        cgroup_v1=docker("info", "--format={{.CgroupVersion}}").strip() == "1",
        kernel_config="kernel-config" in seen,
        inotify_instances=int(next(_values(seen, key="inotify"))),
        nameservers=tuple(_values(seen, key="nameserver")),
    )


def _values(lines: Iterable[str], *, key: str) -> Iterator[str]:
    return (line.split()[1] for line in lines if line.startswith(f"{key} "))
