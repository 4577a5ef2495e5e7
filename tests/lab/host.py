"""What a docker host is, and which ones a cluster still lacks. Nothing here talks to docker."""

import ipaddress
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.lab import layout
from tests.lab.docker import LabError
from tests.lab.layout import LABEL
from tests.lab.probe import Machine

CLUSTER_LABEL = f"{LABEL}.cluster"
GROUP_LABEL = f"{LABEL}.group"
DATA_LABEL = f"{LABEL}.data"
DEBIAN_LABEL = f"{LABEL}.debian"

NAMES = {"control_plane": "control-plane", "workers": "worker"}
"""What the hosts of each inventory group are called."""

INOTIFY_INSTANCES = {"control_plane": 30, "workers": 17}
"""How many a node has open with Kubernetes 1.36 and Calico (counted below /proc); most are the kubelet's, systemd's and
on control planes those of two Kubernetes programs that watch their certificates."""

FIRST_ADDRESS = "10.213.0.10"


@dataclass(frozen=True)
class Host:
    """One docker host, running or stopped."""

    name: str
    """Of the container and of the machine in it."""
    address: str
    cluster: str
    group: str
    """Inventory group: control_plane or workers."""
    debian: int
    data: Mapping[str, Any]
    """Host data that the inventory gives pyinfra."""
    running: bool = False

    @property
    def labels(self) -> dict[str, str]:
        """What marks its container."""
        return {
            LABEL: "host",
            CLUSTER_LABEL: self.cluster,
            GROUP_LABEL: self.group,
            DEBIAN_LABEL: str(self.debian),
            DATA_LABEL: json.dumps(self.data, sort_keys=True),
        }


def from_container(container: Mapping[str, Any]) -> Host:
    """A host from what `docker inspect` says about its container."""
    labels = container["Config"]["Labels"]
    return Host(
        name=container["Name"].removeprefix("/"),
        # The configured one: a stopped container has no other.
        address=container["NetworkSettings"]["Networks"][layout.NETWORK]["IPAMConfig"]["IPv4Address"],
        cluster=labels[CLUSTER_LABEL],
        group=labels[GROUP_LABEL],
        debian=int(labels[DEBIAN_LABEL]),
        data=json.loads(labels[DATA_LABEL]),
        running=container["State"]["Running"],
    )


def order(host: Host) -> tuple[str, int, int]:
    """Sort key: by cluster, control planes first, each group by number."""
    return host.cluster, list(NAMES).index(host.group), int(host.name.rpartition("-")[2])


def lab_data(*, cluster: str, machine: Machine) -> dict[str, Any]:
    """Settings, open to any user, that a host needs because it shares its kernel with a machine."""
    data: dict[str, Any] = {
        "cluster_name": cluster,
        # Swap is the whole machine's: switching it off in one host would switch it off for everybody.
        "swap": "keep",
        # nf_conntrack_max belongs to the machine as well, and kube-proxy fails when it cannot set it.
        "kube_proxy_configuration": {"conntrack": {"maxPerCore": 0, "min": 0}},
        # Hosts are not given SYS_RESOURCE, without which nothing may lower its oom_score_adj below the host's own.
        "containerd_restrict_oom_score_adj": True,
        "kubelet_configuration": {
            # The disk is the machine's as well: what else is on it, and how full it is, is no reason to end pods.
            "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            # An API server that comes up before its etcd, after every reboot, is started again at once, not after 10, 20
            # and 40 s: most of what tests wait for.
            "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        },
    }
    if machine.cgroup_v1:
        data["kubelet_configuration"]["failCgroupV1"] = False
    # kubeadm refuses cgroup v1 whatever the kubelet's configuration says, and a kernel that does not tell its own.
    if machine.cgroup_v1 or not machine.kernel_config:
        data["ignore_preflight_errors"] = ["SystemVerification"]
    return data


def missing_hosts(
    *,
    cluster: str,
    counts: Mapping[str, int],
    debian: Sequence[int],
    everyone: Iterable[Host],
) -> list[Host]:
    """The hosts that have to be made, with addresses that no other host has, be it running or stopped.

    Their data is what only they have.
    """
    taken = {host.name: host.address for host in everyone}
    addresses = free_addresses(taken=set(taken.values()))
    wanted = [
        (group, f"{cluster}-{NAMES[group]}-{number + 1}")
        for group, count in counts.items()
        for number in range(count)
    ]
    missing = []
    for (group, name), release in zip(wanted, itertools.cycle(debian), strict=False):
        if name in taken:
            continue
        address = next(addresses, None)
        if address is None:
            raise LabError(f"{layout.SUBNET} has no free address for {name}: remove other hosts first")
        own = {"node_name": name, "node_ip": address}
        missing.append(
            Host(name=name, address=address, cluster=cluster, group=group, debian=release, data=own)
        )
    return missing


def load_balancer_ranges(hosts: Iterable[Host]) -> dict[str, str]:
    """The range of every cluster that has one, with the address to lead it to: that of its first control plane."""
    return {
        host.data["load_balancer_range"]: host.address
        for host in hosts
        if host.data.get("load_balancer_range") and order(host)[1:] == (0, 1)
    }


def free_addresses(*, taken: set[str]) -> Iterator[str]:
    """Addresses for hosts, in order."""
    every = map(str, ipaddress.ip_network(layout.SUBNET).hosts())
    for_hosts = itertools.dropwhile(lambda address: address != FIRST_ADDRESS, every)
    return (address for address in for_hosts if address not in taken)


def refuse_other_data(*, hosts: Iterable[Host], data: Mapping[str, Any]) -> None:
    """Labels cannot be changed, so that settings other than a host was made with would silently be ignored."""
    for host in hosts:
        for key, value in data.items():
            if host.data.get(key) != value:
                raise LabError(
                    f"{host.name} was made with {key}={host.data.get(key)!r} and not {value!r}: remove the hosts first "
                    f"(`python -m tests.lab.hosts down --cluster {host.cluster}`) or leave the setting as it was"
                )


def inotify_instances(hosts: Iterable[Host]) -> int:
    """How many clusters on all these hosts have open, about."""
    return sum(INOTIFY_INSTANCES[host.group] for host in hosts)


def crowding(*, hosts: Iterable[Host], machine: Machine) -> str:
    """What to tell the user when clusters on all these hosts need more than the machine allows; nothing otherwise."""
    needed = inotify_instances(hosts)
    if needed <= machine.inotify_instances:
        return ""
    return (
        f"clusters on all hosts need about {needed} inotify instances and this machine allows "
        f"{machine.inotify_instances}: some programs will fail with 'too many open files'; remove other hosts, "
        "or set `sysctl fs.inotify.max_user_instances=1024` on the machine"
    )
