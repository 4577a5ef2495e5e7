"""Checks for what does not belong to the cluster and would be harmed, or would harm the node."""

from collections.abc import Iterator

from kubeadm_deploys.cluster.membership import ANOTHER_CLUSTER, ETCD_DATA
from kubeadm_deploys.endpoints import KINDS, kind_of
from kubeadm_deploys.endpoints.kind import EndpointKind
from kubeadm_deploys.facts.kubeadm_node import NodeState
from kubeadm_deploys.facts.machine import PORTS
from kubeadm_deploys.model.findings import Finding
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.preflight.machine_checks import CandidateNode

_KUBELET_PORT = 10250

_OWN_PROGRAMS = frozenset(
    {"kubelet", "kube-apiserver", "etcd", "kube-controller-manager", "kube-controller", "kube-scheduler"}
)
"""Names of their processes, which the kernel cuts after 15 characters."""

_RUNTIMES = {
    "crio": "CRI-O",
    "k3s": "k3s",
    "k3s-server": "k3s",
    "k3s-agent": "k3s",
    "rke2": "RKE2",
    "k0s": "k0s",
    "kubelite": "MicroK8s",
}
"""Other container runtimes and Kubernetes distributions, by process name."""


def foreign_findings(
    candidate: CandidateNode, *, options: ClusterOptions, topology: Topology
) -> Iterator[Finding]:
    """Yield findings about what does not belong to this cluster on a machine."""
    if candidate.state is NodeState.FOREIGN and not candidate.kubeadm.has_etcd_of_others:
        found, fix = ANOTHER_CLUSTER
        yield candidate.error("another-cluster", found=found, fix=fix)
        # Everything else on the machine belongs to that cluster.
        return
    yield from _etcd_data(candidate)
    yield from _runtimes(candidate)
    yield from _ports(candidate, kind=kind_of(options=options, topology=topology))


def _etcd_data(candidate: CandidateNode) -> Iterator[Finding]:
    if candidate.member:
        return
    explained = {"member"} if candidate.kubeadm.ca_certificate else set()
    if candidate.machine.etcd_entries - explained:
        found, fix = ETCD_DATA
        yield candidate.error("etcd-data", found=found, fix=fix)


def _runtimes(candidate: CandidateNode) -> Iterator[Finding]:
    machine = candidate.machine
    uninstall = "use another machine, or uninstall it"
    if machine.docker:
        yield candidate.error(
            "other-runtime",
            found=f"has {_counted(machine.docker)} of Docker",
            fix="use another machine, or remove Docker and its containers",
        )
    elif machine.docker == 0:
        yield candidate.warning(
            "other-runtime",
            found="has Docker without containers, which shares containerd and iptables with the node",
            fix=uninstall,
        )
    running = {_RUNTIMES[name] for name in machine.processes if name in _RUNTIMES}
    for name in sorted(running):
        yield candidate.error("other-runtime", found=f"runs {name}", fix=uninstall)
    if machine.leftovers and not running:
        yield candidate.warning(
            "other-runtime",
            found=f"has data of another cluster, which is not running, in {', '.join(machine.leftovers)}",
            fix="uninstall that cluster",
        )
    for namespace, count in machine.tasks.items():
        if count and namespace not in ("k8s.io", "moby"):
            yield candidate.error(
                "other-runtime",
                found=f"runs {_counted(count)} in containerd's namespace {namespace}",
                fix="use another machine, or stop them",
            )


def _counted(containers: int) -> str:
    return f"{containers} container{'' if containers == 1 else 's'}"


def _ports(candidate: CandidateNode, *, kind: EndpointKind) -> Iterator[Finding]:
    if candidate.member:
        return
    # After an interrupted kubeadm, its programs may be running.
    unfinished = candidate.state in (NodeState.PARTIAL, NodeState.UNKNOWN)
    own = {*_OWN_PROGRAMS, ""} if unfinished else set()
    needed = PORTS if candidate.control_plane else (_KUBELET_PORT, *kind.ports)
    taken = {}
    for port, program in candidate.machine.listeners:
        if (
            port in needed
            and program not in own
            and not _is_of_endpoint(candidate, port=port, program=program)
        ):
            taken[port] = program or "a program"
    if taken:
        yield candidate.error(
            "ports",
            found=" and ".join(
                f"port {port} is taken by {program}" for port, program in sorted(taken.items())
            ),
            fix="stop it, or let it use another port ('ss --listening --tcp --processes' shows it)",
        )


def _is_of_endpoint(candidate: CandidateNode, *, port: int, program: str) -> bool:
    """Return whether the listener is a program that an endpoint kind has installed on the machine."""
    return any(
        port in kind.ports and program in (*kind.programs, "") and candidate.kubeadm.units & set(kind.units)
        for kind in KINDS.values()
    )
