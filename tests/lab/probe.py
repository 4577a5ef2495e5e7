"""What every docker host takes over from the machine that docker runs on, asked from inside a container.

Asked there and not here: docker may run in a virtual machine (Docker Desktop) or elsewhere (DOCKER_HOST).
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
    """The parts of a machine that containers share."""

    cgroup_v1: bool
    kernel_config: bool
    """Whether the kernel shows how it was built, which `kubeadm` wants to check."""
    inotify_instances: int
    """How many root may have, which all containers together use up."""
    nameservers: tuple[str, ...]
    """Those that containers can reach: docker leaves out a resolver that listens on the machine's loopback only."""


def probe(*, image: str) -> Machine:
    """Look at the machine; refuse one whose kernel cannot carry a cluster."""
    # Not the lab's own network: there docker answers for every name itself and hides the nameservers.
    seen = docker("run", "--rm", "--network=bridge", "--entrypoint=sh", image, "-c", _SCRIPT).splitlines()
    if "bridge-netfilter" not in seen:
        raise LabError(
            "the kernel module br_netfilter is not loaded on the machine that docker runs on, "
            "and hosts may not load it: run `modprobe br_netfilter` there"
        )
    return Machine(
        cgroup_v1=docker("info", "--format={{.CgroupVersion}}").strip() == "1",
        kernel_config="kernel-config" in seen,
        inotify_instances=int(next(_values(seen, key="inotify"))),
        nameservers=tuple(_values(seen, key="nameserver")),
    )


def _values(lines: Iterable[str], *, key: str) -> Iterator[str]:
    return (line.split()[1] for line in lines if line.startswith(f"{key} "))
