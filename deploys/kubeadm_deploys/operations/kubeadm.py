"""``kubeadm init``, ``join`` and what belongs to them.

A node that kubeadm finished is left alone, one that it did not finish is reset and done again, one that
belongs to another cluster is refused.
"""

from collections.abc import Callable, Generator

from pyinfra import host, inventory
from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import OperationValueError

from kubeadm_deploys import cluster_run
from kubeadm_deploys.facts.cluster_health import KUBECTL, ClusterHealth
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, NodeState, node_state

# kubeadm prints the bootstrap token among its progress messages; a log must not hold it.
_RUN_KUBEADM = """
output=$(kubeadm "$@" --config /dev/stdin 2>&1)
status=$?
printf '%s\\n' "$output" | sed -E 's/[a-z0-9]{6}\\.[a-z0-9]{16}/<token>/g'
exit $status
"""

# The API's own health is public; its certificate is checked by kubeadm against the CA's hash.
_WAIT_FOR_API = """
deadline=$(($(date +%s) + 120))
until seen=$(curl --insecure --silent --show-error --max-time 5 "https://$1/readyz" 2>&1) && [ "$seen" = ok ]; do
  if [ "$(date +%s)" -gt "$deadline" ]; then
    echo "the API server at https://$1 is not ready as seen from here: ${seen:-no answer}" >&2
    exit 1
  fi
  sleep 1
done
"""

# Without this, a reset that meets a stopped containerd waits for it in vain, container by container.
_RESET = StringCommand(
    "systemctl start containerd && kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock"
)

# Over our own connection, so that no key is kept in the cluster for the next control plane to fetch.
_UNPACK_PKI = (
    "mkdir -p /etc/kubernetes/pki && base64 --decode | "
    "tar --extract --no-same-owner --directory /etc/kubernetes/pki"
)


@operation()
def initialized(*, node_name: str, document: str) -> Generator[StringCommand, None, None]:
    """Make this machine the first control plane of a new cluster.

    + node_name: name of its Node object
    + document: the kubeadm documents; they may hold the join token and are only passed on stdin
    """
    found = host.get_fact(KubeadmNode)
    state = node_state(found)
    if state is NodeState.MEMBER:
        cluster_run.CURRENT.learn_ca_certificate(found.ca_certificate)
        host.noop("this machine is a control plane already")
        return
    if state is NodeState.HALF:
        # An init that did not finish leaves a cluster of one node at most.
        others = host.get_fact(ClusterHealth).nodes.keys() - {node_name}
        if others:
            raise OperationValueError(
                f"{host.name}: kubeadm did not finish here, yet its cluster has the nodes {', '.join(sorted(others))}; "
                "nothing was changed; repair it by hand, or run 'kubeadm reset' on it to give the cluster up"
            )
        yield _RESET
    yield _kubeadm("init", "--skip-token-print", stdin=document)
    cluster_run.CURRENT.token_exists = True


@operation()
def joined(
    *,
    leader: str,
    endpoint: str,
    control_plane: bool,
    document: Callable[..., str],
    token_document: Callable[[str], str],
) -> Generator[StringCommand, None, None]:
    """Make this machine a node of the leader's cluster.

    + leader: pyinfra's name of a host that is a control plane of the cluster
    + endpoint: name and port of the API server
    + control_plane: whether to join as a further control plane, else as a worker
    + document: makes the join document from ``token`` and ``ca_certificate``
    + token_document: makes the document that creates a token
    """
    leading_host = inventory.get_host(leader)
    run = cluster_run.CURRENT
    state = node_state(host.get_fact(KubeadmNode), cluster_ca=run.ca_certificate(leading_host))
    if state is NodeState.MEMBER:
        host.noop("this machine is a member of the cluster already")
        return
    if state is NodeState.FOREIGN:
        raise OperationValueError(
            f"{host.name}: belongs to another cluster than {leader} (its CA certificate differs); "
            "nothing was changed; take it out of the inventory, or run 'kubeadm reset' on it to give it up"
        )
    if state is NodeState.HALF:
        yield _RESET
    yield StringCommand("sh", "-c", QuoteString(_WAIT_FOR_API), "wait-for-api", QuoteString(endpoint))
    token = run.ensure_token(leading_host, document=token_document(run.token))
    if control_plane:
        yield StringCommand(_UNPACK_PKI, _stdin=run.shared_pki(leading_host))
    yield _kubeadm("join", stdin=document(token=token, ca_certificate=run.ca_certificate(leading_host)))


@operation()
def join_token_deleted() -> Generator[StringCommand, None, None]:
    """Delete the token that this run made, if it made one; a run that dies leaves it to its short life."""
    run = cluster_run.CURRENT
    if not run.token_exists:
        host.noop("no token was made in this run")
        return
    token_id = run.token.partition(".")[0]
    yield StringCommand(
        f"{KUBECTL} --namespace kube-system delete secret bootstrap-token-{token_id} --ignore-not-found"
    )
    run.token_exists = False


def _kubeadm(*arguments: str, stdin: str) -> StringCommand:
    return StringCommand("sh", "-c", QuoteString(_RUN_KUBEADM), "kubeadm", *arguments, _stdin=stdin)
