"""``kubeadm init`` and what it leaves to be done.

A cluster that exists is left alone, a machine on which kubeadm did not finish is cleaned and done again.
"""

import shlex
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import Host, State, operation
from pyinfra.api.command import FunctionCommand, QuoteString, StringCommand

from kubeadm_deploys import cluster_run
from kubeadm_deploys.facts.cluster_health import KUBECTL, ClusterHealth, MissingAddons
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, NodeState, node_state
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import direct
from kubeadm_deploys.operations.failure import failed
from kubeadm_deploys.operations.reset import CLEAN

# kubeadm prints the bootstrap token among its progress messages; a log must not hold it.
_RUN_KUBEADM = """
output=$(kubeadm "$@" --config /dev/stdin 2>&1)
status=$?
printf '%s\\n' "$output" | sed -E 's/[a-z0-9]{6}\\.[a-z0-9]{16}/<token>/g'
if [ $status -ne 0 ]; then
  echo "kubeadm $1 failed; what the kubelet said last:" >&2
  journalctl --unit kubelet --lines 15 --no-pager --output cat >&2
fi
exit $status
"""


@operation()
def initialized(*, topology: Topology, node_name: str, document: str) -> Generator[StringCommand, None, None]:
    """Make this machine the first control plane of a new cluster, where there is none.

    + topology: the cluster; its leader does it
    + node_name: name of this machine's Node object
    + document: the kubeadm documents; they may hold the join token and are only passed on stdin
    """
    run = cluster_run.CURRENT
    if not run.leads(host, topology):
        host.noop("another control plane leads")
        return
    if run.election(topology).exists:
        if host.get_fact(MissingAddons):
            # What an init does last: one that was killed before looks finished by everything else.
            yield kubeadm("init", "phase", "addon", "all", stdin=document)
        else:
            host.noop("the cluster is there")
        return
    if node_state(host.get_fact(KubeadmNode)) is NodeState.HALF:
        # An init that did not finish leaves a cluster of one node at most.
        others = host.get_fact(ClusterHealth).nodes.keys() - {node_name}
        if others:
            yield failed(
                f"kubeadm did not finish here, yet its cluster has the nodes {', '.join(sorted(others))}; nothing was "
                "changed; repair it by hand, or run 'kubeadm reset' on it to give the cluster up"
            )
            return
        yield CLEAN
    yield kubeadm("init", "--skip-token-print", stdin=document)
    run.token_exists = True
    run.created(topology, ca_certificate=host.get_fact(KubeadmNode).ca_certificate)


@operation()
def join_tokens_deleted(*, topology: Topology) -> Generator[FunctionCommand, None, None]:
    """Delete the token that this run made, if it made one, and those of runs that were killed before they did.

    + topology: the cluster
    """
    run = cluster_run.CURRENT
    own = [f"bootstrap-token-{run.token.partition('.')[0]}"] if run.token_exists else []
    secrets = list(dict.fromkeys([*own, *run.members(topology).tokens]))
    if not (secrets and run.speaks(host, topology)):
        host.noop("no token was made, or another host deletes it")
        return
    yield FunctionCommand(_delete_tokens, (run.leader(topology), secrets), {})


def _delete_tokens(state: State, host: Host, leader: Host, secrets: list[str]) -> bool:
    deleted, output = direct.run(
        leader, f"{KUBECTL} --namespace kube-system delete secret --ignore-not-found {shlex.join(secrets)}"
    )
    if not deleted:
        host.log(f"{leader.name} did not delete the join token: {output.stderr}")
    cluster_run.CURRENT.token_exists = not deleted
    return deleted


def kubeadm(*arguments: str, stdin: str) -> StringCommand:
    """A command that runs kubeadm with a document, and prints no token."""
    return StringCommand("sh", "-c", QuoteString(_RUN_KUBEADM), "kubeadm", *arguments, _stdin=stdin)
