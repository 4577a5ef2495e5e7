"""``kubeadm init`` and what it leaves to be done.

A cluster that exists is left alone. An init that was interrupted is begun again where nothing was stored yet, and
finished where something was.
"""

import shlex
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, operation
from pyinfra.api.command import FunctionCommand, QuoteString, StringCommand

from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_leader
from kubeadm_deploys.cluster.members import ask_members, made_cluster
from kubeadm_deploys.facts.cluster_health import KUBECTL, InitRemainder
from kubeadm_deploys.facts.kubeadm_node import (
    KUBEADM_SECONDS,
    KUBEADM_UNIT,
    MANIFESTS,
    KubeadmNode,
    KubeadmNodeState,
)
from kubeadm_deploys.facts.reading import ask, read
from kubeadm_deploys.kubeadm_steps import finish_refusal, init_step, remaining_phases
from kubeadm_deploys.kubeconfig_file import set_aside
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import direct
from kubeadm_deploys.operations.failure import calling, failed, fails_clearly
from kubeadm_deploys.operations.reset import cleaning
from kubeadm_deploys.run_parts import part
from kubeadm_deploys.scripts import script

CHECKED_BY_US = "DirAvailable--var-lib-etcd"
"""kubeadm's check that etcd's folder is empty. Ours looks at what is in it: a filesystem of its own has a lost+found,
and data that had to make way are kept there.
"""

# What is there of an init that was interrupted after it had stored something: kubeadm goes on from it when it does not
# mind that it is there.
_LEFT_BY_INIT = ",".join(
    (
        CHECKED_BY_US,
        *(f"FileAvailable--etc-kubernetes-manifests-{name}.yaml" for name in MANIFESTS),
        *("Port-6443", "Port-10250", "Port-10257", "Port-10259", "Port-2379", "Port-2380"),
    )
)


@operation()
@fails_clearly
def initialized(
    *, topology: Topology, node_name: str, document: str, cluster_name: str, kubeconfig: str
) -> Generator[StringCommand, None, None]:
    """Make this machine the first control plane of a new cluster, where there is none.

    + topology: the cluster; its leader does it
    + node_name: name of this machine's Node object
    + document: the kubeadm documents; they may hold the join token and are only passed on stdin
    + cluster_name: name of the cluster
    + kubeconfig: path on the operator's machine; a file there that is of an earlier cluster of this name is renamed
    """
    election = ask_leader(host.state, topology)
    if host.name != election.leader:
        host.noop("another control plane leads")
        return
    if not election.exists:
        yield from _create(
            topology=topology, document=document, cluster_name=cluster_name, kubeconfig=Path(kubeconfig)
        )
    elif host.state.is_executing or election.api_answers:
        yield from _finish(topology=topology, node_name=node_name, document=document)


def _create(
    *, topology: Topology, document: str, cluster_name: str, kubeconfig: Path
) -> Generator[StringCommand, None, None]:
    if host.state.is_executing:
        found = ask(host, KubeadmNode)
        step = init_step(found, election=ask_leader(host.state, topology))
        if step.refusal:
            yield failed(step.refusal)
            return
        try:
            aside = set_aside(kubeconfig, cluster_name=cluster_name, now=datetime.now(UTC))
        except (OSError, ValueError) as error:
            yield failed(f"kubeconfig: {error}; no cluster was created")
            return
        if aside:
            logger.warning(f"--> Warning: {kubeconfig} was of an earlier cluster, and is now {aside}")
        if step.clean:
            yield from cleaning(host, keep=True)
    yield kubeadm("init", "--skip-token-print", f"--ignore-preflight-errors={CHECKED_BY_US}", stdin=document)
    part(host.state, JoinCredentials).token_exists = True
    made_cluster(host.state, topology, found=ask(host, KubeadmNode))


def _finish(*, topology: Topology, node_name: str, document: str) -> Generator[StringCommand, None, None]:
    """Do what an interrupted init has left to be done; nothing on a finished cluster, however its files look."""
    missing = read(host, InitRemainder)
    if not missing:
        host.noop("the cluster is there")
        return
    phases = remaining_phases(missing, has_joined=read(host, KubeadmNode).has_joined)
    if phases is not None:
        for phase in phases:
            yield kubeadm("init", "phase", *phase, stdin=document)
        return
    if refusal := finish_refusal(missing, others=_others(topology, node_name=node_name)):
        yield failed(refusal)
        return
    logger.info(
        f"--> {host.name}: finishing a kubeadm init that was interrupted ({', '.join(missing)} missing)"
    )
    yield kubeadm("init", "--skip-token-print", f"--ignore-preflight-errors={_LEFT_BY_INIT}", stdin=document)
    part(host.state, JoinCredentials).token_exists = True
    made_cluster(host.state, topology, found=ask(host, KubeadmNode))


def _others(topology: Topology, *, node_name: str) -> list[str]:
    members = ask_members(host.state, topology, anew=True)
    return sorted(members.nodes.keys() - {node_name}) if members else []


@operation()
@fails_clearly
def manifests_restored(*, topology: Topology) -> Generator[StringCommand, None, None]:
    """Put back the static pods' manifests that only kubeadm's backup has: it was killed between its two renames.

    Source: kubeadm's upgrade, phases/upgrade/staticpods.go, which moves each manifest to
    /etc/kubernetes/tmp/kubeadm-backup-manifests-* before it moves the new one in.

    + topology: the cluster; each of its control planes does it for itself
    """
    if topology.node(host.name) not in topology.control_planes:
        host.noop("workers have no static pods of kubeadm")
        return
    found = read(host, KubeadmNode)
    commands = restore_commands(found)
    if not commands:
        host.noop("no manifest is missing, or none has a backup")
    yield from commands


def restore_commands(found: KubeadmNodeState) -> list[StringCommand]:
    """What puts the manifests back; nothing while kubeadm is at work, and nothing where no cluster is."""
    if found.kubeadm_runs or not found.has_cluster:
        return []
    return [
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


@operation()
@fails_clearly
def join_tokens_deleted(*, topology: Topology) -> Generator[FunctionCommand, None, None]:
    """Delete the token that this run made, if it made one, and those of runs that were killed before they did.

    + topology: the cluster
    """
    credentials = part(host.state, JoinCredentials)
    own = [credentials.secret_name] if credentials.token_exists else []
    members = ask_members(host.state, topology)
    secrets = list(dict.fromkeys([*own, *(members.tokens if members else ())]))
    election = ask_leader(host.state, topology)
    if not (secrets and acts_for_cluster(host, election)):
        host.noop("no token was made, or another host deletes it")
        return
    yield calling(_delete_tokens, inventory.get_host(election.leader), secrets)


def _delete_tokens(state: State, host: Host, leader: Host, secrets: list[str]) -> bool:
    deleted, output = direct.run(
        leader, f"{KUBECTL} --namespace kube-system delete secret --ignore-not-found {shlex.join(secrets)}"
    )
    if not deleted:
        host.log(f"{leader.name} did not delete the join token: {output.stderr}")
    part(state, JoinCredentials).token_exists = not deleted
    return deleted


def kubeadm(*arguments: str, stdin: str) -> StringCommand:
    """A command that runs kubeadm with a document, and prints no token."""
    return script("run-kubeadm", KUBEADM_UNIT, *arguments, stdin=stdin, seconds=KUBEADM_SECONDS)
