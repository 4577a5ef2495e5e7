"""Resolve the name of the API endpoint on every node.

Nodes know the API by a name, so that the address behind it can change. Each node resolves it by a line in its
own ``/etc/hosts``. A control plane and its kubelet use its own API server: it does not depend on another one,
and does not reach itself through a load balancer, which many load balancers do not allow. A worker uses what
the option ``endpoint_kind`` says; ``endpoints`` has one module for each kind.
"""

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.documents import hosts_file
from kubeadm_deploys.endpoints import KINDS, kind_of
from kubeadm_deploys.facts.endpoint_name import HOSTS_FILE, RESTART_DUE, ApiEndpoint, ApiEndpointState
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.remote.reading import read
from kubeadm_deploys.scripts import script

BEFORE_RESTART = f"trap '' HUP; touch {RESTART_DUE} &&"
"""How the command begins that writes the hosts file of a node and restarts the pods that use it."""


@operation()
@fails_clearly
def resolved(*, options: ClusterOptions, topology: Topology) -> Generator[StringCommand, None, None]:
    """Resolve the endpoint's name on this machine to the address where it reaches the API.

    + options: of the cluster
    + topology: the cluster
    """
    endpoint = options.endpoint
    found = read(host, ApiEndpoint)
    address = address_for(
        options=options,
        topology=topology,
        node=topology.node(host.name),
        control_planes=ask_leader(host.state, topology).healthy_control_planes(topology),
        current=hosts_file.address_of(found.hosts_files.get(HOSTS_FILE, ""), name=endpoint),
        serves_api=found.serves_api,
    )
    commands = resolve_commands(found, endpoint=endpoint, address=address)
    if not commands:
        host.noop(f"already points to {address}")
    yield from commands


def resolve_commands(found: ApiEndpointState, *, endpoint: str, address: str) -> list[StringCommand]:
    """Return the commands that resolve the endpoint's name to this address; none if it does already."""
    wanted = {
        path: hosts_file.with_name(text, name=endpoint, address=address)
        for path, text in found.hosts_files.items()
    }
    differing = {path: text for path, text in wanted.items() if text != found.hosts_files[path]}
    restart = script("restart-clients", RESTART_DUE)
    if not differing:
        return [restart] if found.joined and found.restart_due else []
    write = write_command({path: text.encode(errors="surrogateescape") for path, text in differing.items()})
    if not (found.joined and HOSTS_FILE in differing):
        return [write]
    # One command that survives a lost connection; if the restart fails, the next run repeats it.
    return [StringCommand(BEFORE_RESTART, write, "&&", restart, **write.connector_arguments)]


def address_for(
    *,
    options: ClusterOptions,
    topology: Topology,
    node: Node,
    control_planes: tuple[Node, ...],
    current: str,
    serves_api: bool,
) -> str:
    """Return the address to which a node should resolve the name of the API.

    ``control_planes`` are the healthy ones, the leader first; ``current`` is the node's address so far;
    ``serves_api`` is whether an API server runs on the node.

    A control plane does not use the load balancer even to join: it becomes a target of it while it joins,
    long before its own API server answers.
    """
    if node not in topology.control_planes:
        kind = kind_of(options=options, topology=topology)
        return kind.worker_address(options=options, control_planes=control_planes, current=current)
    return node.ip if serves_api else control_planes[0].ip


def install_api_endpoint(*, options: ClusterOptions, topology: Topology) -> None:
    """Install on the machine what the cluster's kind of endpoint needs."""
    kind = kind_of(options=options, topology=topology)
    if kind.install:
        kind.install(topology=topology)


def remove_other_api_endpoints(*, options: ClusterOptions, topology: Topology) -> None:
    """Remove what other kinds of endpoint left on the machine; call it after ``resolve_api_endpoint``."""
    wanted = kind_of(options=options, topology=topology)
    for kind in KINDS.values():
        if kind.remove and kind is not wanted:
            kind.remove(topology=topology)


@deploy("API endpoint")
def resolve_api_endpoint(*, options: ClusterOptions, topology: Topology) -> None:
    """Resolve the endpoint's name to the API server that the machine should use now."""
    resolved(name="Resolve the name of the API endpoint", options=options, topology=topology)
