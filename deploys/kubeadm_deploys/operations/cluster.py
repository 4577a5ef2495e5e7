"""The cluster as a whole, before anything is done to it."""

from collections.abc import Callable, Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations.failure import failed, fails_clearly


@operation()
@fails_clearly
def found(*, topology: Topology, check: Callable[[], None]) -> Generator[StringCommand, None, None]:
    """Go on only with a cluster whose API answers, or where there is no cluster yet.

    + topology: the cluster as the inventory has it
    + check: raises when the cluster that answers is not to be changed; it could not be asked before
    """
    problem = ask_leader(host.state, topology).problem
    if not host.state.is_executing:
        return
    if problem:
        yield failed(problem)
        return
    check()
