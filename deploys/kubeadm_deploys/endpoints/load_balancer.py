"""A load balancer that this project does not run, for example a cloud's."""

from kubeadm_deploys.endpoints.kind import EndpointKind
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions


def worker_address(*, options: ClusterOptions, control_planes: tuple[Node, ...], current: str) -> str:
    """Return the load balancer's address."""
    return str(options.api_load_balancer_address or "")


KIND = EndpointKind(worker_address=worker_address)
