"""How workers reach the API by its name: one module for each kind, described by an ``EndpointKind``.

To add a kind, add a module here, a line in ``KINDS``, and a value of the option ``endpoint_kind``.
"""

from kubeadm_deploys.endpoints import load_balancer, local_proxy, single
from kubeadm_deploys.endpoints.kind import EndpointKind
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions

KINDS: dict[str, EndpointKind] = {
    "single": single.KIND,
    "load_balancer": load_balancer.KIND,
    "local_proxy": local_proxy.KIND,
}


def kind_of(*, options: ClusterOptions, topology: Topology) -> EndpointKind:
    """Return the kind of endpoint: the option's, or the one that suits the cluster if the option is empty."""
    if options.endpoint_kind:
        return KINDS[options.endpoint_kind]
    if options.api_load_balancer_address:
        return load_balancer.KIND
    return single.KIND if len(topology.control_planes) == 1 else local_proxy.KIND
