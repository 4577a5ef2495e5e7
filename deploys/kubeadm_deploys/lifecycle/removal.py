"""Remove a node from the cluster: a worker or a control plane, running or lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pyinfra import host, inventory
from pyinfra.api import State, deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.cluster.leader import active_hosts, ask_planned_leader
from kubeadm_deploys.cluster.members import ask_planned_members, ask_planned_settings
from kubeadm_deploys.cluster.membership import ANOTHER_CLUSTER, ETCD_DATA, foreign_server
from kubeadm_deploys.cluster.quorum import quorum_refusal
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState, is_of_another_cluster
from kubeadm_deploys.lifecycle import removal_steps
from kubeadm_deploys.lifecycle.reset import clean_machine
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.barrier import barrier
from kubeadm_deploys.preflight.check import other_cluster_findings, refuse
from kubeadm_deploys.remote.reading import ask, read
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.run.locking import check_under_lock


@dataclass(frozen=True, kw_only=True)
class Removal:
    """The node that a run removes.

    ``listed`` is the node in the inventory, None if it is not there. ``machine`` is the same node if its
    machine takes part in the run and is the registered one, else None. Commands go through the
    ``coordinator``. ``members`` are the etcd members to remove.
    """

    name: str
    listed: Node | None
    machine: Node | None
    coordinator: Node
    members: tuple[EtcdMember, ...]


def choose(
    topology: Topology, *, name: str, limited_to: Sequence[str], members: ClusterMembersState
) -> tuple[str, Node | None]:
    """Return the name of the node to remove, and the node in the inventory if it is there.

    ``name`` is the one that the operator gave, ``limited_to`` are the hosts that ``--limit`` names, even if
    they do not answer.

    Raises:
        InputError: no node is named, or no node has this name.
    """
    if not name and len(limited_to) == 1:
        name = topology.node(limited_to[0]).name
    node = next((node for node in topology.nodes if node.name == name), None)
    known = dict.fromkeys(
        [*(node.name for node in topology.nodes), *members.nodes, *(member.name for member in members.etcd)]
    )
    if not name and limited_to:
        raise InputError(
            [
                f"node: --limit names {len(limited_to)} hosts ({', '.join(limited_to)}), so it is not clear "
                "which node is meant; add --data node=NAME"
            ]
        )
    if name not in known:
        raise InputError(
            [
                f"node: {f'{name!r} is not a node of this cluster' if name else 'is missing'}; add --data "
                f"node=NAME with one of {', '.join(known)}"
            ]
        )
    return name, node


def address_of(name: str, *, node: Node | None, etcd: Sequence[EtcdMember]) -> str:
    """Return the address of the node that leaves, empty if it is unknown."""
    known = [node.ip] if node else [member.peer_ip for member in etcd if member.name == name]
    return next(iter(known), "")


def is_machine_of(registered: RegisteredNode | None, *, found: KubeadmNodeState) -> bool:
    """Return whether a machine is the registered one, and not a new machine with the node's name."""
    return registered is None or registered.machine_id == found.machine_id


def machine_refusal(
    found: KubeadmNodeState,
    *,
    node: Node,
    topology: Topology,
    members: ClusterMembersState,
    cluster_ca: str,
    endpoint: str,
) -> str:
    """Return why a machine must not be cleaned although its node was named, empty if it may.

    Without a Node object, only the CA certificate shows that a machine belonged to this cluster. An address
    in the inventory may be wrong and reach another machine of the cluster.
    """
    registered = members.nodes.get(node.name)
    others = [
        name
        for name, other in members.nodes.items()
        if name != node.name and found.machine_id and other.machine_id == found.machine_id
    ]
    if others and registered is None:
        return f"is node {others[0]} of the cluster (same machine ID), not {node.name}; correct its address"
    if found.has_etcd_of_others:
        return f"{ETCD_DATA[0]}; {ETCD_DATA[1]}"
    if is_of_another_cluster(found, cluster_ca=cluster_ca):
        return f"{ANOTHER_CLUSTER[0]}; {ANOTHER_CLUSTER[1]}"
    if foreign := foreign_server(found, topology=topology, endpoint=endpoint):
        return f"{foreign}; take it out of the inventory, or correct its address"
    if registered is None and found.files and not found.ca_certificate:
        return (
            f"has kubeadm files but no CA certificate, and the cluster has no node {node.name}, so it is not "
            "known whether it belonged to this cluster; clean it with deploys/reset.py if it did"
        )
    return ""


def etcd_members_of(name: str, *, node: Node | None, etcd: Sequence[EtcdMember]) -> tuple[EtcdMember, ...]:
    """Return a node's etcd members, by its name or its address.

    Raises:
        DeployError: a member of another name has its address.
    """
    by_name = tuple(member for member in etcd if member.name == name)
    by_address = tuple(member for member in etcd if node and member.peer_ip == node.ip)
    for member in by_address:
        if member.name and member.name != name:
            raise DeployError(
                f"{name}: etcd has the member {member.name} at its address {member.peer_ip}; no changes were "
                "made; name that one, or correct node_name and node_ip in the inventory"
            )
    return tuple(dict.fromkeys((*by_name, *by_address)))


def planned_removal(
    topology: Topology,
    *,
    name: str,
    listed: Node | None,
    found: KubeadmNodeState | None,
    api_leader: ApiLeader,
    members: ClusterMembersState,
    force: bool,
    endpoint: str,
) -> Removal:
    """Decide how a node is removed: is its machine cleaned, which node coordinates, which members go.

    ``listed`` is the node in the inventory, ``found`` what was read on its machine, None if that takes no
    part in the run, ``endpoint`` the DNS name of the cluster's API. ``majority_refusal`` checks etcd's
    majority.

    Raises:
        DeployError: the node must not be removed.
    """
    machine = listed if found else None
    if machine and found:
        if refusal := machine_refusal(
            found,
            node=machine,
            topology=topology,
            members=members,
            cluster_ca=api_leader.ca_certificate,
            endpoint=endpoint,
        ):
            raise DeployError(f"{machine.host}: {refusal}; no changes were made")
        if not is_machine_of(members.nodes.get(name), found=found):
            machine = None
    leader = topology.node(api_leader.leader)
    coordinator = next((plane for plane in (leader, *api_leader.healthy) if plane.name != name), None)
    if coordinator is None:
        raise DeployError(
            f"{name}: no other control plane answers through which it could be removed; no changes were "
            "made; to give up the whole cluster use deploys/reset.py"
        )
    if machine is None and not force:
        raise DeployError(
            f"{name}: its machine cannot be reached (stopped, not in the inventory, or replaced by another "
            "machine), so its pods may still run; no changes were made; start it, or add --data force=true "
            "if it is lost"
        )
    return Removal(
        name=name,
        listed=listed,
        machine=machine,
        coordinator=coordinator,
        members=etcd_members_of(name, node=listed, etcd=members.etcd),
    )


def majority_refusal(removal: Removal, *, etcd: tuple[EtcdMember, ...], healthy: frozenset[str]) -> str:
    """Return why etcd must keep the node's members, else empty; ``healthy`` as in ``quorum_refusal``."""
    for member in removal.members:
        if member.joined and (refusal := quorum_refusal(etcd, name=member.name, healthy=healthy)):
            return f"{removal.name}: {refusal}; no changes were made"
    return ""


@deploy("Removal")
def remove_node(
    *, options: ClusterOptions, topology: Topology, node: str, force: bool, drain_timeout: int
) -> None:
    """Remove a node from the cluster, and the cluster from its machine; steps already done are skipped.

    ``node`` is its name; if empty, ``--limit`` must name one host. ``force`` allows removing a node whose
    machine cannot be reached. ``drain_timeout`` is the limit for draining the node, in seconds.

    Raises:
        InputError: the node does not exist.
        DeployError: the cluster needs the node or does not answer without it, or the machine cannot be
            reached or belongs to another cluster.
        NotRead: a machine or the cluster did not answer.
    """
    state = host.state
    find = partial(_find, state, options=options, topology=topology, node=node, force=force)
    chosen = part(state, Decisions).once("removal", find)
    check_under_lock(partial(_find_again, find, chosen), key="removal")

    # One host acts for the cluster: the coordinating control plane, unless --limit leaves it out.
    active = active_hosts(state)
    name, coordinator = chosen.name, chosen.coordinator
    through = inventory.get_host(coordinator.host)
    if host.name == (coordinator.host if coordinator.host in active else active[0]):
        removal_steps.workers_repointed(
            name=f"Point the other nodes away from {name}",
            topology=topology.without(name),
            endpoint=options.endpoint,
            address=coordinator.ip,
            leaving=address_of(name, node=chosen.listed, etcd=chosen.members),
        )
        if chosen.machine:
            # On a lost machine no kubelet stops pods; they are deleted with the Node object.
            removal_steps.drained(name=f"Drain {name}", through=through, node=name, timeout=drain_timeout)
        if chosen.machine and chosen.machine in topology.control_planes:
            removal_steps.api_server_stopped(
                name=f"Stop the API server of {name}",
                machine=inventory.get_host(chosen.machine.host),
                through=through,
                node=name,
                ip=chosen.machine.ip,
            )
        removal_steps.etcd_member_removed(
            name=f"Remove {name} from etcd",
            through=through,
            node=name,
            ids=tuple(member.id for member in chosen.members),
        )
        removal_steps.node_deleted(name=f"Delete the node {name}", through=through, node=name)
    barrier(name=f"Wait for {name} to leave")
    if chosen.machine and host.name == chosen.machine.host:
        removal_steps.gone(
            name=f"Verify that {name} has left", through=through, node=name, ip=chosen.machine.ip
        )
        clean_machine(options=options, keep_etcd=True)


def _find(state: State, *, options: ClusterOptions, topology: Topology, node: str, force: bool) -> Removal:
    """Find the node to remove, and refuse if it must not be removed."""
    active = active_hosts(state)
    limited_to = (
        [limited.name for limited in state.limit_hosts] if isinstance(state.limit_hosts, list) else []
    )
    api_leader = ask_planned_leader(state, topology)
    settings = ask_planned_settings(state, topology)
    refuse(other_cluster_findings(api_leader, settings, options=options))
    members = ask_planned_members(state, topology)
    if members is None or not api_leader.exists or api_leader.problem:
        raise DeployError(
            f"{node or 'the node'}: {api_leader.problem or 'there is no cluster'}; no changes were made; to "
            "give up the whole cluster use deploys/reset.py"
        )
    name, listed = choose(topology, name=node, limited_to=limited_to, members=members)
    is_active = listed is not None and listed.host in active
    removal = planned_removal(
        topology,
        name=name,
        listed=listed,
        found=read(inventory.get_host(listed.host), KubeadmNode) if listed and is_active else None,
        api_leader=api_leader,
        members=members,
        force=force,
        endpoint=options.endpoint,
    )
    if any(member.joined for member in removal.members):
        healthy = ask(inventory.get_host(removal.coordinator.host), EtcdHealth)
        if refusal := majority_refusal(removal, etcd=members.etcd, healthy=healthy):
            raise DeployError(refusal)
    return removal


def _find_again(find: partial[Removal], planned: Removal) -> None:
    """Check again under the run lock; refuse if the removal is no longer the planned one."""
    now = find()
    if (now.name, now.machine, now.coordinator) != (
        planned.name,
        planned.machine,
        planned.coordinator,
    ) or not set(now.members) <= set(planned.members):
        raise DeployError(
            f"{planned.name}: the cluster has changed since this run was prepared; no changes were made; "
            "run it again"
        )
