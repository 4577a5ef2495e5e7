"""kubectl on a control plane: apply what differs, wait for what was asked."""

import shlex
from collections.abc import Generator

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, operation
from pyinfra.api.command import FunctionCommand, QuoteString, StringCommand

from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_leader
from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.cloud_controller import NodesInitialized
from kubeadm_deploys.facts.cluster_health import (
    KUBECTL,
    ClusterHealth,
    NodesReady,
    WorkloadsAvailable,
    crowded_dns_pods,
)
from kubeadm_deploys.facts.kustomization import KustomizationDiffers
from kubeadm_deploys.facts.reading import ask, read, wait
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import direct
from kubeadm_deploys.operations.failure import calling, fails_clearly


def differs_reading(*, folder: str, workload: str) -> Reading[bool]:
    """What ``kustomization_applied`` reads of the cluster."""
    return Reading.of(KustomizationDiffers, folder=folder, workload=workload)


@operation()
@fails_clearly
def kustomization_applied(
    *, topology: Topology, folder: str, workload: str
) -> Generator[StringCommand, None, None]:
    """Apply a folder with a kustomization, server-side, when the cluster differs from it.

    + topology: the cluster; its leader does it
    + folder: absolute path on the control plane
    + workload: one of those that the kustomization makes in kube-system, like ``daemonset/calico-node``
    """
    election = ask_leader(host.state, topology)
    if host.name != election.leader:
        host.noop("another control plane does it")
        return
    # Before there is a cluster to ask, all of it is still to be applied.
    if election.api_answers and not read(host, differs_reading(folder=folder, workload=workload)):
        host.noop("the cluster has all of it already")
        return
    yield StringCommand(
        f"{KUBECTL} apply --server-side --force-conflicts --field-manager kubeadm-deploys --kustomize",
        QuoteString(folder),
    )


@operation()
@fails_clearly
def cluster_ready(
    *, topology: Topology, workloads: list[str], timeout: int
) -> Generator[FunctionCommand, None, None]:
    """Wait until nodes are Ready, known to their cloud, and workloads of kube-system available, with DNS spread.

    Nodes of hosts that have no part in this run, or failed in it, are not waited for, and neither are workloads while
    such a node is down: its pods are wanted all the same, for five minutes at least. Only moving a DNS pod is a change;
    a dry run does not wait.

    + topology: the cluster; its leader is asked
    + workloads: like ``deployment/coredns``
    + timeout: seconds for each of the conditions
    """
    election = ask_leader(host.state, topology)
    if not acts_for_cluster(host, election):
        host.noop("another host waits for it")
        return
    if not election.api_answers:
        return
    leader = inventory.get_host(election.leader)
    health = read(leader, ClusterHealth)
    nodes = [node.name for node in topology.nodes if inventory.get_host(node.host) in host.state.active_hosts]
    if host.state.is_executing and not all(health.nodes.get(node) for node in nodes):
        wait(leader, NodesReady, seconds=timeout + 60, nodes=tuple(nodes), timeout=timeout)
        health = ask(leader, ClusterHealth)
    if host.state.is_executing and health.uninitialized:
        wait(leader, NodesInitialized, seconds=timeout + 60, timeout=timeout)
        health = ask(leader, ClusterHealth)
    down = sorted(node for node, ready in health.nodes.items() if not ready and node not in nodes)
    if down and host.state.is_executing:
        logger.warning(
            f"--> Warning: {', '.join(down)} is not Ready, so nobody waits for pods in kube-system"
        )
        return
    crowded = crowded_dns_pods(health)
    if crowded:
        yield calling(_delete_pods, leader, crowded)
    if host.state.is_executing and (crowded or not all(health.workloads.get(name) for name in workloads)):
        wait(
            leader,
            WorkloadsAvailable,
            seconds=timeout * len(workloads) + 60,
            workloads=tuple(workloads),
            timeout=timeout,
        )


def _delete_pods(state: State, host: Host, leader: Host, pods: list[str]) -> bool:
    names = " ".join(map(shlex.quote, pods))
    deleted, output = direct.run(leader, f"{KUBECTL} --namespace kube-system delete pod --wait=false {names}")
    if not deleted:
        host.log(f"{leader.name} did not move {names}: {output.stderr}")
    return deleted
