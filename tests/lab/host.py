"""Docker hosts as data, and which hosts a cluster lacks. Nothing here talks to docker."""

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
"""The word in the host names of each inventory group."""

INOTIFY_INSTANCES = {"control_plane": 30, "workers": 17}
"""Open inotify instances per node with Kubernetes 1.36 and Calico (counted in /proc): mostly of the kubelet
and systemd, and on control planes of two Kubernetes programs that watch their certificates."""

FIRST_ADDRESS = "10.213.0.10"


@dataclass(frozen=True)
class Host:
    """One docker host, running or stopped."""

    name: str
    """Name of the container, and host name in it."""
    address: str
    cluster: str
    group: str
    """Inventory group: control_plane or workers."""
    debian: int
    data: Mapping[str, Any]
    """Host data for pyinfra."""
    running: bool = False

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its container."""
        return {
            LABEL: "host",
            CLUSTER_LABEL: self.cluster,
            GROUP_LABEL: self.group,
            DEBIAN_LABEL: str(self.debian),
            DATA_LABEL: json.dumps(self.data, sort_keys=True),
        }


def from_container(container: Mapping[str, Any]) -> Host:
    """Return the host that `docker inspect` describes."""
    labels = container["Config"]["Labels"]
    return Host(
        name=container["Name"].removeprefix("/"),
        # The configured address: a stopped container has no other.
        address=container["NetworkSettings"]["Networks"][layout.NETWORK]["IPAMConfig"]["IPv4Address"],
        cluster=labels[CLUSTER_LABEL],
        group=labels[GROUP_LABEL],
        debian=int(labels[DEBIAN_LABEL]),
        data=json.loads(labels[DATA_LABEL]),
        running=container["State"]["Running"],
    )


def order(host: Host) -> tuple[str, int, int]:
    """Return a sort key: by cluster, control planes first, then by number."""
    return host.cluster, list(NAMES).index(host.group), int(host.name.rpartition("-")[2])


def lab_data(*, cluster: str, machine: Machine) -> dict[str, Any]:
    """Return the options that a host needs because it shares its kernel with the machine."""
    data: dict[str, Any] = {
        "cluster_name": cluster,
        # Swap belongs to the machine: disabling it in one host would disable it everywhere.
        "swap": "keep",
        # nf_conntrack_max belongs to the machine, and kube-proxy fails if it cannot set it.
        "kube_proxy_configuration": {"conntrack": {"maxPerCore": 0, "min": 0}},
        # Hosts lack SYS_RESOURCE, which is needed to lower oom_score_adj below that of the host.
        "containerd_restrict_oom_score_adj": True,
        "kubelet_configuration": {
            # The disk belongs to the machine: pods must not be evicted because it is full of other files.
            "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
            "imageGCHighThresholdPercent": 100,
            # After a reboot the API server starts before etcd and fails: restart it at once, not after 10, 20
            # and 40 s, for which tests would wait most of their time.
            "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        },
    }
    if machine.cgroup_v1:
        data["kubelet_configuration"]["failCgroupV1"] = False
    # kubeadm refuses cgroup v1 regardless of the kubelet's configuration, and a kernel without config.gz.
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
    """Return the hosts to create, with addresses that no running or stopped host has.

    Their data holds only what differs between hosts.
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
            raise LabError(f"{layout.SUBNET} has no free address for {name}: remove other hosts")
        data = {"node_name": name, "node_ip": address}
        missing.append(
            Host(name=name, address=address, cluster=cluster, group=group, debian=release, data=data)
        )
    return missing


def service_load_balancer_cidrs(hosts: Iterable[Host]) -> dict[str, str]:
    """Return each cluster's load balancer range, with the address of its first control plane."""
    return {
        host.data["service_load_balancer_cidr"]: host.address
        for host in hosts
        if host.data.get("service_load_balancer_cidr") and order(host)[1:] == (0, 1)
    }


def free_addresses(*, taken: set[str]) -> Iterator[str]:
    """Yield free host addresses in order."""
    addresses = map(str, ipaddress.ip_network(layout.SUBNET).hosts())
    for_hosts = itertools.dropwhile(lambda address: address != FIRST_ADDRESS, addresses)
    return (address for address in for_hosts if address not in taken)


def refuse_other_data(*, hosts: Iterable[Host], data: Mapping[str, Any]) -> None:
    """Refuse data that differs from an existing host's, because its labels cannot be changed."""
    for host in hosts:
        for key, value in data.items():
            if host.data.get(key) != value:
                raise LabError(
                    f"{host.name} was created with {key}={host.data.get(key)!r}, not {value!r}: remove the "
                    f"hosts (`python -m tests.lab.hosts down --cluster {host.cluster}`) or keep the old value"
                )


def inotify_instances(hosts: Iterable[Host]) -> int:
    """Return about how many inotify instances clusters on these hosts have open."""
    return sum(INOTIFY_INSTANCES[host.group] for host in hosts)


def crowding(*, hosts: Iterable[Host], machine: Machine) -> str:
    """Return a warning if clusters on these hosts need too many inotify instances, else an empty string."""
    needed = inotify_instances(hosts)
    if needed <= machine.inotify_instances:
        return ""
    return (
        f"clusters on all hosts need about {needed} inotify instances, but this machine allows "
        f"{machine.inotify_instances}: some programs will fail with 'too many open files'; remove other "
        "hosts, or set `sysctl fs.inotify.max_user_instances=1024` on the machine"
    )
