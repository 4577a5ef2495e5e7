"""The name behind which the API servers stand.

Nodes know the API by a name and not by an address, so that what stands behind it can change later. Each node has its
own answer, a line of its ``/etc/hosts``: a control plane its own API server, so that none depends on another or goes
through a load balancer to itself, which many load balancers do not allow; a worker the load balancer, or without one
the first control plane.
"""

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import api_endpoint
from kubeadm_deploys.options import ClusterOptions


def address_for(*, options: ClusterOptions, topology: Topology, node: Node) -> str:
    """Where a node finds the API while it does not serve it itself.

    A further control plane is not sent through the load balancer even to join: it becomes one of its targets while
    it joins, long before its own API server answers.
    """
    if node in topology.workers and options.load_balancer_address:
        return options.load_balancer_address
    return topology.control_planes[0].ip


@deploy("API endpoint")
def resolve_api_endpoint(*, options: ClusterOptions, topology: Topology) -> None:
    """Let the machine resolve the endpoint's name to the API server that it is to use at this moment."""
    node = topology.node(host.name)
    api_endpoint.resolved(
        name="Resolve the name of the API endpoint",
        endpoint=options.endpoint,
        address=address_for(options=options, topology=topology, node=node),
        own_address=node.ip,
    )
