"""What a cluster leaves on a machine, looked for with the machine's own means."""

from dataclasses import dataclass

from tests.e2e.conftest import Cluster

_FOLDERS = (
    *("/etc/cni", "/etc/kubernetes", "/opt/cni", "/var/lib/calico", "/var/lib/cni", "/var/lib/etcd"),
    *("/var/lib/kubelet", "/var/log/calico", "/var/log/containers", "/var/log/pods", "/run/calico"),
    *("/run/nodeagent", "/root/.kube"),
)
_LISTED = f"find {' '.join(_FOLDERS)} ! -type d 2> /dev/null | sort"

# What dpkg knows comes from packages, and the reference CNI plugins from their release.
_OF_THE_CLUSTER = (
    f"{_LISTED} | while read -r path; do "
    "case $path in /opt/cni/bin/calico*) echo $path ;; /opt/cni/bin/*) ;; "
    "*) dpkg --search $path > /dev/null 2>&1 || echo $path ;; esac; done"
)

# Chains of the tables themselves, empty and with the policy ACCEPT, are there as soon as anybody has looked.
_RULES = (
    "for save in iptables-save ip6tables-save; do "
    "if command -v $save > /dev/null; then $save | grep -v -e '^#' -e '^[*]' -e '^COMMIT' -e '^:[A-Z]* ACCEPT'; fi; "
    "done; true"
)


@dataclass(frozen=True)
class Traces:
    """Everything that a cluster puts on a machine beside its packages."""

    interfaces: str
    routes: str
    rules: str
    mounts: str
    files: str
    hosts_file: str
    containers: str


def traces(cluster: Cluster, host: str) -> Traces:
    """What there is on a host now."""
    return Traces(
        interfaces=cluster.shell(host, "ls /sys/class/net"),
        routes=cluster.shell(host, "cut -f 1,2,3,8 /proc/net/route"),
        rules=cluster.shell(host, _RULES),
        mounts=cluster.shell(host, "cut -d ' ' -f 2,3 /proc/mounts | sort"),
        files=cluster.shell(host, _OF_THE_CLUSTER),
        hosts_file=cluster.shell(host, "cat /etc/hosts"),
        containers=cluster.shell(
            host, "if command -v ctr > /dev/null; then ctr --namespace k8s.io containers list --quiet; fi"
        ),
    )
