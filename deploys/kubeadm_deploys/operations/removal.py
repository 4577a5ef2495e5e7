"""The steps by which a node leaves a cluster, each done only if it is still to be done.

Commands go through a control plane that stays, whichever host the operation belongs to: under pyinfra's ``--limit``
only the machine that leaves has a part in the run.
"""

import shlex
from collections.abc import Generator

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, operation
from pyinfra.api.command import FunctionCommand, QuoteString, StringCommand
from pyinfra.api.exceptions import PyinfraError

from kubeadm_deploys import hosts_file
from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.facts.api_endpoint import HOSTS_FILE, ApiEndpoint
from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_WAIT
from kubeadm_deploys.facts.cluster_members import ClusterMembers, ClusterMembersState
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMembers, etcdctl
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode
from kubeadm_deploys.facts.local_proxy import LocalProxy
from kubeadm_deploys.facts.reading import ask
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import direct
from kubeadm_deploys.operations.api_endpoint import resolve_commands
from kubeadm_deploys.operations.failure import calling, failed, fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.quorum import quorum_refusal, removal_order
from kubeadm_deploys.scripts import script
from kubeadm_deploys.text import sha256


@operation()
@fails_clearly
def others_moved(
    *, topology: Topology, endpoint: str, address: str, leaving: str
) -> Generator[FunctionCommand, None, None]:
    """Lead the workers to control planes that stay: in their hosts files and in their proxies.

    + topology: the nodes that stay
    + endpoint: name of the API endpoint
    + address: of a control plane that stays
    + leaving: address of the one that leaves
    """
    for worker in topology.workers:
        machine = inventory.get_host(worker.host)
        try:
            commands = _moves(machine, topology=topology, endpoint=endpoint, address=address, leaving=leaving)
        except PyinfraError as error:
            logger.warning(
                f"--> Warning: {worker.name} was not led past the control plane that leaves: {error}"
            )
            continue
        for command in commands:
            yield calling(_run, machine, command)


def _moves(
    machine: Host, *, topology: Topology, endpoint: str, address: str, leaving: str
) -> list[StringCommand]:
    found = ask(machine, ApiEndpoint)
    current = hosts_file.address_of(found.hosts_files.get(HOSTS_FILE, ""), name=endpoint)
    if current == leaving:
        return resolve_commands(found, endpoint=endpoint, address=address)
    if current != local_proxy.ADDRESS:
        return []
    wanted = local_proxy.configuration(topology)
    loaded = ask(machine, LocalProxy, unit=local_proxy.UNIT, paths=(local_proxy.LOADED_FILE,)).files
    if loaded.get(local_proxy.LOADED_FILE) == sha256(wanted):
        return []
    return [
        write_command({local_proxy.CONFIG_FILE: wanted.encode()}),
        StringCommand("systemctl reload-or-restart", QuoteString(local_proxy.UNIT)),
    ]


@operation()
@fails_clearly
def drained(*, through: Host, node: str, timeout: int) -> Generator[FunctionCommand, None, None]:
    """Have a node take no new pods and its pods go elsewhere, as their disruption budgets allow.

    A node that the API has as not Ready is only cordoned: nobody there could stop a pod.

    + through: a control plane that stays
    + node: name of the node
    + timeout: seconds for all of it
    """
    registered = ask(through, ClusterMembers).nodes.get(node)
    if registered is None:
        host.noop("the node is gone already")
        return
    yield calling(_drain, through, node, timeout, registered.ready)


@operation()
@fails_clearly
def api_server_stopped(
    *, machine: Host, through: Host, node: str, ip: str
) -> Generator[FunctionCommand | StringCommand, None, None]:
    """Stop the API server of a control plane, and what depends on it there, before its etcd goes.

    The majority of etcd is looked at once more: from here on the cluster does without this control plane.

    + machine: the control plane that leaves
    + through: a control plane that stays
    + node: name of the node
    + ip: its address
    """
    if not ask(machine, KubeadmNode).is_control_plane:
        host.noop("no API server is to run there")
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
    """Take a control plane out of etcd.

    + through: a control plane that stays
    + node: name of the node
    + ids: of its members, as they were when the run was prepared
    """
    etcd = ask(through, EtcdMembers)
    members = [member for member in etcd if member.id in ids]
    if not members:
        host.noop("it is not a member of etcd")
        return
    healthy = ask(through, EtcdHealth) if any(member.joined for member in members) else frozenset[str]()
    for member in removal_order(members, healthy=healthy):
        if member.joined and (refusal := quorum_refusal(etcd, name=member.name, healthy=healthy)):
            yield failed(f"{node}: {refusal}; it was left in etcd")
            return
        yield calling(_run, through, etcdctl("member", "remove", member.id))


@operation()
@fails_clearly
def node_deleted(*, through: Host, node: str) -> Generator[FunctionCommand, None, None]:
    """Delete a Node object, and with it the pods that are bound to it.

    + through: a control plane that stays
    + node: name of the node
    """
    if node not in ask(through, ClusterMembers).nodes:
        host.noop("the node is gone already")
        return
    yield calling(_run, through, f"{KUBECTL} delete node {shlex.quote(node)}")


@operation()
@fails_clearly
def gone(*, through: Host, node: str, ip: str) -> Generator[StringCommand, None, None]:
    """Let a machine go on only when its node has left: another host may have failed to take it out.

    + through: a control plane that stays
    + node: name of the node
    + ip: its address
    """
    if not host.state.is_executing:
        return
    if not has_left(ask(through, ClusterMembers), node=node, ip=ip):
        yield failed(f"{node} is still in the cluster, see above; its machine was left as it is")


def has_left(members: ClusterMembersState, *, node: str, ip: str) -> bool:
    """Whether neither the API nor etcd knows a node any more; a member of etcd has no name until it has started."""
    return node not in members.nodes and not any(
        member.name == node or member.peer_ip == ip for member in members.etcd
    )


def _drain(state: State, host: Host, through: Host, node: str, timeout: int, ready: bool) -> bool:
    name = shlex.quote(node)
    if not ready:
        host.log(f"{node} is not Ready, so its pods are not waited for")
        return _run(state, host, through, f"{KUBECTL} cordon {name}")
    host.log(f"Draining {node}, for {timeout} s at most")
    done, output = direct.run(
        through,
        f"{KUBECTL_WAIT} drain {name} --ignore-daemonsets --delete-emptydir-data --timeout={timeout}s",
        seconds=timeout + 60,
    )
    if not done:
        for line in refusals(output.stderr):
            host.log(line)
        host.log(
            f"{node} was not drained within {timeout} s and takes no new pods meanwhile; deal with the pods above and run "
            f"again, or give it up with: kubectl uncordon {node}"
        )
    return done


def refusals(stderr: str) -> list[str]:
    """What kubectl drain says of pods that do not go, each once: it repeats itself every five seconds."""
    said = [line.replace(" (will retry after 5s)", "") for line in stderr.splitlines()]
    return list(dict.fromkeys(line for line in said if line.startswith(("error", "There are pending"))))


def _run(state: State, host: Host, where: Host, command: str | StringCommand) -> bool:
    done, output = direct.run(where, command)
    if not done:
        host.log(f"{where.name}: {output.stderr or output.stdout}")
    return done
