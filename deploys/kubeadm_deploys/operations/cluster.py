"""The cluster as a whole, before anything is done to it."""

from collections.abc import Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys import cluster_run
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations.failure import failed


@operation()
def found(*, topology: Topology) -> Generator[StringCommand, None, None]:
    """Go on only with a cluster whose API answers, or where there is no cluster yet.

    + topology: the cluster as the inventory has it
    """
    problem = cluster_run.CURRENT.election(topology).problem
    if problem and host.state.is_executing:
        yield failed(problem)
