"""One control plane's address: nothing to install, but workers lose the API together with that machine."""

from kubeadm_deploys.endpoints.kind import EndpointKind
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions


def worker_address(*, options: ClusterOptions, control_planes: tuple[Node, ...], current: str) -> str:
    """Return the first control plane's address, or the current one while it is any control plane's."""
    addresses = [node.ip for node in control_planes]
    return current if current in addresses else addresses[0]


KIND = EndpointKind(worker_address=worker_address)
