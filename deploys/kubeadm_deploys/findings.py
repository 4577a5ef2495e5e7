"""What preflight may find: the checks by name, one finding, and the table that the operator reads.

Nothing here knows a machine. ``CHECKS`` is also what the option ``waive_checks`` and the README go by.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """What a finding does to a run: a danger stops it before anything is changed, a doubt is only told."""

    DANGER = "danger"
    DOUBT = "doubt"


@dataclass(frozen=True, kw_only=True)
class Check:
    """What a check holds for dangerous and for doubtful, and its cure, in the README's words.

    What is dangerous for a machine that is to become a node is doubtful on one that is a node already, for a check
    with ``eased``: it has shown that it can. A check that is not ``waivable`` protects what is not ours, or is made
    again by those who would do the harm.
    """

    danger: str = ""
    doubt: str = ""
    cure: str
    eased: bool = True
    waivable: bool = True


CHECKS = {
    "os": Check(
        doubt="another system than Debian 12 and 13, Ubuntu 22.04, 24.04 and 26.04",
        cure="take one of these; others are untested",
    ),
    "architecture": Check(danger="neither amd64 nor arm64", cure="take another machine"),
    "systemd": Check(danger="systemd does not run as init", cure="take a machine with systemd"),
    "tools": Check(
        danger="`apt-get`, `dpkg`, `ip` or `systemctl` is missing",
        cure="install the package that has it",
    ),
    "kernel": Check(danger="older than 4.19", doubt="older than 5.10", cure="install a newer kernel"),
    "kernel-modules": Check(
        danger="overlay or br_netfilter neither works nor can be loaded",
        cure="install the package with the kernel's modules, or reboot into the installed kernel",
    ),
    "cgroups": Check(
        danger="a controller that the kubelet needs is missing; cgroup v1 with Kubernetes 1.35 or newer",
        doubt="cgroup v1 with an older Kubernetes",
        cure="enable it on the kernel's command line; boot with cgroup v2",
        # A kubelet that runs can do without a controller, but not with cgroup v1 when it is moved to 1.35 or newer.
        eased=False,
    ),
    "memory": Check(
        danger="less than 1700 MB on a control plane; doubtful when kubeadm's check `Mem` is ignored",
        cure="take a bigger machine",
    ),
    "cpus": Check(
        danger="less than 2 on a control plane; doubtful when kubeadm's check `NumCPU` is ignored",
        cure="take a bigger machine",
    ),
    "disk-space": Check(
        danger="less than 2 GiB free for `/`, containerd, the kubelet or etcd",
        doubt="less than 10 GiB, or 15 % of containerd's disk without `evictionHard` in `kubelet_configuration`",
        cure="free some, or mount a bigger disk",
    ),
    "clock": Check(
        danger="60 s or more away from another node's",
        doubt="5 s or more away from another node's; all nodes 60 s or more away from the operator's",
        cure="have it synchronised by systemd-timesyncd or chrony",
        eased=False,
    ),
    "hostname": Check(doubt="the host name of another machine", cure="`hostnamectl set-hostname`"),
    "machine-id": Check(
        danger="the machine ID of another machine, as clones have it",
        cure="make a new one with `systemd-machine-id-setup`",
    ),
    "mac-address": Check(
        danger="MAC and product UUID or machine ID of another machine",
        doubt="the MAC of another machine",
        cure="give the virtual machine a MAC of its own",
    ),
    "node-address": Check(
        danger="no interface has `node_ip`; doubtful with `node_interface_mac`, where it is waited for",
        cure="set `node_ip` to an address that the machine has",
        eased=False,
    ),
    "subnets": Check(
        danger="a route of the machine lies in `pod_subnet` or `service_subnet`",
        doubt="a route contains one of them",
        cure="choose other subnets",
    ),
    "name-resolution": Check(
        danger="an upstream host's or the mirror's name cannot be resolved, and something is to be fetched",
        cure="look at `/etc/resolv.conf`, or set `mirror`",
    ),
    "reachability": Check(
        danger="an upstream host or the mirror cannot be reached, and something is to be fetched",
        cure="open the way to it, or set `mirror`",
    ),
    "apt-key": Check(
        danger="the key that the apt repository publishes is expired, not the expected one or not the only one, and packages are to be fetched",
        cure="have the mirror serve the key that the repository publishes now, and no other; or set `kubernetes_apt_key_fingerprint`",
    ),
    "ports": Check(
        danger="something else has a port of Kubernetes, like 6443 or 10250",
        cure="stop it, or have it use another port",
    ),
    "other-runtime": Check(
        danger="Docker with containers, containerd with others' containers, or a running k3s, RKE2, MicroK8s, k0s or CRI-O",
        doubt="Docker without containers, or what such a cluster left",
        cure="take another machine, or uninstall it",
    ),
    "etcd-data": Check(
        danger="data in `/var/lib/etcd` that kubeadm did not put there",
        cure="move it away",
        waivable=False,
    ),
    "another-cluster": Check(
        danger="a node of another cluster; a cluster that is not the one of `cluster_name` or of the kubeconfig",
        cure="take it out of the inventory",
        eased=False,
        waivable=False,
    ),
    "node-role": Check(
        danger="a node of this cluster in the other role",
        cure="put it back into its group, or `deploys/remove_node.py`",
        eased=False,
        waivable=False,
    ),
    "node-name": Check(
        danger="the name of a node that is another machine, or of a Ready one of which nothing is on the machine",
        cure="another `node_name`, or `deploys/remove_node.py`",
        eased=False,
        waivable=False,
    ),
    "control-planes": Check(
        danger="most of the cluster's control planes are not in the inventory; none has a cluster and one cannot be reached; etcd has lost its majority, or does not go together with a control plane; a control plane has no CA certificate",
        doubt="a control plane is not in the inventory",
        cure="put it back, or `deploys/remove_node.py`",
        eased=False,
        waivable=False,
    ),
    "manifests": Check(
        danger="a static pod's manifest is missing on a control plane, and kubeadm has no backup of it",
        doubt="it is missing, and kubeadm's backup has it",
        cure="`deploys/cluster.py` puts a backup back; without one write it with `kubeadm init phase`",
        eased=False,
        waivable=False,
    ),
    "cluster-options": Check(
        danger="`cluster_name`, `control_plane_endpoint`, `pod_subnet`, `service_subnet`, `dns_domain` or `encapsulation` is not the cluster's",
        doubt="`certificate_sans`, `kubelet_configuration`, `kube_proxy_configuration`, `swap` or `nameservers` is not what the cluster was made with, and has no effect any more",
        cure="set it to the cluster's; if that is another cluster than you mean, correct the inventory",
        eased=False,
        waivable=False,
    ),
    "kubernetes-version": Check(
        danger="`kubernetes_version` is set, and not the cluster's; an API server has another minor than the cluster; a kubelet is newer than the API servers, or more than three minors older",
        cure="set `kubernetes_version` to the cluster's, or leave it out",
        eased=False,
        waivable=False,
    ),
    "component-versions": Check(
        danger="the version of containerd, runc, the CNI plugins or Calico is set, and not the cluster's; a cluster without a record has machines that differ",
        cure="set it to the cluster's, or leave it out",
        eased=False,
        waivable=False,
    ),
    "containerd-version": Check(
        doubt="a containerd that its project does not name for this Kubernetes",
        cure="choose a newer `containerd_version`",
    ),
}
"""Every check by its name."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is not as it should be: ``found``, and its ``cure``.

    ``check`` is a name of ``CHECKS``, ``host`` pyinfra's name of the machine, empty for the cluster as a whole.
    """

    check: str
    host: str
    severity: Severity
    found: str
    cure: str

    @property
    def sentence(self) -> str:
        """All of it in one line, beginning with the machine."""
        return f"{self.host}: {self.words}" if self.host else self.words

    @property
    def words(self) -> str:
        """What was found, and the cure."""
        return f"{self.found}; {self.cure}"


def unwaived(findings: Iterable[Finding], *, waived: Iterable[str]) -> tuple[Finding, ...]:
    """The findings that count: all but those of waived checks."""
    names = {name for name in waived if CHECKS[name].waivable}
    return tuple(finding for finding in findings if finding.check not in names)


def dangers(findings: Iterable[Finding]) -> list[Finding]:
    """The findings that stop a run."""
    return [finding for finding in findings if finding.severity is Severity.DANGER]


def table(findings: Iterable[Finding]) -> list[str]:
    """Lines for the operator: a machine's findings together, dangers first, each with its cure below it.

    Sentences are not broken, so that they can be searched for.
    """
    by_host: dict[str, list[Finding]] = {}
    for finding in findings:
        by_host.setdefault(finding.host or "the cluster", []).append(finding)
    rows = [("HOST", "CHECK", "FOUND, AND ITS CURE")]
    for host, its in by_host.items():
        for finding in (*dangers(its), *(each for each in its if each.severity is Severity.DOUBT)):
            rows.append((host, finding.check, f"{finding.severity}: {finding.found}"))
            rows.append(("", "", f"  cure: {finding.cure}"))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return [f"{host:<{widths[0]}}  {check:<{widths[1]}}  {words}" for host, check, words in rows]
