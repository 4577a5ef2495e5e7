"""Guide section "Joining your nodes": workers as soon as possible, control planes one after the other.

A member is left alone, a machine on which kubeadm did not finish is cleaned and joined again, and a machine
of another cluster is refused. The machine's state is read again right before anything is done to it.
Source: Kubernetes documentation, "Creating a cluster with kubeadm" and "Creating Highly Available Clusters
with kubeadm" (stacked control plane).
"""

import shlex
import time
from collections.abc import Generator, Sequence
from contextlib import nullcontext
from functools import partial

from gevent import sleep
from pyinfra import host, inventory
from pyinfra.api import Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand, QuoteString, StringCommand

from kubeadm_deploys.cluster.cleaning import cleaning
from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.cluster.kubeadm import CHECKED_BY_US, kubeadm
from kubeadm_deploys.cluster.kubeadm_steps import join_step
from kubeadm_deploys.cluster.leader import acts_for_cluster, ask_leader, wait_for_kubeadm
from kubeadm_deploys.cluster.members import ask_members
from kubeadm_deploys.cluster.membership import membership_state, needs_registration
from kubeadm_deploys.cluster.quorum import orphan_members, orphan_refusal, unready_members
from kubeadm_deploys.documents.kubeadm_documents import join_document, token_document
from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_WAIT
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.endpoint_name import ApiEndpoint
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMembers, etcdctl
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState, NodeState
from kubeadm_deploys.model.label_checks import ROLE_PREFIX
from kubeadm_deploys.model.labels_and_taints import taint_argument, wanted_taints
from kubeadm_deploys.model.nodes import API_PORT, EXCLUDED_FROM_LOAD_BALANCERS, Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import shared_pki
from kubeadm_deploys.operations.failure import calling, failed, fails_clearly
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.reading import NotRead, ask, read
from kubeadm_deploys.remote.run_parts import part
from kubeadm_deploys.scripts import script
from kubeadm_deploys.sections import kube_packages
from kubeadm_deploys.sections.api_endpoint import resolve_api_endpoint, resolve_commands
from kubeadm_deploys.sections.node_kubelet_configuration import before_kubeadm, check_before_kubeadm

_ETCD_SECONDS = 60
"""How long etcd has to become healthy, for example after the previous control plane joined."""

# A kubelet creates its Node object only when it starts.
_REGISTER = f"systemctl restart kubelet && {KUBECTL_WAIT} wait --for=create --timeout=120s"


@operation()
@fails_clearly
def joined(
    *, options: ClusterOptions, topology: Topology, node: Node, before: Sequence[StringCommand] = ()
) -> Generator[StringCommand, None, None]:
    """Join this machine to the cluster, as the worker or control plane that it is in the topology.

    + options: of the cluster
    + topology: the cluster
    + node: this machine
    + before: commands that prepare the machine right before kubeadm joins it
    """
    control_plane = node in topology.control_planes
    if not host.state.is_executing:
        if host.name == ask_leader(host.state, topology).leader:
            host.noop("other machines join through this one")
        elif is_member(topology, node=node, found=read(host, KubeadmNode)):
            host.noop("already a member of the cluster")
        else:
            # The plan only needs to know that something would change; the real steps act on other hosts too.
            yield StringCommand("kubeadm join")
        return

    if not ask_leader(host.state, topology).exists:
        yield failed("there is no cluster to join; see above why none was created")
        return
    decide = partial(
        join_step, topology, node=node, api_leader=ask_leader(host.state, topology), endpoint=options.endpoint
    )
    found, members = read(host, KubeadmNode), ask_members(host.state, topology)
    if decide(found=found, members=members).member and members is not None and not found.kubeadm_runs:
        yield from _completed(node=node, control_plane=control_plane, found=found, members=members)
        return
    with part(host.state, JoinCredentials).control_plane_turn if control_plane else nullcontext():
        now, members = wait_for_kubeadm(host), ask_members(host.state, topology, refresh=True)
        if isinstance(now, NotRead):
            raise now
        found, step = now, decide(found=now, members=members)
        if step.refusal or members is None:
            yield failed(step.refusal)
        elif step.member:
            yield from _completed(node=node, control_plane=control_plane, found=found, members=members)
        else:
            yield from _join(
                options=options,
                topology=topology,
                node=node,
                clean=step.clean,
                found=found,
                members=members,
                before=before,
            )


def is_member(topology: Topology, *, node: Node, found: KubeadmNodeState) -> bool:
    """Return whether a machine was a member of the cluster when that was last read."""
    state = membership_state(
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
    """Restore what a member may lack: a Node object that somebody deleted, and kubeadm's last step."""
    if needs_registration(node=node, found=found, members=members):
        yield StringCommand(_REGISTER, QuoteString(f"node/{node.name}"), _timeout=180)
        yield mark_command(node)
        return
    done = False
    if control_plane and not members.nodes[node.name].control_plane:
        done = True
        yield mark_command(node)
    if "bootstrap-kubelet.conf" in found.files and "kubelet.conf" in found.files:
        # kubeadm was killed right before it deleted this file, which holds its join token.
        done = True
        yield StringCommand("rm --force /etc/kubernetes/bootstrap-kubelet.conf")
    if not done:
        host.noop("already a member of the cluster")


def _join(
    *,
    options: ClusterOptions,
    topology: Topology,
    node: Node,
    clean: bool,
    found: KubeadmNodeState,
    members: ClusterMembersState,
    before: Sequence[StringCommand],
) -> Generator[StringCommand, None, None]:
    api_leader = ask_leader(host.state, topology)
    control_plane = node in topology.control_planes
    check_before_kubeadm(inventory.get_host(node.host), node, options=options, topology=topology)
    if control_plane and (
        problem := _prepare_etcd(node=node, topology=topology, has_data="etcd" in found.files)
    ):
        yield failed(problem)
    # Before the machine is cleaned, so that the cluster does not count a partly cleaned machine as a member.
    if node.name in members.nodes and (problem := _delete_node_object(node=node, topology=topology)):
        yield failed(problem)
    if clean:
        yield from cleaning(host, keep=True)
        if control_plane:
            # The machine resolved the endpoint to its own API server, which is gone.
            yield from resolve_commands(
                read(host, ApiEndpoint),
                endpoint=options.endpoint,
                address=api_leader.healthy_control_planes(topology)[0].ip,
            )
    yield from before
    yield script("wait-for-api", f"{options.endpoint}:{API_PORT}")
    leader = inventory.get_host(api_leader.leader)
    credentials = part(host.state, JoinCredentials)
    token = credentials.ensure_token(
        leader,
        document=token_document(
            options=options, node=topology.node(api_leader.leader), token=credentials.token
        ),
    )
    if control_plane:
        yield shared_pki.write_command(credentials.ask_shared_pki(leader))
    checked = (f"--ignore-preflight-errors={CHECKED_BY_US}",) if control_plane else ()
    document = join_document(
        options=options,
        node=node,
        control_plane=control_plane,
        token=token,
        ca_certificate=api_leader.ca_certificate,
    )
    yield kubeadm("join", *checked, stdin=document)


def mark_command(node: Node) -> StringCommand:
    """Return kubeadm's last step of a control plane's join (phase control-plane-join/mark-control-plane)."""
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


def _prepare_etcd(*, node: Node, topology: Topology, has_data: bool) -> str:
    """Remove members that earlier joins left, wait until etcd is healthy, and return what is still wrong."""
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
                f"{leader.name}: could not remove etcd member {orphan.name or orphan.peer_ip}, left by an "
                f"interrupted join: {output.stderr}"
            )
    deadline = time.monotonic() + _ETCD_SECONDS
    while reasons := unready_members(ask(leader, EtcdMembers), healthy=ask(leader, EtcdHealth)):
        if time.monotonic() > deadline:
            return (
                f"etcd cannot take another member while {', '.join(reasons)}; start that machine, or remove "
                "it with deploys/remove_node.py, and run again"
            )
        sleep(2)
    return ""


def _delete_node_object(*, node: Node, topology: Topology) -> str:
    """Delete the Node object, as kubeadm refuses to join a Ready node; return the problem if that fails."""
    leader = _leader(topology)
    deleted, output = direct.run(leader, f"{KUBECTL} delete node --ignore-not-found {shlex.quote(node.name)}")
    if deleted:
        return ""
    return (
        f"{leader.name}: could not delete the Node object {node.name}, left by an interrupted join: "
        f"{output.stderr}"
    )


def _leader(topology: Topology) -> Host:
    return inventory.get_host(ask_leader(host.state, topology).leader)


@operation()
@fails_clearly
def join_tokens_deleted(*, topology: Topology) -> Generator[FunctionCommand, None, None]:
    """Delete the join token of this run, if it made one, and tokens that killed runs left behind.

    + topology: the cluster
    """
    credentials = part(host.state, JoinCredentials)
    own = [credentials.secret_name] if credentials.token_exists else []
    members = ask_members(host.state, topology)
    secrets = list(dict.fromkeys([*own, *(members.tokens if members else ())]))
    api_leader = ask_leader(host.state, topology)
    if not (secrets and acts_for_cluster(host, api_leader)):
        host.noop("there is no join token, or another host deletes it")
        return
    yield calling(_delete_tokens, inventory.get_host(api_leader.leader), secrets)


def _delete_tokens(state: State, host: Host, leader: Host, secrets: list[str]) -> bool:
    deleted, output = direct.run(
        leader, f"{KUBECTL} --namespace kube-system delete secret --ignore-not-found {shlex.join(secrets)}"
    )
    if not deleted:
        host.log(f"{leader.name}: could not delete the join token: {output.stderr}")
    part(state, JoinCredentials).token_exists = not deleted
    return deleted


@deploy("Joining")
def join_nodes(*, options: ClusterOptions, topology: Topology) -> None:
    """Join every node of the topology that is not a member: workers in parallel, control planes one by one.

    Raises:
        OperationValueError: the machine is a member of another cluster or has the other role, or another
            machine has its name in the cluster.
    """
    node = topology.node(host.name)
    control_plane = node in topology.control_planes
    found = read(host, kube_packages.reading(options))
    # One operation for both roles, so that no worker waits for a control plane.
    joined(
        name="Join the cluster",
        options=options,
        topology=topology,
        node=node,
        before=before_kubeadm(node, found=found.files),
    )
    if control_plane:
        # Its own API server answers now.
        resolve_api_endpoint(options=options, topology=topology)


@deploy("Join credentials")
def delete_join_credentials(*, topology: Topology) -> None:
    """Delete the join tokens of this run and of killed runs; call it when every node has joined."""
    join_tokens_deleted(name="Delete the join token", topology=topology)
