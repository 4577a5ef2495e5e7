"""The name behind which the API servers stand.

Nodes know the API by a name and not by an address, so that what stands behind it can change later. Each node has its
own answer, a line of its ``/etc/hosts``. A control plane takes its own API server, so that none depends on another or
goes through a load balancer to itself, which many load balancers do not allow; its kubelet does the same, so that it
loses nothing that it had without. A worker takes what the option ``endpoint_kind`` says, one module of ``endpoints``
for each kind.
"""

from functools import partial

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys.endpoints import kind_of, load_balancer, local_proxy, single
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import api_endpoint
from kubeadm_deploys.options import ClusterOptions

_WORKER_ADDRESS = {
    "single": single.worker_address,
    "load_balancer": load_balancer.worker_address,
    "local_proxy": local_proxy.worker_address,
}


def address_for(
    *,
    options: ClusterOptions,
    topology: Topology,
    node: Node,
    control_planes: tuple[Node, ...],
    current: str,
    serves_api: bool,
) -> str:
    """To which address a node is to resolve the name of the API.

    ``control_planes`` are those that can be used, the leader first, ``current`` is the address until now, and
    ``serves_api`` whether an API server runs on the node.

    A further control plane is not sent through the load balancer even to join: it becomes one of its targets while
    it joins, long before its own API server answers.
    """
    if node not in topology.control_planes:
        worker_address = _WORKER_ADDRESS[kind_of(options=options, topology=topology)]
        return worker_address(options=options, control_planes=control_planes, current=current)
    return node.ip if serves_api else control_planes[0].ip


@deploy("API endpoint")
def resolve_api_endpoint(*, options: ClusterOptions, topology: Topology) -> None:
    """Let the machine resolve the endpoint's name to the API server that it is to use at this moment."""
    api_endpoint.resolved(
        name="Resolve the name of the API endpoint",
        topology=topology,
        endpoint=options.endpoint,
        address_for=partial(address_for, options=options, topology=topology, node=topology.node(host.name)),
    )
