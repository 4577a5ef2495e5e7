"""``kubeadm join``: workers as soon as they can, control planes one after the other.

A member is left alone, a machine on which kubeadm did not finish is cleaned and joined again, one that belongs to
another cluster is refused.
"""

import shlex
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext

from gevent import sleep
from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys import cluster_run
from kubeadm_deploys.facts.api_endpoint import ApiEndpoint
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.etcd import ETCDCTL, EtcdHealth, EtcdMembers
from kubeadm_deploys.facts.kubeadm_node import NodeState, node_state
from kubeadm_deploys.mark_checks import ROLE_PREFIX
from kubeadm_deploys.marks import taint_argument, wanted_taints
from kubeadm_deploys.membership import join_refusal, orphan_members, standing, unready_members
from kubeadm_deploys.nodes import EXCLUDED_FROM_LOAD_BALANCERS, Node, Topology
from kubeadm_deploys.operations import direct, shared_pki
from kubeadm_deploys.operations.api_endpoint import resolve_commands
from kubeadm_deploys.operations.failure import failed
from kubeadm_deploys.operations.kubeadm import kubeadm
from kubeadm_deploys.operations.reset import CLEAN

_ETCD_SECONDS = 60
"""How long etcd has to be whole again, for example after the control plane that joined before."""

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


@operation()
def joined(
    *,
    topology: Topology,
    node: Node,
    endpoint: str,
    port: int,
    document: Callable[..., str],
    token_document: Callable[[str], str],
) -> Generator[StringCommand, None, None]:
    """Make this machine a node of the cluster, as the worker or control plane that it is in the topology.

    + topology: the cluster
    + node: this machine
    + endpoint: name of the API endpoint
    + port: of the API there
    + document: makes the join document from ``token`` and ``ca_certificate``
    + token_document: makes the document that creates a token
    """
    run = cluster_run.CURRENT
    if run.leads(host, topology):
        host.noop("the cluster is joined through this machine")
        return
    election = run.election(topology)
    if host.state.is_executing and not election.exists:
        yield failed("there is no cluster to join, see above why none was made")
        return
    members = run.members(topology)
    found = run.found(host)
    control_plane = node in topology.control_planes
    if refusal := join_refusal(topology, node=node, found=found, election=election, members=members):
        yield failed(refusal)
        return
    state = standing(
        found,
        node=node,
        control_plane=control_plane,
        cluster_ca=election.ca_certificate,
        members=members,
    )
    if state is NodeState.MEMBER:
        host.noop("this machine is a member of the cluster already")
        return
    if not host.state.is_executing:
        # The plan wants to know only that there is something to do; what follows acts on other hosts too.
        yield StringCommand("kubeadm join")
        return

    with run.control_plane_turn if control_plane else nullcontext():
        members = run.members(topology, anew=True)
        only_unmarked = members.votes(node.ip) and node.name in members.nodes
        if control_plane and only_unmarked and node_state(found) is NodeState.MEMBER:
            yield mark_command(node)
            return
        if control_plane and (problem := _make_room_in_etcd(node=node, topology=topology)):
            yield failed(problem)
        if state is not NodeState.ABSENT:
            yield CLEAN
            if control_plane:
                # It took its own API server, which is gone, for the cluster's.
                yield from resolve_commands(
                    host.get_fact(ApiEndpoint), endpoint=endpoint, address=run.usable(topology)[0].ip
                )
        if node.name in members.nodes and (problem := _delete_node_object(node=node, topology=topology)):
            yield failed(problem)
        api = QuoteString(f"{endpoint}:{port}")
        yield StringCommand("sh", "-c", QuoteString(_WAIT_FOR_API), "wait-for-api", api)
        leader = run.leader(topology)
        token = run.ensure_token(leader, document=token_document(run.token))
        if control_plane:
            yield shared_pki.write_command(run.shared_pki(leader))
        yield kubeadm("join", stdin=document(token=token, ca_certificate=election.ca_certificate))


def mark_command(node: Node) -> StringCommand:
    """kubeadm's last step of a control plane's join (phase control-plane-join/mark-control-plane)."""
    name = QuoteString(node.name)
    taints = wanted_taints(node, control_plane=True).items()
    taint = (
        f"&& {KUBECTL} taint --overwrite node",
        name,
        *(QuoteString(taint_argument(mark, value)) for mark, value in taints),
    )
    return StringCommand(
        f"{KUBECTL} label --overwrite node",
        name,
        f"{ROLE_PREFIX}/control-plane= {EXCLUDED_FROM_LOAD_BALANCERS}=",
        *(taint if taints else ()),
    )


def _make_room_in_etcd(*, node: Node, topology: Topology) -> str:
    """Take out what earlier joins left behind, and wait until etcd is whole; returns what is wrong with it at last."""
    leader = cluster_run.CURRENT.leader(topology)
    for orphan in orphan_members(leader.get_fact(EtcdMembers), node=node, topology=topology):
        removed, output = direct.run(leader, f"{ETCDCTL} member remove {orphan.id}")
        if not removed:
            return f"{leader.name}: etcd member {orphan.name or orphan.peer_ip} of a join that stopped is still there: {output.stderr}"
    deadline = time.monotonic() + _ETCD_SECONDS
    while reasons := unready_members(leader.get_fact(EtcdMembers), healthy=leader.get_fact(EtcdHealth)):
        if time.monotonic() > deadline:
            return (
                f"etcd can take no further member while {', '.join(reasons)}; start that machine, or remove it with "
                "deploys/remove_node.py, and run again"
            )
        sleep(2)
    return ""


def _delete_node_object(*, node: Node, topology: Topology) -> str:
    """kubeadm does not join a node that the API still takes for ready."""
    leader = cluster_run.CURRENT.leader(topology)
    deleted, output = direct.run(leader, f"{KUBECTL} delete node --ignore-not-found {shlex.quote(node.name)}")
    return (
        ""
        if deleted
        else f"{leader.name}: node {node.name} of a join that stopped is still there: {output.stderr}"
    )
