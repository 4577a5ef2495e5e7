"""What a cluster leaves on a machine: what kubeadm, the kubelet, kube-proxy, Calico and this project made there."""

from pyinfra.api import FactBase
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.cluster_health import KUBECTL_CACHE

# Interfaces by the names that Calico and kube-proxy give them. The tunnel of IPIP belongs to the kernel module.
INTERFACES = r"ls /sys/class/net | grep --extended-regexp '^(cali[0-9a-f]{8,}|vxlan(-v6)?\.calico|wireguard\.cali|wg-v6\.cali|kube-ipvs0)$'"
"""Prints the network interfaces of the cluster, one a line."""

# systemd mounts /sys/fs/bpf with nosuid; where it does not, as in containers, Calico does, without options. The kernel
# keeps two files in it, whose names end with debug.
MOUNTS = r"""{
  cut -d ' ' -f 2 /proc/mounts | grep --extended-regexp '^((/var/lib/kubelet|/run/calico|/var/run/calico)/.|/run/netns/cni-)'
  if grep --quiet ' /sys/fs/bpf bpf rw,relatime ' /proc/mounts && ! ls -A /sys/fs/bpf | grep --quiet --invert-match '[.]debug$'; then echo /sys/fs/bpf; fi
} | sort --reverse"""
"""Prints the mounts of pods and of Calico, the innermost first; /var/lib/kubelet itself may be a disk of its own."""

RULES = r"(KUBE-|[: ]cali-|cali:)"
"""What stands in every iptables line of kube-proxy, the kubelet and Calico, and in nobody else's."""

FILES = (
    *(
        f"/etc/kubernetes/{name}"
        for name in (
            "admin.conf",
            "super-admin.conf",
            "kubelet.conf",
            "bootstrap-kubelet.conf",
            "controller-manager.conf",
            "scheduler.conf",
            "pki",
            "tmp",
            "manifests/*",
        )
    ),
    # kubeadm's etcd has no more there; another one may.
    "/var/lib/etcd/member",
    # All but the folder and the file by which the package keeps it.
    "/var/lib/kubelet/*",
    "/var/lib/cni",
    "/var/lib/calico",
    "/var/log/calico",
    "/var/log/pods/*",
    "/var/log/containers/*",
    "/run/calico",
    "/run/nodeagent",
    "/run/flannel",
    "/etc/cni/net.d/*calico*",
    "/opt/cni/bin/calico",
    "/opt/cni/bin/calico-ipam",
    KUBECTL_CACHE,
    "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/nodeagent~uds",
)
"""Paths, as patterns of the shell, that only a cluster has."""

_SCRIPT = rf"""
{INTERFACES} | sed 's/^/interface /'
{MOUNTS} | sed 's/^/mount /'
for save in iptables-save ip6tables-save; do
  if command -v $save > /dev/null; then
    rules=$($save 2> /dev/null | grep --count --extended-regexp '{RULES}')
    if [ "$rules" -gt 0 ]; then echo "rules $rules lines of $save"; fi
  fi
done
if command -v ip > /dev/null; then ip route show proto 80 | sed 's/^/route /'; fi
for path in {" ".join(FILES)}; do
  if [ -e "$path" ]; then echo "file $path"; fi
done
"""


class ClusterTraces(FactBase[list[str]]):
    """Everything of a cluster that is on a machine, in one command: ``file /etc/kubernetes/pki`` and the like.

    ``paths`` are looked for as well, ``endpoint`` in /etc/hosts.
    """

    @override
    def command(self, endpoint: str, paths: tuple[str, ...]) -> StringCommand:
        return StringCommand(
            _SCRIPT,
            StringCommand(
                "for path in",
                *map(QuoteString, paths),
                '; do if [ -e "$path" ]; then echo "file $path"; fi; done',
            ),
            StringCommand(
                "if grep --quiet --word-regexp --fixed-strings --",
                QuoteString(endpoint),
                "/etc/hosts; then echo 'name in /etc/hosts'; fi",
            ),
            _separator="\n",
        )

    @override
    def process(self, output: list[str]) -> list[str]:
        return output
