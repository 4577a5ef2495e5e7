"""A machine, or all of them, as before the cluster: ready to be joined again, or to go."""

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys import cluster_run, cni
from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_traces import ClusterTraces
from kubeadm_deploys.facts.kubeadm_node import NodeState, node_state
from kubeadm_deploys.hetzner import cloud_controller
from kubeadm_deploys.kubeadm_documents import RESOLVER_FILE
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import reset
from kubeadm_deploys.options import ClusterOptions

UNITS = (local_proxy.UNIT,)
PATHS = (
    cni.FOLDER,
    cloud_controller.FOLDER,
    local_proxy.FOLDER,
    local_proxy.UNIT_FILE,
    RESOLVER_FILE,
)
"""What this project put on machines for the cluster, beside kubeadm's own files."""


def refuse_unconfirmed(*, options: ClusterOptions, confirmation: object) -> None:
    """Check that the operator has named the cluster.

    Raises:
        InputError: with what to add to the command.
    """
    if confirmation != options.cluster_name:
        raise InputError(
            [
                f"confirm: {confirmation or 'nothing'!r} is not the name of the cluster; everything in it would be lost "
                f"with these machines; nothing was changed; to do it, add --data confirm={options.cluster_name}"
            ]
        )


@deploy("Reset")
def reset_machine(*, options: ClusterOptions, topology: Topology, force: bool) -> None:
    """Take everything of the cluster from the machine; packages, containerd and images stay.

    Part of a cluster that goes on is not for this, but for ``remove_node``, unless ``force``.

    Raises:
        DeployError: the machine belongs to another cluster, or is part of one that goes on.
    """
    run = cluster_run.CURRENT
    election = run.election(topology)
    state = node_state(run.found(host), cluster_ca=election.ca_certificate)
    if state is NodeState.FOREIGN:
        raise DeployError(
            f"{host.name}: belongs to another cluster than the inventory's control planes (its CA certificate differs); "
            "nothing was changed; take it out of the inventory"
        )
    goes_on = any(node.host not in run.active(host) for node in election.healthy)
    if state is NodeState.MEMBER and goes_on and not force:
        name = topology.node(host.name).name
        raise DeployError(
            f"{host.name}: is a node of a cluster that goes on without it; nothing was changed; remove it with "
            f"deploys/remove_node.py --data node={name}, or leave --limit out to give up the whole cluster; "
            "--data force=true resets it all the same"
        )
    clean_machine(options=options)


@deploy("Machine")
def clean_machine(*, options: ClusterOptions) -> None:
    """Take everything of a cluster from the machine, whoever it belonged to; packages, containerd and images stay."""
    reset.cleaned(
        name="Take everything of the cluster from the machine",
        endpoint=options.endpoint,
        units=UNITS,
        paths=PATHS,
    )


def traces(*, options: ClusterOptions) -> list[str]:
    """What there is of a cluster on the machine that is in hand."""
    return host.get_fact(ClusterTraces, endpoint=options.endpoint, paths=PATHS)
