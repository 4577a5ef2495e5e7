"""Guide section "Creating a cluster with kubeadm": the control plane, one node or several.

Source: Kubernetes documentation, "Creating a cluster with kubeadm" and "Creating Highly Available Clusters
with kubeadm" (stacked control plane).
"""

from functools import partial

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys import cluster_run
from kubeadm_deploys.api_endpoint import resolve_api_endpoint
from kubeadm_deploys.kubeadm_documents import API_PORT, init_document, join_document, token_document
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
            node_name=first.name,
            document=init_document(
                options=options, topology=topology, node=first, token=cluster_run.CURRENT.token
            ),
        )


@deploy("Further control planes")
def join_control_planes(*, options: ClusterOptions, topology: Topology) -> None:
    """Join the other control planes of the topology, one after the other; does nothing on every other host.

    Raises:
        OperationValueError: the machine is a member of another cluster.
    """
    first, *others = topology.control_planes
    node = next((other for other in others if other.host == host.name), None)
    if node:
        kubeadm.joined(
            name="Join as a control plane",
            leader=first.host,
            endpoint=f"{options.endpoint}:{API_PORT}",
            control_plane=True,
            document=partial(join_document, options=options, node=node, control_plane=True),
            token_document=token_document,
            # etcd takes one new member at a time.
            _serial=True,
        )
        # From now on its own API server answers.
        resolve_api_endpoint(options=options, topology=topology)


@deploy("Join credentials")
def delete_join_credentials(*, topology: Topology) -> None:
    """Delete what this run made for joining; to be called when every node has joined."""
    if host.name == topology.control_planes[0].host:
        kubeadm.join_token_deleted(name="Delete the join token")
