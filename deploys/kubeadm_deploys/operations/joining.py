"""``kubeadm join``: workers as soon as they can, control planes one after the other.

A member is left alone, a machine on which kubeadm did not finish is cleaned and joined again, one that belongs to
another cluster is refused. Which of them a machine is, is read again right before it is acted on.
"""

import shlex
import time
from collections.abc import Callable, Generator
from contextlib import nullcontext
from functools import partial

from gevent import sleep
from pyinfra import host, inventory
from pyinfra.api import Host, operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.cluster.leader import ask_leader, wait_for_kubeadm
from kubeadm_deploys.cluster.members import ask_members
from kubeadm_deploys.facts.api_endpoint import ApiEndpoint
from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_WAIT
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMembers, etcdctl
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState, NodeState
from kubeadm_deploys.facts.reading import NotRead, ask, read
from kubeadm_deploys.kubeadm_steps import join_step
from kubeadm_deploys.mark_checks import ROLE_PREFIX
from kubeadm_deploys.marks import taint_argument, wanted_taints
from kubeadm_deploys.membership import needs_registration, standing
from kubeadm_deploys.nodes import EXCLUDED_FROM_LOAD_BALANCERS, Node, Topology
from kubeadm_deploys.operations import direct, shared_pki
from kubeadm_deploys.operations.api_endpoint import resolve_commands
from kubeadm_deploys.operations.failure import failed, fails_clearly
from kubeadm_deploys.operations.kubeadm import CHECKED_BY_US, kubeadm
from kubeadm_deploys.operations.reset import cleaning
from kubeadm_deploys.quorum import orphan_members, orphan_refusal, unready_members
from kubeadm_deploys.run_parts import part
from kubeadm_deploys.scripts import script

_ETCD_SECONDS = 60
"""How long etcd has to be whole again, for example after the control plane that joined before."""

# A kubelet makes its Node object when it starts, and at no other time.
_REGISTER = f"systemctl restart kubelet && {KUBECTL_WAIT} wait --for=create --timeout=120s"


@operation()
@fails_clearly
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
    control_plane = node in topology.control_planes
    if not host.state.is_executing:
        if host.name == ask_leader(host.state, topology).leader:
            host.noop("the cluster is joined through this machine")
        elif is_member(topology, node=node, found=read(host, KubeadmNode)):
            host.noop("this machine is a member of the cluster already")
        else:
            # The plan wants to know only that there is something to do; what follows acts on other hosts too.
            yield StringCommand("kubeadm join")
        return

    if not ask_leader(host.state, topology).exists:
        yield failed("there is no cluster to join; see above why none was created")
        return
    decide = partial(
        join_step, topology, node=node, election=ask_leader(host.state, topology), endpoint=endpoint
    )
    found, members = read(host, KubeadmNode), ask_members(host.state, topology)
    if decide(found=found, members=members).member and members is not None and not found.kubeadm_runs:
        yield from _completed(node=node, control_plane=control_plane, found=found, members=members)
        return
    with part(host.state, JoinCredentials).control_plane_turn if control_plane else nullcontext():
        now, members = wait_for_kubeadm(host), ask_members(host.state, topology, anew=True)
        if isinstance(now, NotRead):
            raise now
        found, step = now, decide(found=now, members=members)
        if step.refusal or members is None:
            yield failed(step.refusal)
        elif step.member:
            yield from _completed(node=node, control_plane=control_plane, found=found, members=members)
        else:
            yield from _join(
                topology=topology,
                node=node,
                endpoint=endpoint,
                port=port,
                clean=step.clean,
                found=found,
                members=members,
                document=document,
                token_document=token_document,
            )


def is_member(topology: Topology, *, node: Node, found: KubeadmNodeState) -> bool:
    """Whether a machine was a member of the cluster when that was last read."""
    state = standing(
        found,
        node=node,
        control_plane=node in topology.control_planes,
        cluster_ca=ask_leader(host.state, topology).ca_certificate,
        members=ask_members(host.state, topology),
    )
    return state is NodeState.MEMBER


def _completed(
    *, node: Node, control_plane: bool, found: KubeadmNodeState, members: ClusterMembersState
) -> Generator[StringCommand, None, None]:
    """What a member may lack: its Node object, which somebody has deleted, and kubeadm's last step."""
    if needs_registration(node=node, found=found, members=members):
        yield StringCommand(_REGISTER, QuoteString(f"node/{node.name}"), _timeout=180)
        yield mark_command(node)
        return
    done = False
    if control_plane and not members.nodes[node.name].control_plane:
        done = True
        yield mark_command(node)
    if "bootstrap-kubelet.conf" in found.files and "kubelet.conf" in found.files:
        # kubeadm was killed when all was done but this: the file holds the token that it joined with.
        done = True
        yield StringCommand("rm --force /etc/kubernetes/bootstrap-kubelet.conf")
    if not done:
        host.noop("this machine is a member of the cluster already")


def _join(
    *,
    topology: Topology,
    node: Node,
    endpoint: str,
    port: int,
    clean: bool,
    found: KubeadmNodeState,
    members: ClusterMembersState,
    document: Callable[..., str],
    token_document: Callable[[str], str],
) -> Generator[StringCommand, None, None]:
    election = ask_leader(host.state, topology)
    control_plane = node in topology.control_planes
    if control_plane and (
        problem := _make_room_in_etcd(node=node, topology=topology, has_data="etcd" in found.files)
    ):
        yield failed(problem)
    # Before the machine is cleaned: one that is cleaned in part is then still one that the cluster does not count.
    if node.name in members.nodes and (problem := _delete_node_object(node=node, topology=topology)):
        yield failed(problem)
    if clean:
        yield from cleaning(host, keep=True)
        if control_plane:
            # It took its own API server, which is gone, for the cluster's.
            yield from resolve_commands(
                read(host, ApiEndpoint), endpoint=endpoint, address=election.usable(topology)[0].ip
            )
    yield script("wait-for-api", f"{endpoint}:{port}")
    leader = inventory.get_host(election.leader)
    credentials = part(host.state, JoinCredentials)
    token = credentials.ensure_token(leader, document=token_document(credentials.token))
    if control_plane:
        yield shared_pki.write_command(credentials.ask_shared_pki(leader))
    checked = (f"--ignore-preflight-errors={CHECKED_BY_US}",) if control_plane else ()
    yield kubeadm("join", *checked, stdin=document(token=token, ca_certificate=election.ca_certificate))


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


def _make_room_in_etcd(*, node: Node, topology: Topology, has_data: bool) -> str:
    """Take out what earlier joins left behind, and wait until etcd is whole; returns what is wrong with it at last."""
    leader = _leader(topology)
    etcd = ask(leader, EtcdMembers)
    orphans = orphan_members(etcd, node=node, topology=topology, has_data=has_data)
    if any(orphan.joined for orphan in orphans) and (
        refusal := orphan_refusal(orphans, etcd=etcd, healthy=ask(leader, EtcdHealth))
    ):
        return refusal
    for orphan in orphans:
        removed, output = direct.run(leader, etcdctl("member", "remove", orphan.id))
        if not removed:
            return (
                f"{leader.name}: could not remove etcd member {orphan.name or orphan.peer_ip}, left by an interrupted "
                f"join: {output.stderr}"
            )
    deadline = time.monotonic() + _ETCD_SECONDS
    while reasons := unready_members(ask(leader, EtcdMembers), healthy=ask(leader, EtcdHealth)):
        if time.monotonic() > deadline:
            return (
                f"etcd can take no further member while {', '.join(reasons)}; start that machine, or remove it with "
                "deploys/remove_node.py, and run again"
            )
        sleep(2)
    return ""


def _delete_node_object(*, node: Node, topology: Topology) -> str:
    """kubeadm does not join a node that the API still takes for ready."""
    leader = _leader(topology)
    deleted, output = direct.run(leader, f"{KUBECTL} delete node --ignore-not-found {shlex.quote(node.name)}")
    return (
        ""
        if deleted
        else f"{leader.name}: could not delete the Node object {node.name}, left by an interrupted join: {output.stderr}"
    )


def _leader(topology: Topology) -> Host:
    return inventory.get_host(ask_leader(host.state, topology).leader)
