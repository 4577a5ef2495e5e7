"""One control plane's address: nothing to install, and the workers' API goes away with that machine."""

from kubeadm_deploys.nodes import Node
from kubeadm_deploys.options import ClusterOptions


def worker_address(*, options: ClusterOptions, control_planes: tuple[Node, ...], current: str) -> str:
    """The first control plane's address, or the current one while it is any control plane's."""
    addresses = [node.ip for node in control_planes]
    return current if current in addresses else addresses[0]
