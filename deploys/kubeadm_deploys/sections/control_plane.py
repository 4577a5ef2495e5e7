"""Guide section "Creating a cluster with kubeadm": the control plane.

An existing cluster is left alone. An interrupted init is started again if it has stored nothing yet, and is
finished if it has.
Source: Kubernetes documentation, "Creating a cluster with kubeadm".
"""

from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pyinfra import host, inventory, logger
from pyinfra.api import deploy, operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.cluster.cleaning import cleaning
from kubeadm_deploys.cluster.deferred_check import DeferredCheck
from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.cluster.kubeadm import CHECKED_BY_US, LEFT_BY_INIT, kubeadm
from kubeadm_deploys.cluster.kubeadm_steps import finish_refusal, init_step, remaining_phases
from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.cluster.members import ask_members, made_cluster
from kubeadm_deploys.documents.kubeadm_documents import init_document
from kubeadm_deploys.documents.kubeconfig_file import set_aside
from kubeadm_deploys.facts.cluster_health import InitRemainder
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import failed, fails_clearly
from kubeadm_deploys.remote.reading import ask, read
from kubeadm_deploys.remote.run_parts import part
from kubeadm_deploys.scripts import script
from kubeadm_deploys.sections import kube_packages
from kubeadm_deploys.sections.node_kubelet_configuration import before_kubeadm, check_before_kubeadm


@operation()
@fails_clearly
def found(*, topology: Topology, check: Callable[[], None]) -> Generator[StringCommand, None, None]:
    """Continue only if the cluster's API answers, or if no cluster exists yet.

    + topology: the cluster as in the inventory
    + check: raises if the cluster must not be changed; it could not be made before the API answered
    """
    problem = ask_leader(host.state, topology).problem
    if not host.state.is_executing:
        return
    if problem:
        yield failed(problem)
        return
    check()


@operation()
@fails_clearly
def initialized(
    *,
    topology: Topology,
    node_name: str,
    document: str,
    cluster_name: str,
    kubeconfig: str,
    before: Sequence[StringCommand] = (),
    check: Callable[[], None] = lambda: None,
) -> Generator[StringCommand, None, None]:
    """Make this machine the first control plane of a new cluster, unless the cluster exists.

    + topology: the cluster; only its leader acts
    + node_name: name of this machine's Node object
    + document: the kubeadm documents; they may hold the join token and are only passed on stdin
    + cluster_name: name of the cluster
    + kubeconfig: path on the operator's machine; a file there of an earlier cluster of this name is renamed
    + before: commands that prepare the machine right before kubeadm creates the cluster
    + check: raises if kubeadm would not accept what ``before`` writes; called before anything is changed
    """
    api_leader = ask_leader(host.state, topology)
    if host.name != api_leader.leader:
        host.noop(f"runs on {api_leader.leader}")
        return
    if not api_leader.exists:
        yield from _create(
            topology=topology,
            document=document,
            cluster_name=cluster_name,
            kubeconfig=Path(kubeconfig),
            before=before,
            check=check,
        )
    elif host.state.is_executing or api_leader.api_answers:
        yield from _finish(topology=topology, node_name=node_name, document=document)


def _create(
    *,
    topology: Topology,
    document: str,
    cluster_name: str,
    kubeconfig: Path,
    before: Sequence[StringCommand],
    check: Callable[[], None],
) -> Generator[StringCommand, None, None]:
    if host.state.is_executing:
        found = ask(host, KubeadmNode)
        step = init_step(found, api_leader=ask_leader(host.state, topology))
        if step.refusal:
            yield failed(step.refusal)
            return
        check()
        try:
            aside = set_aside(kubeconfig, cluster_name=cluster_name, now=datetime.now(UTC))
        except (OSError, ValueError) as error:
            yield failed(f"kubeconfig: {error}; no cluster was created")
            return
        if aside:
            logger.warning(f"--> Warning: {kubeconfig} was of an earlier cluster; renamed it to {aside}")
        if step.clean:
            yield from cleaning(host, keep=True)
        yield from before
    yield kubeadm("init", "--skip-token-print", f"--ignore-preflight-errors={CHECKED_BY_US}", stdin=document)
    part(host.state, JoinCredentials).token_exists = True
    made_cluster(host.state, topology, found=ask(host, KubeadmNode))


def _finish(*, topology: Topology, node_name: str, document: str) -> Generator[StringCommand, None, None]:
    """Finish an interrupted init; do nothing on a finished cluster, whatever its files look like."""
    missing = read(host, InitRemainder)
    if not missing:
        host.noop("the cluster exists")
        return
    phases = remaining_phases(missing, has_joined=read(host, KubeadmNode).has_joined)
    if phases is not None:
        for phase in phases:
            yield kubeadm("init", "phase", *phase, stdin=document)
        return
    if refusal := finish_refusal(missing, others=_other_nodes(topology, node_name=node_name)):
        yield failed(refusal)
        return
    logger.info(f"--> {host.name}: finishing an interrupted kubeadm init ({', '.join(missing)} missing)")
    yield kubeadm("init", "--skip-token-print", f"--ignore-preflight-errors={LEFT_BY_INIT}", stdin=document)
    part(host.state, JoinCredentials).token_exists = True
    made_cluster(host.state, topology, found=ask(host, KubeadmNode))


def _other_nodes(topology: Topology, *, node_name: str) -> list[str]:
    members = ask_members(host.state, topology, refresh=True)
    return sorted(members.nodes.keys() - {node_name}) if members else []


@operation()
@fails_clearly
def manifests_restored(*, topology: Topology) -> Generator[StringCommand, None, None]:
    """Restore static pod manifests that only kubeadm's backup has: it was killed between two renames.

    A new certificate of the API server whose key is already in place follows it, for the same reason.
    Source: kubeadm's upgrade, phases/upgrade/staticpods.go, which moves each manifest to
    /etc/kubernetes/tmp/kubeadm-backup-manifests-* before it moves the new one in.

    + topology: the cluster; each control plane acts for itself
    """
    if topology.node(host.name) not in topology.control_planes:
        host.noop("a worker has no static pods of kubeadm")
        return
    found = read(host, KubeadmNode)
    commands = restore_commands(found)
    if not commands:
        host.noop("no missing manifest has a backup, and no certificate lacks its key")
    yield from commands


def restore_commands(found: KubeadmNodeState) -> list[StringCommand]:
    """Return the commands that restore the manifests, and finish the exchange of the API server's certificate.

    None while kubeadm runs, without a cluster, or where a restore from a backup has stopped the static pods.
    """
    if found.kubeadm_runs or found.restoring or not found.has_cluster:
        return []
    commands = [
        StringCommand(
            "cp --preserve",
            QuoteString(backup),
            QuoteString(f"/etc/kubernetes/tmp/{name}.yaml.kubeadm-deploys"),
            "&& mv --force",
            QuoteString(f"/etc/kubernetes/tmp/{name}.yaml.kubeadm-deploys"),
            QuoteString(f"/etc/kubernetes/manifests/{name}.yaml"),
        )
        for name, backup in found.backups.items()
    ]
    if found.half_certificate:
        commands.append(script("finish-api-certificate"))
    # First, so that it is repeated after a run that was killed in between.
    return [script("end-api-server"), *commands] if "etcd" in found.backups else commands


@deploy("Cluster")
def find_cluster(*, topology: Topology) -> None:
    """Find the cluster's API, or find that no cluster exists yet. Every host waits here for all others.

    Static pod manifests that only kubeadm's backup has are restored first, and half a pair of key and certificate is
    completed. An API server that does not answer
    is given time, for example after a reboot; if none answers, all hosts fail here and report what was seen.
    """
    manifests_restored(name="Restore missing manifests", topology=topology)
    found(name="Find the cluster", topology=topology, check=part(host.state, DeferredCheck).make)


@deploy("Control plane")
def create_control_plane(*, options: ClusterOptions, topology: Topology) -> None:
    """Create the cluster on one of the topology's control planes, unless it exists."""
    node = topology.node(host.name)
    if node in topology.control_planes:
        found = read(host, kube_packages.reading(options))
        initialized(
            name="Create the control plane",
            topology=topology,
            node_name=node.name,
            document=init_document(
                options=options, topology=topology, node=node, token=part(host.state, JoinCredentials).token
            ),
            cluster_name=options.cluster_name,
            kubeconfig=options.kubeconfig_path,
            before=before_kubeadm(node, found=found.files),
            check=lambda: check_before_kubeadm(
                inventory.get_host(node.host), node, options=options, topology=topology
            ),
        )
