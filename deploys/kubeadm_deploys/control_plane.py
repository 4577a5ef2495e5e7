"""Guide section "Creating a cluster with kubeadm": the control plane.

Source: Kubernetes documentation, "Creating a cluster with kubeadm".
"""

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys.cluster.deferred_check import DeferredCheck
from kubeadm_deploys.cluster.join_credentials import JoinCredentials
from kubeadm_deploys.kubeadm_documents import init_document
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import cluster, kubeadm
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.run_parts import part


@deploy("Cluster")
def find_cluster(*, topology: Topology) -> None:
    """Find the cluster's API, or that there is no cluster yet. Every host waits here for all others.

    A static pod's manifest that only kubeadm's backup has is put back first. An API server that does not answer is
    given time, as after a reboot; without any, all hosts fail here and say what was seen.
    """
    kubeadm.manifests_restored(name="Restore missing manifests", topology=topology)
    cluster.found(name="Find the cluster", topology=topology, check=part(host.state, DeferredCheck).make)


@deploy("Control plane")
def create_control_plane(*, options: ClusterOptions, topology: Topology) -> None:
    """Create the cluster on one of the topology's control planes where there is none; does nothing elsewhere."""
    node = topology.node(host.name)
    if node in topology.control_planes:
        kubeadm.initialized(
            name="Create the control plane",
            topology=topology,
            node_name=node.name,
            document=init_document(
                options=options, topology=topology, node=node, token=part(host.state, JoinCredentials).token
            ),
            cluster_name=options.cluster_name,
            kubeconfig=options.kubeconfig_path,
        )
