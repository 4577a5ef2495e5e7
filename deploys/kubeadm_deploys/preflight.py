"""What is refused before anything is changed."""

from pyinfra import host, logger
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys import cluster_run
from kubeadm_deploys.membership import join_refusal, majority_unlisted, unlisted_members
from kubeadm_deploys.nodes import Topology


@deploy("Preflight")
def check_membership(*, topology: Topology) -> None:
    """Check that the machines are the cluster's, or can become so. Changes nothing, and reads while a run is prepared.

    Raises:
        DeployError: the machine belongs to another cluster or has the other role, another machine has its name, the
            inventory lacks most of the cluster's control planes, or no cluster was found but a control plane that may
            have one cannot be reached.
    """
    run = cluster_run.CURRENT
    election = run.election(topology)
    members = run.members(topology)
    problem = majority_unlisted(topology, found=members)
    if not election.exists:
        problem = election.problem
    if problem:
        raise DeployError(problem)
    if refusal := join_refusal(
        topology, node=topology.node(host.name), found=run.found(host), election=election, members=members
    ):
        raise DeployError(f"{host.name}: {refusal}")
    if run.speaks(host, topology):
        for name in unlisted_members(topology, found=members):
            logger.warning(
                f"--> Warning: {name} is a control plane of the cluster, but not in the inventory; if it is lost, remove "
                f"it: deploys/remove_node.py --data node={name} --data force=true"
            )
