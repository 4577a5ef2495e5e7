"""A machine, or all of them, as before the cluster: ready to be joined again, or to go."""

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys import cluster_run, cni
from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_traces import ClusterTraces
from kubeadm_deploys.facts.kubeadm_node import NodeState, node_state
from kubeadm_deploys.findings import dangers, unwaived
from kubeadm_deploys.foreign_checks import foreign_findings
from kubeadm_deploys.hetzner import cloud_controller
from kubeadm_deploys.kubeadm_documents import RESOLVER_FILE
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import reset
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.preflight import refuse, subjects_of

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
        DeployError: there is something on the machine that is not this cluster's, or it is part of one that goes on.
    """
    run = cluster_run.CURRENT
    election = run.election(topology)
    refuse_foreign(options=options, topology=topology)
    state = node_state(run.found(host), cluster_ca=election.ca_certificate)
    goes_on = any(node.host not in run.active(host) for node in election.healthy)
    if state is NodeState.MEMBER and goes_on and not force:
        name = topology.node(host.name).name
        raise DeployError(
            f"{host.name}: is a node of a cluster that goes on without it; nothing was changed; remove it with "
            f"deploys/remove_node.py --data node={name}, or leave --limit out to give up the whole cluster; "
            "--data force=true resets it all the same"
        )
    clean_machine(options=options)


def refuse_foreign(*, options: ClusterOptions, topology: Topology) -> None:
    """Check that nobody else has something to lose on the machine that is in hand.

    Raises:
        DeployError: with what was found.
    """
    run = cluster_run.CURRENT
    machines = run.machines(
        urls={name: () for name in run.active(host)}, kubernetes_version=options.kubernetes_version
    )
    (subject,) = subjects_of(
        topology,
        machines={host.name: machines[host.name]},
        found={host.name: run.found(host)},
        cluster_ca=run.election(topology).ca_certificate,
        # Who leaves the cluster need not be registered in it.
        members=ClusterMembersState(),
    )
    findings = foreign_findings(subject, options=options, topology=topology)
    refuse(dangers(unwaived(findings, waived=options.waive_checks)))


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
