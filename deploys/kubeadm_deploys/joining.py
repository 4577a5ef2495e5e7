"""Guide section "Joining your nodes": workers and further control planes.

Source: Kubernetes documentation, "Creating a cluster with kubeadm" and "Creating Highly Available Clusters with
kubeadm" (stacked control plane).
"""

from functools import partial

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys.api_endpoint import resolve_api_endpoint
from kubeadm_deploys.kubeadm_documents import API_PORT, join_document, token_document
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import joining, kubeadm
from kubeadm_deploys.options import ClusterOptions


@deploy("Joining")
def join_nodes(*, options: ClusterOptions, topology: Topology) -> None:
    """Join every node of the topology that is not yet a member: workers at once, control planes one after the other.

    Raises:
        OperationValueError: the machine is a member of another cluster or has the other role, or another machine has
            its name in the cluster.
    """
    node = topology.node(host.name)
    control_plane = node in topology.control_planes
    # One operation for both roles, so that no worker waits for a control plane.
    joining.joined(
        name="Join the cluster",
        topology=topology,
        node=node,
        endpoint=options.endpoint,
        port=API_PORT,
        document=partial(join_document, options=options, node=node, control_plane=control_plane),
        token_document=token_document,
    )
    if control_plane:
        # From now on its own API server answers.
        resolve_api_endpoint(options=options, topology=topology)


@deploy("Join credentials")
def delete_join_credentials(*, topology: Topology) -> None:
    """Delete what this run made for joining, and what killed runs left of it; call it when every node has joined."""
    kubeadm.join_tokens_deleted(name="Delete the join token", topology=topology)
