"""What on a machine is somebody else's and would be harmed, or would harm the node."""

from collections.abc import Iterator

from kubeadm_deploys.endpoints import kind_of
from kubeadm_deploys.facts.kubeadm_node import NodeState
from kubeadm_deploys.facts.machine import PORTS
from kubeadm_deploys.findings import Finding
from kubeadm_deploys.kubeadm_documents import API_PORT
from kubeadm_deploys.machine_checks import Subject
from kubeadm_deploys.membership import ANOTHER_CLUSTER, ETCD_DATA
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.options import ClusterOptions

_KUBELET_PORT = 10250

_OWN_PROGRAMS = frozenset(
    {"kubelet", "kube-apiserver", "etcd", "kube-controller-manager", "kube-controller", "kube-scheduler"}
)
"""As their processes are called; the kernel cuts names after 15 characters."""

_RUNTIMES = {
    "crio": "CRI-O",
    "k3s": "k3s",
    "k3s-server": "k3s",
    "k3s-agent": "k3s",
    "rke2": "RKE2",
    "k0s": "k0s",
    "kubelite": "MicroK8s",
}
"""Other ways to run containers or Kubernetes, by the names of their processes."""


def foreign_findings(subject: Subject, *, options: ClusterOptions, topology: Topology) -> Iterator[Finding]:
    """What is not this cluster's on a machine."""
    if subject.state is NodeState.FOREIGN and not subject.kubeadm.has_etcd_of_others:
        found, cure = ANOTHER_CLUSTER
        yield subject.danger("another-cluster", found=found, cure=cure)
        # All else that is there belongs to that.
        return
    yield from _etcd_data(subject)
    yield from _runtimes(subject)
    yield from _ports(subject, has_proxy=kind_of(options=options, topology=topology) == "local_proxy")


def _etcd_data(subject: Subject) -> Iterator[Finding]:
    if subject.member:
        return
    explained = {"member"} if subject.kubeadm.ca_certificate else set()
    if subject.machine.etcd_entries - explained:
        found, cure = ETCD_DATA
        yield subject.danger("etcd-data", found=found, cure=cure)


def _runtimes(subject: Subject) -> Iterator[Finding]:
    machine = subject.machine
    uninstall = "take another machine, or uninstall it"
    if machine.docker:
        yield subject.danger(
            "other-runtime",
            found=f"has {_counted(machine.docker)} of Docker",
            cure="take another machine, or remove Docker and its containers",
        )
    elif machine.docker == 0:
        yield subject.doubt(
            "other-runtime",
            found="has Docker, which shares containerd and iptables with the node, but no container of it",
            cure=uninstall,
        )
    running = {_RUNTIMES[name] for name in machine.processes if name in _RUNTIMES}
    for name in sorted(running):
        yield subject.danger("other-runtime", found=f"runs {name}", cure=uninstall)
    if machine.leftovers and not running:
        yield subject.doubt(
            "other-runtime",
            found=f"has data of another cluster in {', '.join(machine.leftovers)}, which does not run",
            cure="uninstall what they belong to",
        )
    for namespace, count in machine.tasks.items():
        if count and namespace not in ("k8s.io", "moby"):
            yield subject.danger(
                "other-runtime",
                found=f"runs {_counted(count)} in containerd's namespace {namespace}",
                cure="take another machine, or stop them",
            )


def _counted(containers: int) -> str:
    return f"{containers} container{'' if containers == 1 else 's'}"


def _ports(subject: Subject, *, has_proxy: bool) -> Iterator[Finding]:
    if subject.member:
        return
    # On a machine where kubeadm did not finish, its programs may run.
    unfinished = subject.state in (NodeState.HALF, NodeState.UNKNOWN)
    own = {*_OWN_PROGRAMS, ""} if unfinished else set()
    needed = PORTS if subject.control_plane else (_KUBELET_PORT, *((API_PORT,) if has_proxy else ()))
    taken = {}
    for port, program in subject.machine.listeners:
        proxy = port == API_PORT and program in ("haproxy", "") and subject.kubeadm.local_proxy
        if port in needed and program not in own and not proxy:
            taken[port] = program or "a program"
    if taken:
        yield subject.danger(
            "ports",
            found=" and ".join(
                f"port {port} is taken by {program}" for port, program in sorted(taken.items())
            ),
            cure="stop it, or have it use another port ('ss --listening --tcp --processes' shows it)",
        )
