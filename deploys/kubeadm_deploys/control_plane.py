"""Guide section "Creating a cluster with kubeadm": the control plane.

Source: Kubernetes documentation, "Creating a cluster with kubeadm".
"""

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys import cluster_run
from kubeadm_deploys.kubeadm_documents import init_document
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import kubeadm
from kubeadm_deploys.options import ClusterOptions


@deploy("Control plane")
def create_control_plane(*, options: ClusterOptions, topology: Topology) -> None:
    """Create the cluster on the first control plane of the topology; does nothing on every other host."""
    first = topology.control_planes[0]
    if host.name == first.host:
        kubeadm.initialized(
            name="Create the control plane",
            document=init_document(
                options=options, topology=topology, node=first, token=cluster_run.CURRENT.token
            ),
        )


@deploy("Join credentials")
def delete_join_credentials(*, topology: Topology) -> None:
    """Delete what this run made for joining; to be called when every node has joined."""
    if host.name == topology.control_planes[0].host:
        kubeadm.join_token_deleted(name="Delete the join token")
