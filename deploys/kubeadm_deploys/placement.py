"""Where pods may run: roles, labels and taints of nodes, as the inventory's data say.

Source: Kubernetes documentation, "Assigning Pods to Nodes" and "Taints and Tolerations".
"""

from pyinfra.api import deploy

from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import placement


@deploy("Placement")
def place_nodes(*, topology: Topology) -> None:
    """Keep roles, labels and taints of the nodes that have joined; what others put on a node stays.

    A new node has its taints from kubeadm, before the first pod; here they follow the data from then on.
    """
    placement.nodes_marked(name="Keep roles, labels and taints", topology=topology)
