"""A load balancer that somebody else runs, such as the cloud."""

from kubeadm_deploys.nodes import Node
from kubeadm_deploys.options import ClusterOptions


def worker_address(*, options: ClusterOptions, control_planes: tuple[Node, ...], current: str) -> str:
    """The load balancer's address."""
    return options.load_balancer_address
