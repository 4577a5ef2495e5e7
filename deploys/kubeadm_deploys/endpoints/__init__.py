"""What stands behind the name of the API, one module a kind.

Each has ``worker_address``: to which address a worker resolves the name. ``current`` is what it resolves it to now,
empty when to nothing, and ``control_planes`` are the members of the cluster whose API server answers.
"""

from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.options import ClusterOptions


def kind_of(*, options: ClusterOptions, topology: Topology) -> str:
    """What stands behind the name for workers: the option, or what suits the cluster when that is left empty."""
    if options.endpoint_kind:
        return options.endpoint_kind
    if options.load_balancer_address:
        return "load_balancer"
    return "single" if len(topology.control_planes) == 1 else "local_proxy"
