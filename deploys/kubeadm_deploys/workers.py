"""Guide section "Joining your nodes"."""

from functools import partial

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys.kubeadm_documents import API_PORT, join_document, token_document
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import kubeadm
from kubeadm_deploys.options import ClusterOptions


@deploy("Workers")
def join_workers(*, options: ClusterOptions, topology: Topology) -> None:
    """Join every worker of the topology that is not yet a member; does nothing on every other host.

    Raises:
        OperationValueError: the machine is a member of another cluster.
    """
    node = next((worker for worker in topology.workers if worker.host == host.name), None)
    if node:
        kubeadm.joined(
            name="Join the cluster",
            leader=topology.control_planes[0].host,
            endpoint=f"{options.endpoint}:{API_PORT}",
            control_plane=False,
            document=partial(join_document, options=options, node=node, control_plane=False),
            token_document=token_document,
        )
