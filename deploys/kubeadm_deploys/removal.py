"""A node leaves the cluster: a worker or a control plane, alive or lost."""

from pyinfra import host, inventory
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys import cluster_run
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_members import ClusterMembersState, RegisteredNode
from kubeadm_deploys.facts.etcd import EtcdHealth, EtcdMember
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import removal
from kubeadm_deploys.operations.barrier import barrier
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.reset import clean_machine


def choose(
    topology: Topology, *, name: str, only_host: str, members: ClusterMembersState
) -> tuple[str, Node | None]:
    """Find the node to remove: its name, and the machine if the inventory has it.

    ``name`` is the one that the operator gave, ``only_host`` the one host that ``--limit`` leaves, if it leaves one.

    Raises:
        InputError: no node is named, or none has this name.
    """
    if not name and only_host:
        name = topology.node(only_host).name
    node = next((node for node in topology.nodes if node.name == name), None)
    known = dict.fromkeys(
        [*(each.name for each in topology.nodes), *members.nodes, *(each.name for each in members.etcd)]
    )
    if name not in known:
        raise InputError(
            [
                f"node: {name or 'nothing'!r} is no node of this cluster; add --data node=NAME with one of {', '.join(known)}"
            ]
        )
    return name, node


def address_of(name: str, *, node: Node | None, members: ClusterMembersState) -> str:
    """The address of the node that leaves, empty when nobody knows it any more."""
    known = [node.ip] if node else [member.peer_ip for member in members.etcd if member.name == name]
    return next(iter(known), "")


def is_machine_of(registered: RegisteredNode | None, *, found: KubeadmNodeState) -> bool:
    """Whether a machine is the one that the node stands for, and not a new one that was given its name."""
    return registered is None or registered.machine_id == found.machine_id


def quorum_refusal(etcd: tuple[EtcdMember, ...], *, name: str, healthy: frozenset[str]) -> str:
    """Why etcd must keep this member, empty when it can do without. ``healthy`` are addresses of members that answer.

    Source: etcd's FAQ, "What is failure tolerance?"
    """
    voters = [member for member in etcd if member.joined]
    remaining = [member for member in voters if member.name != name]
    if len(remaining) == len(voters):
        return ""
    if not remaining:
        return "is the last control plane; to give up the whole cluster use deploys/reset.py"
    answering = [member for member in remaining if member.peer_ip in healthy]
    needed = len(remaining) // 2 + 1
    if len(answering) >= needed:
        return ""
    silent = [member.name for member in remaining if member not in answering]
    return (
        f"cannot go: etcd would have {len(remaining)} members and need {needed} of them, and {', '.join(silent)} "
        f"{'do' if len(silent) > 1 else 'does'} not answer; start that machine, or remove it first"
    )


@deploy("Removal")
def remove_node(
    *, options: ClusterOptions, topology: Topology, node: str, force: bool, drain_timeout: int
) -> None:
    """Remove a node from the cluster, and the cluster from its machine. What an earlier run did is not done again.

    ``node`` is its name; when empty it is the one host that ``--limit`` leaves. ``force`` allows to remove a node
    whose machine cannot be reached. ``drain_timeout`` are the seconds that its pods have to go.

    Raises:
        InputError: there is no such node.
        DeployError: the cluster needs it, cannot be spoken to without it, or its machine cannot be reached.
    """
    run = cluster_run.CURRENT
    active = run.active(host)
    limited = isinstance(host.state.limit_hosts, list)
    members = run.members(topology)
    name, listed = choose(
        topology, name=node, only_host=active[0] if limited and len(active) == 1 else "", members=members
    )
    machine = listed if listed and listed.host in active else None
    if machine and not is_machine_of(
        members.nodes.get(name), found=run.found(inventory.get_host(machine.host))
    ):
        machine = None
    coordinator = next((each for each in run.usable(topology) if each != listed), None)
    if coordinator is None or not run.election(topology).healthy:
        raise DeployError(
            f"{name}: no other control plane answers that could take it out of the cluster; nothing was changed; "
            "to give up the whole cluster use deploys/reset.py"
        )
    if machine is None and not force:
        raise DeployError(
            f"{name}: its machine cannot be reached (stopped, not in the inventory, or another one has its name there), "
            "so its pods may still run; "
            "nothing was changed; start it, or add --data force=true if it is lost"
        )

    # One host acts for the cluster: the coordinating control plane, unless --limit leaves it out.
    if host.name == (coordinator.host if coordinator.host in active else active[0]):
        through = inventory.get_host(coordinator.host)
        if refusal := quorum_refusal(members.etcd, name=name, healthy=through.get_fact(EtcdHealth)):
            raise DeployError(f"{name}: {refusal}; nothing was changed")
        removal.others_moved(
            name=f"Lead the workers past {name}",
            topology=topology.without(name),
            endpoint=options.endpoint,
            address=coordinator.ip,
            leaving=address_of(name, node=listed, members=members),
        )
        if machine:
            # On a lost machine nobody stops a pod; its pods go with the node's object.
            removal.drained(name=f"Drain {name}", through=through, node=name, timeout=drain_timeout)
        if machine and machine in topology.control_planes:
            removal.api_server_stopped(
                name=f"Stop the API server of {name}", machine=inventory.get_host(machine.host)
            )
        removal.etcd_member_removed(name=f"Take {name} out of etcd", through=through, node=name)
        removal.node_deleted(name=f"Delete the node {name}", through=through, node=name)
    barrier(name=f"{name} is no node any more")
    if machine and host.name == machine.host:
        removal.gone(
            name=f"Go on only without {name}", through=inventory.get_host(coordinator.host), node=name
        )
        clean_machine(options=options)
