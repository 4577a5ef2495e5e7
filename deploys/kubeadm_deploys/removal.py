"""A node leaves the cluster: a worker or a control plane, alive or lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pyinfra import host, inventory
from pyinfra.api import State, deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.leader import active_hosts, ask_planned_leader
from kubeadm_deploys.cluster.members import ask_planned_members, ask_planned_settings
from kubeadm_deploys.election import Election
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState, is_of_another_cluster
from kubeadm_deploys.facts.reading import ask, read
from kubeadm_deploys.live_options import identity_findings
from kubeadm_deploys.locking import check_under_lock
from kubeadm_deploys.membership import ANOTHER_CLUSTER, ETCD_DATA, foreign_server, ownership_findings
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import removal
from kubeadm_deploys.operations.barrier import barrier
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.preflight import kubeconfig_ca, refuse
from kubeadm_deploys.quorum import quorum_refusal
from kubeadm_deploys.reset import clean_machine
from kubeadm_deploys.run_parts import Decisions, part


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What a run removes: the node's ``name``, the node as the inventory has it (None when it does not), its
    ``machine`` when that is the one that the node stands for and has a part in the run, the ``coordinator`` through
    which the cluster is told, and the ``members`` of etcd that are taken out.
    """

    name: str
    listed: Node | None
    machine: Node | None
    coordinator: Node
    members: tuple[EtcdMember, ...]


def choose(
    topology: Topology, *, name: str, limited_to: Sequence[str], members: ClusterMembersState
) -> tuple[str, Node | None]:
    """Find the node to remove: its name, and the node of the inventory if it has one of that name.

    ``name`` is the one that the operator gave, ``limited_to`` are the hosts that ``--limit`` names, whether or not they
    answer.

    Raises:
        InputError: no node is named, or none has this name.
    """
    if not name and len(limited_to) == 1:
        name = topology.node(limited_to[0]).name
    node = next((node for node in topology.nodes if node.name == name), None)
    known = dict.fromkeys(
        [*(each.name for each in topology.nodes), *members.nodes, *(each.name for each in members.etcd)]
    )
    if not name and limited_to:
        raise InputError(
            [
                f"node: --limit names {len(limited_to)} hosts ({', '.join(limited_to)}), so it is not clear which node is "
                "meant; add --data node=NAME"
            ]
        )
    if name not in known:
        raise InputError(
            [
                f"node: {name or 'nothing'!r} is not a node of this cluster; add --data node=NAME with one of {', '.join(known)}"
            ]
        )
    return name, node


def address_of(name: str, *, node: Node | None, etcd: Sequence[EtcdMember]) -> str:
    """The address of the node that leaves, empty when nobody knows it any more."""
    known = [node.ip] if node else [member.peer_ip for member in etcd if member.name == name]
    return next(iter(known), "")


def is_machine_of(registered: RegisteredNode | None, *, found: KubeadmNodeState) -> bool:
    """Whether a machine is the one that the node stands for, and not a new one that was given its name."""
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
    """Why a machine must not be cleaned although its node was named, empty when it may.

    Without a Node object only the CA certificate shows that a machine was of this cluster. At a wrong address there may
    be another machine of the cluster.
    """
    registered = members.nodes.get(node.name)
    others = [
        name
        for name, each in members.nodes.items()
        if name != node.name and found.machine_id and each.machine_id == found.machine_id
    ]
    if others and registered is None:
        return (
            f"is node {others[0]} of the cluster (same machine ID), and not {node.name}; correct its address"
        )
    if found.has_etcd_of_others:
        return f"{ETCD_DATA[0]}; {ETCD_DATA[1]}"
    if is_of_another_cluster(found, cluster_ca=cluster_ca):
        return f"{ANOTHER_CLUSTER[0]}; {ANOTHER_CLUSTER[1]}"
    if said := foreign_server(found, topology=topology, endpoint=endpoint):
        return f"{said}; take it out of the inventory, or correct its address"
    if registered is None and found.files and not found.ca_certificate:
        return (
            f"has files of kubeadm but no CA certificate, and the cluster has no node {node.name}, so nothing shows that "
            "it was of this cluster; clean it with deploys/reset.py if it was"
        )
    return ""


def etcd_members_of(name: str, *, node: Node | None, etcd: Sequence[EtcdMember]) -> tuple[EtcdMember, ...]:
    """The members of etcd that a node is, by its name or by its address.

    Raises:
        DeployError: another member has its address.
    """
    by_name = tuple(member for member in etcd if member.name == name)
    by_address = tuple(member for member in etcd if node and member.peer_ip == node.ip)
    for member in by_address:
        if member.name and member.name != name:
            raise DeployError(
                f"{name}: etcd has the member {member.name} at its address {member.peer_ip}; no changes were made; name "
                f"that one, or correct node_name and node_ip in the inventory"
            )
    return tuple(dict.fromkeys((*by_name, *by_address)))


def planned_removal(
    topology: Topology,
    *,
    name: str,
    listed: Node | None,
    found: KubeadmNodeState | None,
    election: Election,
    members: ClusterMembersState,
    force: bool,
    endpoint: str,
) -> Removal:
    """Decide how a node is removed: whether its machine is cleaned, who coordinates, and which members etcd loses.

    ``listed`` is the node as the inventory has it, ``found`` what was read on its machine, None when that has no part
    in the run, ``endpoint`` the name of the cluster's API. What etcd's majority says of it is for ``majority_refusal``.

    Raises:
        DeployError: it must not be removed.
    """
    machine = listed if found else None
    if machine and found:
        if refusal := machine_refusal(
            found,
            node=machine,
            topology=topology,
            members=members,
            cluster_ca=election.ca_certificate,
            endpoint=endpoint,
        ):
            raise DeployError(f"{machine.host}: {refusal}; no changes were made")
        if not is_machine_of(members.nodes.get(name), found=found):
            machine = None
    leader = topology.node(election.leader)
    coordinator = next((each for each in (leader, *election.healthy) if each.name != name), None)
    if coordinator is None:
        raise DeployError(
            f"{name}: no other control plane answers that could take it out of the cluster; no changes were made; "
            "to give up the whole cluster use deploys/reset.py"
        )
    if machine is None and not force:
        raise DeployError(
            f"{name}: its machine cannot be reached (stopped, not in the inventory, or another one has its name there), "
            "so its pods may still run; "
            "no changes were made; start it, or add --data force=true if it is lost"
        )
    return Removal(
        name=name,
        listed=listed,
        machine=machine,
        coordinator=coordinator,
        members=etcd_members_of(name, node=listed, etcd=members.etcd),
    )


def majority_refusal(removal: Removal, *, etcd: tuple[EtcdMember, ...], healthy: frozenset[str]) -> str:
    """Why etcd cannot do without the members that leave, empty when it can. ``healthy`` as in ``quorum_refusal``."""
    for member in removal.members:
        if member.joined and (refusal := quorum_refusal(etcd, name=member.name, healthy=healthy)):
            return f"{removal.name}: {refusal}; no changes were made"
    return ""


@deploy("Removal")
def remove_node(
    *, options: ClusterOptions, topology: Topology, node: str, force: bool, drain_timeout: int
) -> None:
    """Remove a node from the cluster, and the cluster from its machine. What an earlier run did is not done again.

    ``node`` is its name; when empty it is the one host that ``--limit`` names. ``force`` allows to remove a node
    whose machine cannot be reached. ``drain_timeout`` are the seconds that its pods have to go.

    Raises:
        InputError: there is no such node.
        DeployError: the cluster needs it, cannot be asked without it, or its machine cannot be reached or is of another
            cluster.
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
        removal.others_moved(
            name=f"Point the workers away from {name}",
            topology=topology.without(name),
            endpoint=options.endpoint,
            address=coordinator.ip,
            leaving=address_of(name, node=chosen.listed, etcd=chosen.members),
        )
        if chosen.machine:
            # On a lost machine nobody stops a pod; its pods go with the node's object.
            removal.drained(name=f"Drain {name}", through=through, node=name, timeout=drain_timeout)
        if chosen.machine and chosen.machine in topology.control_planes:
            removal.api_server_stopped(
                name=f"Stop the API server of {name}",
                machine=inventory.get_host(chosen.machine.host),
                through=through,
                node=name,
                ip=chosen.machine.ip,
            )
        removal.etcd_member_removed(
            name=f"Remove {name} from etcd",
            through=through,
            node=name,
            ids=tuple(member.id for member in chosen.members),
        )
        removal.node_deleted(name=f"Delete the node {name}", through=through, node=name)
    barrier(name=f"Wait for {name} to leave")
    if chosen.machine and host.name == chosen.machine.host:
        removal.gone(name=f"Verify that {name} has left", through=through, node=name, ip=chosen.machine.ip)
        clean_machine(options=options, keep_etcd=True)


def _find(state: State, *, options: ClusterOptions, topology: Topology, node: str, force: bool) -> Removal:
    """Find what is to be removed, and refuse what must not be."""
    active = active_hosts(state)
    limited_to = [each.name for each in state.limit_hosts] if isinstance(state.limit_hosts, list) else []
    election = ask_planned_leader(state, topology)
    settings = ask_planned_settings(state, topology)
    ownership = ownership_findings(
        election=election,
        cluster_name=None if settings and settings.cluster_name else options.cluster_name,
        kubeconfig=options.kubeconfig_path,
        kubeconfig_ca=kubeconfig_ca(options),
    )
    refuse([*ownership, *(identity_findings(options, settings) if settings else ())])
    members = ask_planned_members(state, topology)
    if members is None or not election.exists or election.problem:
        raise DeployError(
            f"{node or 'the node'}: {election.problem or 'there is no cluster'}; no changes were made; to give up the "
            "whole cluster use deploys/reset.py"
        )
    name, listed = choose(topology, name=node, limited_to=limited_to, members=members)
    here = listed is not None and listed.host in active
    removal = planned_removal(
        topology,
        name=name,
        listed=listed,
        found=read(inventory.get_host(listed.host), KubeadmNode) if listed and here else None,
        election=election,
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
    """Refuse again by what was read with the lock in hand, and stop when something else is there than was planned for."""
    now = find()
    if (now.name, now.machine, now.coordinator) != (
        planned.name,
        planned.machine,
        planned.coordinator,
    ) or not set(now.members) <= set(planned.members):
        raise DeployError(
            f"{planned.name}: the cluster has changed since this run was prepared; no changes were made; run it again"
        )
