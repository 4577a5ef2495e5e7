"""The preflight checks by name, a single finding, and the table that is printed for the operator.

The option ``skip_preflight_checks`` and docs/preflight.md also use ``CHECKS``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from kubeadm_deploys.model.text_table import aligned


class Severity(StrEnum):
    """The effect of a finding: an error stops the run before any change, a warning is only printed."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, kw_only=True)
class Check:
    """The error, the warning and the fix of a check, as docs/preflight.md shows them.

    With ``warning_on_members``, an error on a new machine is only a warning on a machine that is already a
    node, because it works there. A check that is not ``skippable`` protects data that this project did not
    create, or is repeated later by the step that would do the harm.
    """

    error: str = ""
    warning: str = ""
    fix: str
    warning_on_members: bool = True
    skippable: bool = True


CHECKS = {
    "os": Check(
        warning="a system other than Debian 12 or 13, or Ubuntu 22.04, 24.04 or 26.04",
        fix="use one of these; others are untested",
    ),
    "architecture": Check(error="neither amd64 nor arm64", fix="use another machine"),
    "systemd": Check(error="systemd is not the init system", fix="use a machine with systemd"),
    "tools": Check(
        error="`apt-get`, `dpkg`, `ip` or `systemctl` is missing",
        fix="install the missing package",
    ),
    "kernel": Check(error="older than 4.19", warning="older than 5.10", fix="install a newer kernel"),
    "kernel-modules": Check(
        error="overlay or br_netfilter does not work and cannot be loaded",
        fix="install the package with the kernel's modules, or reboot into the installed kernel",
    ),
    "cgroups": Check(
        error="a controller that the kubelet needs is missing; cgroup v1 with Kubernetes 1.35 or newer",
        warning="cgroup v1 with an older Kubernetes",
        fix="enable the controller on the kernel's command line; boot with cgroup v2",
        # A running kubelet works without the controller, but not after an upgrade to 1.35 with cgroup v1.
        warning_on_members=False,
    ),
    "memory": Check(
        error="less than 1700 MB on a control plane; a warning if kubeadm's check `Mem` is ignored",
        fix="use a bigger machine",
    ),
    "cpus": Check(
        error="less than 2 on a control plane; a warning if kubeadm's check `NumCPU` is ignored",
        fix="use a bigger machine",
    ),
    "disk-space": Check(
        error="less than 2 GiB free for `/`, containerd, the kubelet or etcd",
        warning="less than 10 GiB, or 15 % of containerd's disk without `evictionHard` in `kubelet_configuration`",
        fix="free some space, or mount a bigger disk",
    ),
    "clock": Check(
        error="60 s or more off another node's",
        warning="5 s or more off another node's; all nodes 60 s or more off the operator's",
        fix="synchronise it with systemd-timesyncd or chrony",
        warning_on_members=False,
    ),
    "hostname": Check(warning="the same host name as another machine", fix="run `hostnamectl set-hostname`"),
    "machine-id": Check(
        error="the same machine ID as another machine, as on clones",
        fix="create a new one with `systemd-machine-id-setup`",
    ),
    "mac-address": Check(
        error="the same MAC, and the same product UUID or machine ID, as another machine",
        warning="the same MAC as another machine",
        fix="give the virtual machine another MAC",
    ),
    "node-address": Check(
        error="no interface has `node_ip`; a warning with `node_interface_mac`, for which the run waits",
        fix="set `node_ip` to an address of the machine",
        warning_on_members=False,
    ),
    "interface-mtu": Check(
        error="the interface with `node_ip` has an MTU under 626 or above 9216 bytes, such as `lo`, and `pod_mtu` is not set",
        fix="set `node_ip` to an address of a network interface, or set `pod_mtu`",
    ),
    "default-route": Check(
        warning="neither a default route nor one to 169.254.1.1, the gateway of Calico's pods, which then reach nothing",
        fix="add a default route, or a route to 169.254.1.1",
    ),
    "subnets": Check(
        error="a route of the machine is inside `pod_subnet` or `service_subnet`",
        warning="a route contains one of them",
        fix="choose other subnets",
    ),
    "name-resolution": Check(
        error="the name of an upstream host or of the mirror cannot be resolved, and the machine has something to fetch",
        fix="check `/etc/resolv.conf`, or set `mirror`",
    ),
    "reachability": Check(
        error="an upstream host, a host to which it redirects, or the mirror cannot be reached or refuses, and the machine has something to fetch",
        fix="allow the connection, use another public address if this one is blocked, or set `mirror`",
    ),
    "proxy": Check(
        error="the proxy of `http_proxy` or `https_proxy` cannot be reached or refuses its user and password, and the machine has something to fetch",
        warning="`/etc/environment` has a proxy, which this project does not use, and neither option is set",
        fix="correct the option; set `http_proxy`, `https_proxy` and `no_proxy` for a machine that needs a proxy",
    ),
    "apt-key": Check(
        error="the key that the apt repository publishes has expired, is not the expected one or not the only one, and the machine has packages to fetch",
        fix="let the mirror serve only the key that the repository publishes now, or set `kubernetes_apt_key_fingerprint`",
    ),
    "ports": Check(
        error="another program uses a port of Kubernetes, like 6443 or 10250",
        fix="stop it, or let it use another port",
    ),
    "other-runtime": Check(
        error="Docker with containers, containerd with foreign containers, or a running k3s, RKE2, MicroK8s, k0s or CRI-O",
        warning="Docker without containers, or data that such a cluster left behind",
        fix="use another machine, or uninstall it",
    ),
    "cni-configuration": Check(
        error="a file in `/etc/cni/net.d` that counts before the pod network's own",
        warning="another file there that is not the pod network's",
        fix="move it away",
    ),
    "kubelet-arguments": Check(
        error="`KUBELET_EXTRA_ARGS` with a flag that this project sets, or a unit file that replaces the package's",
        warning="`KUBELET_EXTRA_ARGS` with other flags, or a drop-in of the kubelet's unit",
        fix="remove it; use `kubelet_configuration`",
    ),
    "sysctl-files": Check(
        error="a file that is applied after ours turns `ip_forward` or `bridge-nf-call-iptables` off, at the next boot at the latest",
        fix="remove the line",
    ),
    "blocked-modules": Check(
        error="a file in `modprobe.d` that blocks overlay, br_netfilter or vxlan",
        fix="remove the line",
    ),
    "containerd-unit": Check(
        warning="a drop-in that replaces the command of `containerd.service`",
        fix="remove its `ExecStart`",
    ),
    "apt-sources": Check(
        error="another source of the same Kubernetes repository, whose other `Signed-By` stops apt altogether",
        fix="remove it",
    ),
    "firewall": Check(
        warning="ufw, firewalld or an nftables chain that drops incoming traffic by default",
        fix="allow what a node needs",
    ),
    "network-manager": Check(
        warning="NetworkManager, or a `.network` file for all names, may configure the pods' interfaces",
        fix="exclude the pod network's interfaces",
    ),
    "containerd-drop-in": Check(
        error="a file in `/etc/containerd/conf.d` with which the installed containerd would not start",
        fix="correct it, or move it away",
        # The node works only until containerd is restarted.
        warning_on_members=False,
    ),
    "etcd-data": Check(
        error="data in `/var/lib/etcd` that kubeadm did not create",
        fix="back it up and remove it if it is not needed",
        skippable=False,
    ),
    "another-cluster": Check(
        error="a node of another cluster; a cluster that is not that of `cluster_name` or of the kubeconfig",
        fix="remove it from the inventory",
        warning_on_members=False,
        skippable=False,
    ),
    "node-role": Check(
        error="a node of this cluster that has the other role",
        fix="put it back into its group, or run `deploys/remove_node.py`",
        warning_on_members=False,
        skippable=False,
    ),
    "node-name": Check(
        error="the name of a node on another machine, or of a Ready node although this machine has no files of kubeadm",
        fix="set another `node_name`, or run `deploys/remove_node.py`",
        warning_on_members=False,
        skippable=False,
    ),
    "control-planes": Check(
        error="most of the cluster's control planes are not in the inventory; none has a cluster and one cannot be reached; etcd has lost its majority, or its members do not match a control plane; a control plane has no CA certificate",
        warning="a control plane is not in the inventory",
        fix="put it back, or run `deploys/remove_node.py`",
        warning_on_members=False,
        skippable=False,
    ),
    "manifests": Check(
        error="a static pod's manifest is missing on a control plane, and kubeadm has no backup of it",
        warning="the manifest is missing, but kubeadm has a backup of it",
        fix="run `deploys/cluster.py`, which restores the backup; without one, write the manifest with `kubeadm init phase`",
        warning_on_members=False,
        skippable=False,
    ),
    "cluster-options": Check(
        error="`cluster_name`, `control_plane_endpoint`, `pod_subnet`, `service_subnet`, `dns_domain`, `encapsulation` or `cni` differs from the cluster's, or a field of `cluster_configuration` that a live cluster cannot be given",
        warning="`swap` differs from what the cluster was created with, and no longer has an effect; a field of `kubelet_configuration` needs a drained node; `cluster_configuration` lacks what the cluster has",
        fix="set it to the cluster's value; if you mean another cluster, correct the inventory",
        warning_on_members=False,
        skippable=False,
    ),
    "kubernetes-version": Check(
        error="`kubernetes_version` is set and differs from the cluster's; an API server has another minor than the cluster; a kubelet is newer than the API servers, or more than three minors older; an upgrade has begun and not ended; no API server answers, and a kubelet or kubeadm has another release than the manifests",
        fix="set `kubernetes_version` to the cluster's, or leave it out; upgrade, or finish an upgrade, with `deploys/upgrade.py`",
        warning_on_members=False,
        skippable=False,
    ),
    "component-versions": Check(
        error="the version of containerd, runc, the CNI plugins or the pod network is set and differs from the cluster's; in a cluster without a record, machines differ",
        fix="set it to the cluster's, or leave it out; upgrade containerd, runc and the CNI plugins with `deploys/upgrade.py`",
        warning_on_members=False,
        skippable=False,
    ),
    "containerd-version": Check(
        warning="a release that the containerd project does not list for this Kubernetes",
        fix="choose a newer `containerd_version`",
    ),
}
"""Every check by its name."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem: what was ``found``, and how to ``fix`` it.

    ``check`` is a name in ``CHECKS``; ``host`` is pyinfra's name of the machine, empty for the whole cluster.
    """

    check: str
    host: str
    severity: Severity
    found: str
    fix: str

    @property
    def sentence(self) -> str:
        """The finding in one line that starts with the machine."""
        return f"{self.host}: {self.words}" if self.host else self.words

    @property
    def words(self) -> str:
        """The problem and its fix."""
        return f"{self.found}; {self.fix}"


def unskipped(findings: Iterable[Finding], *, skipped: Iterable[str]) -> tuple[Finding, ...]:
    """Return the findings without those of skipped checks."""
    names = {name for name in skipped if CHECKS[name].skippable}
    return tuple(finding for finding in findings if finding.check not in names)


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that stop a run."""
    return [finding for finding in findings if finding.severity is Severity.ERROR]


def table(findings: Iterable[Finding]) -> list[str]:
    """Return the lines of the findings table: by machine, errors first, each with its fix below it.

    Lines are not wrapped, so that they can be searched.
    """
    by_host: dict[str, list[Finding]] = {}
    for finding in findings:
        by_host.setdefault(finding.host or "the cluster", []).append(finding)
    rows = [("HOST", "CHECK", "FINDING AND FIX")]
    for host, of_host in by_host.items():
        warnings = [finding for finding in of_host if finding.severity is Severity.WARNING]
        for finding in (*errors_of(of_host), *warnings):
            rows.append((host, finding.check, f"{finding.severity}: {finding.found}"))
            rows.append(("", "", f"  fix: {finding.fix}"))
    return list(aligned(rows))
