"""The cluster as a whole, before anything is done to it."""

from collections.abc import Callable, Generator

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import StringCommand

from kubeadm_deploys import cluster_run
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations.failure import failed, fails_clearly
from kubeadm_deploys.quorum import QUORUM_FIX

_NO_API_FIX = "find out there why (systemctl status kubelet), then run again; to give up the whole cluster use deploys/reset.py"


@operation()
@fails_clearly
def found(*, topology: Topology, check: Callable[[], None]) -> Generator[StringCommand, None, None]:
    """Go on only with a cluster whose API answers, or where there is no cluster yet.

    + topology: the cluster as the inventory has it
    + check: raises when the cluster that answers is not to be changed; it could not be asked before
    """
    election = cluster_run.CURRENT.election(topology)
    if not host.state.is_executing:
        return
    if election.problem:
        silent = election.exists and not election.healthy and QUORUM_FIX not in election.problem
        yield failed(f"{election.problem}; {_NO_API_FIX}" if silent else election.problem)
        return
    check()
