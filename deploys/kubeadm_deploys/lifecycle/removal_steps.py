"""The steps that remove a node from a cluster; each step is skipped if it is already done.

Commands go through a control plane that stays, whichever host runs the operation: with pyinfra's ``--limit``,
only the machine that leaves may take part in the run.
"""

import shlex
from collections.abc import Generator

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, operation
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.api.exceptions import PyinfraError

from kubeadm_deploys.cluster.draining import refusals
from kubeadm_deploys.cluster.quorum import quorum_refusal, removal_order
from kubeadm_deploys.documents import hosts_file
from kubeadm_deploys.endpoints import KINDS
from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_WAIT
from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState
from kubeadm_deploys.facts.endpoint_name import HOSTS_FILE, ApiEndpoint
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMembers, etcdctl
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.operations.failure import calling, failed, fails_clearly
from kubeadm_deploys.remote import direct
from kubeadm_deploys.remote.reading import ask
from kubeadm_deploys.scripts import script
from kubeadm_deploys.sections.api_endpoint import resolve_commands


@operation()
@fails_clearly
def workers_repointed(
    *, topology: Topology, endpoint: str, address: str, leaving: str
) -> Generator[FunctionCommand, None, None]:
    """Point the remaining nodes to remaining control planes, in their hosts files or local proxies.

    A control plane whose join did not finish may still use the API server of the one that leaves.

    + topology: the nodes that stay
    + endpoint: name of the API endpoint
    + address: address of a control plane that stays
    + leaving: address of the node that leaves
    """
    for node in topology.nodes:
        machine = inventory.get_host(node.host)
        try:
            commands = _repoint_commands(
                machine, topology=topology, endpoint=endpoint, address=address, leaving=leaving
            )
        except PyinfraError as error:
            logger.warning(
                f"--> Warning: {node.name} may still use the API server of the node that is being removed: {error}"
            )
            continue
        for command in commands:
            yield calling(_run, machine, command)


def _repoint_commands(
    machine: Host, *, topology: Topology, endpoint: str, address: str, leaving: str
) -> list[StringCommand]:
    found = ask(machine, ApiEndpoint)
    current = hosts_file.address_of(found.hosts_files.get(HOSTS_FILE, ""), name=endpoint)
    if current == leaving:
        return resolve_commands(found, endpoint=endpoint, address=address)
    for kind in KINDS.values():
        if kind.repoint and kind.address == current:
            return kind.repoint(machine, topology)
    return []


@operation()
@fails_clearly
def drained(*, through: Host, node: str, timeout: int) -> Generator[FunctionCommand, None, None]:
    """Drain a node, as disruption budgets allow.

    A node that is NotReady is only cordoned, because no kubelet would stop its pods.

    + through: a control plane that stays
    + node: name of the node
    + timeout: limit for the drain, in seconds
    """
    registered = ask(through, ClusterMembers).nodes.get(node)
    if registered is None:
        host.noop("the node does not exist any more")
        return
    yield calling(_drain, through, node, timeout, registered.ready)


@operation()
@fails_clearly
def api_server_stopped(
    *, machine: Host, through: Host, node: str, ip: str
) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Stop a control plane's API server, and what depends on it there, before its etcd member is removed.

    Checks etcd's majority again: from here on, the cluster runs without this control plane.

    + machine: the control plane that leaves
    + through: a control plane that stays
    + node: name of the node
    + ip: its address
    """
    if not ask(machine, KubeadmNode).is_control_plane:
        host.noop("no API server on that host")
        return
    etcd, healthy = ask(through, EtcdMembers), ask(through, EtcdHealth)
    if refusal := quorum_refusal(etcd, name=node, ip=ip, healthy=healthy):
        yield failed(f"{node}: {refusal}; its API server was left running")
        return
    yield calling(_run, machine, script("stop-api-server"))


@operation()
@fails_clearly
def etcd_member_removed(
    *, through: Host, node: str, ids: tuple[str, ...]
) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Remove a control plane's members from etcd.

    + through: a control plane that stays
    + node: name of the node
    + ids: IDs of its members when the run was prepared
    """
    etcd = ask(through, EtcdMembers)
    members = [member for member in etcd if member.id in ids]
    if not members:
        host.noop("the node has no etcd member")
        return
    healthy = ask(through, EtcdHealth) if any(member.joined for member in members) else frozenset[str]()
    for member in removal_order(members, healthy=healthy):
        if member.joined and (refusal := quorum_refusal(etcd, name=member.name, healthy=healthy)):
            yield failed(f"{node}: {refusal}; it was not removed from etcd")
            return
        yield calling(_run, through, etcdctl("member", "remove", member.id))


@operation()
@fails_clearly
def node_deleted(*, through: Host, node: str) -> Generator[FunctionCommand, None, None]:
    """Delete a Node object, and with it the pods on that node.

    + through: a control plane that stays
    + node: name of the node
    """
    if node not in ask(through, ClusterMembers).nodes:
        host.noop("the node does not exist any more")
        return
    yield calling(_run, through, f"{KUBECTL} delete node {shlex.quote(node)}")


@operation()
@fails_clearly
def gone(*, through: Host, node: str, ip: str) -> Generator[StringCommand, None, None]:
    """Fail if the node has not left the cluster, because another host may have failed to remove it.

    + through: a control plane that stays
    + node: name of the node
    + ip: its address
    """
    if not host.state.is_executing:
        return
    if not has_left(ask(through, ClusterMembers), node=node, ip=ip):
        yield failed(f"{node} is still in the cluster, see above; its machine was not cleaned")


def has_left(members: ClusterMembersState, *, node: str, ip: str) -> bool:
    """Return whether a node is gone from the API and etcd, where a member has no name before it starts."""
    return node not in members.nodes and not any(
        member.name == node or member.peer_ip == ip for member in members.etcd
    )


def _drain(state: State, host: Host, through: Host, node: str, timeout: int, ready: bool) -> bool:
    name = shlex.quote(node)
    if not ready:
        host.log(f"{node} is NotReady; not waiting for its pods")
        return _run(state, host, through, f"{KUBECTL} cordon {name}")
    host.log(f"Draining {node}, for at most {timeout} s")
    done, output = direct.run(
        through,
        f"{KUBECTL_WAIT} drain {name} --ignore-daemonsets --delete-emptydir-data --timeout={timeout}s",
        seconds=timeout + 60,
    )
    if not done:
        for line in refusals(output.stderr):
            host.log(line)
        host.log(
            f"{node} was not drained within {timeout} s and stays cordoned; deal with the pods above and run "
            f"again, or cancel with: kubectl uncordon {node}"
        )
    return done


def _run(state: State, host: Host, machine: Host, command: str | StringCommand) -> bool:
    done, output = direct.run(machine, command)
    if not done:
        host.log(f"{machine.name}: {output.stderr or output.stdout}")
    return done
