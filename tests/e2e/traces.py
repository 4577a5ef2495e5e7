"""Find what a cluster leaves on a machine, with the machine's own programs."""

from tests.e2e.conftest import Cluster

_FOLDERS = (
    *("/etc/cni", "/etc/kubernetes", "/opt/cni", "/var/lib/calico", "/var/lib/cni", "/var/lib/etcd"),
    *("/var/lib/kubelet", "/var/log/calico", "/var/log/containers", "/var/log/pods", "/run/calico"),
    *("/run/nodeagent", "/run/kubeadm-deploys-kubectl", "/root/.kube"),
)
# The tests' own kubectl keeps its cache in root's home.
_LISTED = f"find {' '.join(_FOLDERS)} -path /root/.kube/cache -prune -o ! -type d -print 2> /dev/null | sort"

# Leaves out files of packages and the reference CNI plugins, which are not the cluster's.
_OF_THE_CLUSTER = (
    f"{_LISTED} | while read -r path; do "
    "case $path in /opt/cni/bin/calico*) echo $path ;; /opt/cni/bin/*) ;; "
    "*) dpkg --search $path > /dev/null 2>&1 || echo $path ;; esac; done"
)

# Left out: built-in chains with the policy ACCEPT, which appear as soon as a table is listed, and docker's
# own rules, which are only visible once iptables is installed.
_RULES = (
    "for save in iptables-save ip6tables-save; do "
    "if command -v $save > /dev/null; then $save | grep -v -e '^#' -e '^[*]' -e '^COMMIT' -e '^:[A-Z]* ACCEPT' -e DOCKER_; fi; "
    "done; true"
)


Traces = dict[str, frozenset[str]]
"""Lines by kind of trace."""


def traces(cluster: Cluster, host: str) -> Traces:
    """Return everything on a host that a cluster may have put there, except packages."""
    commands = {
        "interfaces": "ls /sys/class/net",
        "routes": "cut -f 1,2,3,8 /proc/net/route",
        "rules": _RULES,
        "mounts": "cut -d ' ' -f 2,3 /proc/mounts",
        "files": _OF_THE_CLUSTER,
        "hosts file": "cat /etc/hosts",
        "containers": "if command -v ctr > /dev/null; then ctr --namespace k8s.io containers list --quiet; fi",
    }
    return {kind: frozenset(cluster.shell(host, script).splitlines()) for kind, script in commands.items()}


def differences(before: Traces, after: Traces) -> Traces:
    """Return the lines that were added or removed."""
    changed = {kind: after[kind] ^ before[kind] for kind in before}
    return {kind: lines for kind, lines in changed.items() if lines}
