"""A machine, or all of them, as before the cluster: ready to be joined again, or to go."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

from pyinfra import host, inventory
from pyinfra.api import State, deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys import cni
from kubeadm_deploys.cluster.leader import active_hosts, ask_control_planes, ask_planned_leader
from kubeadm_deploys.cluster.members import ask_planned_members, ask_planned_settings
from kubeadm_deploys.election import Election, fingerprint, has_cluster
from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_traces import ClusterTraces
from kubeadm_deploys.facts.kubeadm_node import (
    KubeadmNode,
    KubeadmNodeState,
    NodeState,
    is_of_another_cluster,
    node_state,
)
from kubeadm_deploys.facts.machine import Machine
from kubeadm_deploys.facts.reading import NotRead, ask, in_parallel, read
from kubeadm_deploys.findings import Finding, Severity, dangers, unwaived
from kubeadm_deploys.foreign_checks import foreign_findings
from kubeadm_deploys.hetzner import cloud_controller
from kubeadm_deploys.kubeadm_documents import RESOLVER_FILE
from kubeadm_deploys.live_options import identity_findings
from kubeadm_deploys.locking import check_under_lock
from kubeadm_deploys.machine_checks import Subject
from kubeadm_deploys.membership import ANOTHER_CLUSTER, ownership_findings
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import reset
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.preflight import kubeconfig_ca, refuse, subjects_of
from kubeadm_deploys.run_parts import Decisions, part

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
    if str(confirmation) != options.cluster_name:
        raise InputError(
            [
                f"confirm: {confirmation or 'nothing'!r} is not the name of the cluster; everything in it would be lost "
                f"with these machines; no changes were made; to do it, add --data confirm={options.cluster_name}"
            ]
        )


@deploy("Reset")
def reset_machine(*, options: ClusterOptions, topology: Topology, force: bool) -> None:
    """Take everything of the cluster from the machine; packages, containerd and images stay.

    Part of a cluster that goes on is not for this, but for ``remove_node``, unless ``force``.

    Raises:
        DeployError: there is something on the machine that is not this cluster's, or it is part of one that goes on.
        NotRead: a machine of this run did not answer.
    """
    check = partial(_refuse, host.state, options=options, topology=topology, force=force)
    part(host.state, Decisions).once("reset", check)
    check_under_lock(check, key="reset")
    clean_machine(options=options, keep_etcd=False)


def _refuse(state: State, *, options: ClusterOptions, topology: Topology, force: bool) -> None:
    """Refuse the whole run if anything speaks against cleaning any of its machines."""
    election = ask_planned_leader(state, topology)
    active = active_hosts(state)
    hosts = [inventory.get_host(name) for name in active]
    machines = in_parallel(lambda each: read(each, Machine), hosts)
    found = in_parallel(lambda each: read(each, KubeadmNode), hosts)
    settings = None
    # A cluster that is broken says little of itself, and is still to be given up: its machines' files count then.
    with suppress(NotRead):
        settings = ask_planned_settings(state, topology)
    findings = [
        *ownership_findings(
            election=election,
            cluster_name=None if settings and settings.cluster_name else options.cluster_name,
            kubeconfig=options.kubeconfig_path,
            kubeconfig_ca=kubeconfig_ca(options),
        ),
        *(identity_findings(options, settings) if settings else ()),
    ]
    subjects = subjects_of(
        topology,
        machines=machines,
        found=found,
        cluster_ca=election.ca_certificate,
        # Who leaves the cluster need not be registered in it.
        members=ClusterMembersState(),
    )
    for subject in subjects:
        findings += subject_findings(
            subject,
            options=options,
            topology=topology,
            # A cluster that is there was compared with it, and each machine with that.
            kubeconfig_ca=None if election.exists else kubeconfig_ca(options),
            leader=ask_control_planes(state, topology)[election.leader],
        )
    refuse(dangers(unwaived(findings, waived=options.waive_checks)))
    if force:
        return
    members = ask_planned_members(state, topology) if not election.problem else None
    if refusal := reset_refusal(
        topology,
        found=found,
        control_planes=ask_control_planes(state, topology),
        election=election,
        members=members,
    ):
        raise DeployError(refusal)


def subject_findings(
    subject: Subject,
    *,
    options: ClusterOptions,
    topology: Topology,
    kubeconfig_ca: str | None,
    leader: KubeadmNodeState | NotRead,
) -> Iterator[Finding]:
    """What speaks against cleaning a machine, by what is on it.

    ``kubeconfig_ca`` is the CA certificate in the operator's kubeconfig where no cluster is there to compare with, and
    ``leader`` what was read on the control plane that leads.
    """
    own_ca = subject.kubeadm.ca_certificate
    if (
        has_cluster(leader)
        and isinstance(leader, KubeadmNodeState)
        and not leader.ca_certificate
        and own_ca
        and any(is_of_another_cluster(each, cluster_ca=own_ca) for each in (leader, subject.kubeadm))
    ):
        # Its kubelet's certificate shows which CA it had.
        yield Finding(
            check="another-cluster",
            host=subject.node.host,
            severity=Severity.DANGER,
            found=ANOTHER_CLUSTER[0],
            cure=ANOTHER_CLUSTER[1],
        )
    yield from foreign_findings(subject, options=options, topology=topology)
    yield from reset_findings(
        subject.kubeadm,
        node=subject.node,
        topology=topology,
        cluster_name=options.cluster_name,
        endpoint=options.endpoint,
        kubeconfig_ca=kubeconfig_ca,
    )


def reset_refusal(
    topology: Topology,
    *,
    found: Mapping[str, KubeadmNodeState],
    control_planes: Mapping[str, KubeadmNodeState | NotRead],
    election: Election,
    members: ClusterMembersState | None,
) -> str:
    """Why the machines of this run are not cleaned without force, empty when they are.

    ``found`` is what was read on them, by host, ``control_planes`` on every control plane of the inventory.
    """
    reason = why_it_goes_on(
        topology, active=found.keys(), control_planes=control_planes, election=election, members=members
    )
    leaving = [topology.node(name).name for name, state in found.items() if is_part(state)]
    if not (reason and leaving):
        return ""
    one = f" --data node={leaving[0]}" if len(leaving) == 1 else " --data node=NAME"
    return (
        f"{', '.join(leaving)}: part of a cluster that goes on without {'it' if len(leaving) == 1 else 'them'} "
        f"({reason}); no changes were made; remove single nodes with deploys/remove_node.py{one}, or leave --limit out "
        "to give up the whole cluster; --data force=true resets the machines all the same"
    )


def is_part(found: KubeadmNodeState) -> bool:
    """Whether a machine has anything of a cluster."""
    return node_state(found) is not NodeState.ABSENT


def why_it_goes_on(
    topology: Topology,
    *,
    active: Collection[str],
    control_planes: Mapping[str, KubeadmNodeState | NotRead],
    election: Election,
    members: ClusterMembersState | None,
) -> str:
    """Why the cluster goes on when the machines of this run are cleaned, empty when it does not.

    A control plane that cannot be read may be one of a cluster that goes on.
    """
    for node in topology.control_planes:
        if node.host in active:
            continue
        state = control_planes[node.host]
        if isinstance(state, NotRead):
            return f"{node.name} could not be asked: {state.reason}"
        if state.has_cluster:
            return f"{node.name} is a control plane of it, and not part of this run"
    if not election.exists or members is None:
        return ""
    addresses = {node.ip for node in topology.control_planes}
    others = [member.name for member in members.etcd if member.joined and member.peer_ip not in addresses]
    return f"{', '.join(others)} is a control plane of it, and not in the inventory" if others else ""


def reset_findings(
    found: KubeadmNodeState,
    *,
    node: Node,
    topology: Topology,
    cluster_name: str,
    endpoint: str,
    kubeconfig_ca: str | None,
) -> Iterator[Finding]:
    """Why a machine is not shown to be of the cluster that the operator has named, by its own files."""
    another = partial(Finding, check="another-cluster", host=node.host, severity=Severity.DANGER)
    if found.cluster_name and found.cluster_name != cluster_name:
        yield another(
            found=f"its cluster is called {found.cluster_name!r}, and not {cluster_name!r}",
            cure="take it out of the inventory, or name its cluster in cluster_name and confirm",
        )
    if kubeconfig_ca and is_of_another_cluster(found, cluster_ca=kubeconfig_ca):
        yield another(
            found=f"its CA certificate is not the one ({fingerprint(kubeconfig_ca)}) of the kubeconfig of {cluster_name}",
            cure="take it out of the inventory; if it is of an earlier cluster of that name, move that file away",
        )
    if not found.server:
        return
    server = urlsplit(found.server).hostname or found.server
    if server not in {endpoint, "127.0.0.1", "localhost", *(each.ip for each in topology.control_planes)}:
        yield another(
            found=f"its kubelet belongs to the cluster at {found.server}, and not to the one at {endpoint}",
            cure="take it out of the inventory, or set cluster_name or control_plane_endpoint to its cluster's",
        )


@deploy("Machine")
def clean_machine(*, options: ClusterOptions, keep_etcd: bool) -> None:
    """Take everything of a cluster from the machine, whoever it belonged to; packages, containerd and images stay.

    With ``keep_etcd`` the data of its etcd are renamed and kept, until a machine is reset.
    """
    reset.cleaned(
        name="Take everything of the cluster from the machine",
        endpoint=options.endpoint,
        units=UNITS,
        paths=PATHS,
        keep_etcd=keep_etcd,
    )


def traces(*, options: ClusterOptions) -> list[str]:
    """What there is of a cluster on the machine that is in hand."""
    return ask(host, ClusterTraces, endpoint=options.endpoint, paths=PATHS)
