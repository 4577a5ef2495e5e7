"""Reset one machine or all of them to the state before the cluster."""

from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from urllib.parse import urlsplit

from pyinfra import host, inventory
from pyinfra.api import State, deploy, operation
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.clouds import CLOUDS
from kubeadm_deploys.cluster.api_leader import ApiLeader, fingerprint, has_cluster
from kubeadm_deploys.cluster.cleaning import cleaning
from kubeadm_deploys.cluster.leader import active_hosts, ask_control_planes, ask_planned_leader
from kubeadm_deploys.cluster.members import ask_planned_members, ask_planned_settings
from kubeadm_deploys.cluster.membership import ANOTHER_CLUSTER
from kubeadm_deploys.cni import CNIS
from kubeadm_deploys.documents import hosts_file
from kubeadm_deploys.documents.kubeadm_documents import RESOLVER_FILE
from kubeadm_deploys.endpoints import KINDS
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_traces import ClusterTraces
from kubeadm_deploys.facts.endpoint_name import ApiEndpoint
from kubeadm_deploys.facts.kubeadm_node import (
    RESTORE_FOLDER,
    SAVED_ETCD,
    KubeadmNode,
    KubeadmNodeState,
    NodeState,
    is_of_another_cluster,
    node_state,
)
from kubeadm_deploys.facts.machine import Machine
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.findings import Finding, Severity, errors_of, unskipped
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.operations.text_files import write_command
from kubeadm_deploys.preflight.check import (
    candidates_of,
    kubeconfig_ca,
    other_cluster_findings,
    refuse,
)
from kubeadm_deploys.preflight.conflict_checks import foreign_findings
from kubeadm_deploys.preflight.machine_checks import CandidateNode
from kubeadm_deploys.remote.reading import NotRead, ask, in_parallel, read
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.run.locking import check_under_lock


@operation()
@fails_clearly
def cleaned(
    *, endpoint: str, units: Sequence[str], paths: Sequence[str], keep_etcd: bool
) -> Generator[StringCommand, None, None]:
    """Remove all cluster state from this machine.

    + endpoint: name of the cluster's API, to remove from the hosts files
    + units: systemd units to stop and disable
    + paths: this package's files and folders to delete, including the units'
    + keep_etcd: whether etcd data is renamed and kept
    """
    saved_etcd = () if keep_etcd else (SAVED_ETCD,)
    if not ask(host, ClusterTraces, endpoint=endpoint, paths=(*paths, *saved_etcd)):
        host.noop("no cluster state on this machine")
        return
    yield from cleaning(host, keep=keep_etcd)
    for unit in units:
        name = QuoteString(unit)
        yield StringCommand(
            "if systemctl --quiet is-enabled",
            name,
            "2> /dev/null; then systemctl --quiet disable --now",
            name,
            "; fi",
        )
    yield StringCommand("rm --recursive --force", *map(QuoteString, paths), "&& systemctl daemon-reload")
    texts = ask(host, ApiEndpoint).hosts_files
    without = {path: hosts_file.without_name(text, name=endpoint) for path, text in texts.items()}
    if differing := {path: text for path, text in without.items() if text != texts[path]}:
        yield write_command({path: text.encode(errors="surrogateescape") for path, text in differing.items()})


UNITS = tuple(unit for kind in KINDS.values() for unit in kind.units)
PATHS = (
    *(path for cni in CNIS.values() for path in cni.paths),
    *(path for cloud in CLOUDS.values() for path in cloud.paths),
    *(path for kind in KINDS.values() for path in kind.paths),
    RESOLVER_FILE,
    RESTORE_FOLDER,
)
"""What this package creates on machines for the cluster, besides kubeadm's own files."""


def refuse_unconfirmed(*, options: ClusterOptions, confirmation: object) -> None:
    """Check that the operator has confirmed the reset with the cluster's name.

    Raises:
        InputError: the name is wrong or missing; the message says what to add to the command.
    """
    if str(confirmation) != options.cluster_name:
        raise InputError(
            [
                f"confirm: {'is missing' if confirmation is None else f'{confirmation!r} is not the name of the cluster'}, "
                "so no changes were made; a reset deletes everything in the cluster; to do it, add --data "
                f"confirm={options.cluster_name}"
            ]
        )


@deploy("Reset")
def reset_machine(*, options: ClusterOptions, topology: Topology, force: bool) -> None:
    """Remove all cluster state from the machine; packages, containerd and images stay.

    Nodes of a cluster that goes on are refused, unless ``force``: use ``remove_node`` for them.

    Raises:
        DeployError: the machine has data of another cluster, or is part of a cluster that goes on.
        NotRead: a machine of this run did not answer.
    """
    check = partial(_refuse, host.state, options=options, topology=topology, force=force)
    part(host.state, Decisions).once("reset", check)
    check_under_lock(check, key="reset")
    clean_machine(options=options, keep_etcd=False)


def _refuse(state: State, *, options: ClusterOptions, topology: Topology, force: bool) -> None:
    """Refuse the whole run if one of its machines must not be cleaned."""
    api_leader = ask_planned_leader(state, topology)
    active = active_hosts(state)
    hosts = [inventory.get_host(name) for name in active]
    machines = in_parallel(lambda machine: read(machine, Machine), hosts)
    found = in_parallel(lambda machine: read(machine, KubeadmNode), hosts)
    settings = None
    # A broken cluster may not answer, but must be resettable: then only its machines' files are checked.
    with suppress(NotRead):
        settings = ask_planned_settings(state, topology)
    findings = other_cluster_findings(api_leader, settings, options=options)
    candidates = candidates_of(
        topology,
        machines=machines,
        found=found,
        cluster_ca=api_leader.ca_certificate,
        # A machine that is reset need not be registered in the cluster.
        members=ClusterMembersState(),
    )
    for candidate in candidates:
        findings += subject_findings(
            candidate,
            options=options,
            topology=topology,
            # An existing cluster was compared with it above, and each machine is compared with the cluster.
            kubeconfig_ca=None if api_leader.exists else kubeconfig_ca(options),
            leader=ask_control_planes(state, topology)[api_leader.leader],
        )
    refuse(errors_of(unskipped(findings, skipped=options.skip_preflight_checks)))
    if force:
        return
    members = ask_planned_members(state, topology) if not api_leader.problem else None
    if refusal := reset_refusal(
        topology,
        found=found,
        control_planes=ask_control_planes(state, topology),
        api_leader=api_leader,
        members=members,
    ):
        raise DeployError(refusal)


def subject_findings(
    candidate: CandidateNode,
    *,
    options: ClusterOptions,
    topology: Topology,
    kubeconfig_ca: str | None,
    leader: KubeadmNodeState | NotRead,
) -> Iterator[Finding]:
    """Yield why a machine must not be cleaned, from what is on it.

    ``kubeconfig_ca`` is the CA certificate in the operator's kubeconfig, None if a cluster exists to compare
    with, and ``leader`` what was read on the leader.
    """
    own_ca = candidate.kubeadm.ca_certificate
    if (
        has_cluster(leader)
        and isinstance(leader, KubeadmNodeState)
        and not leader.ca_certificate
        and own_ca
        and any(is_of_another_cluster(state, cluster_ca=own_ca) for state in (leader, candidate.kubeadm))
    ):
        # The leader has lost its CA certificate, but its kubelet's certificate shows which CA it had.
        yield Finding(
            check="another-cluster",
            host=candidate.node.host,
            severity=Severity.ERROR,
            found=ANOTHER_CLUSTER[0],
            fix=ANOTHER_CLUSTER[1],
        )
    yield from foreign_findings(candidate, options=options, topology=topology)
    yield from reset_findings(
        candidate.kubeadm,
        node=candidate.node,
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
    api_leader: ApiLeader,
    members: ClusterMembersState | None,
) -> str:
    """Return why the machines of this run are not cleaned without force, empty if they are.

    ``found`` is what was read on these machines, ``control_planes`` on all control planes of the inventory,
    by host.
    """
    reason = why_it_goes_on(
        topology, active=found.keys(), control_planes=control_planes, api_leader=api_leader, members=members
    )
    leaving = [topology.node(name).name for name, state in found.items() if is_part(state)]
    if not (reason and leaving):
        return ""
    argument = f" --data node={leaving[0]}" if len(leaving) == 1 else " --data node=NAME"
    return (
        f"{', '.join(leaving)}: part of a cluster that goes on without "
        f"{'it' if len(leaving) == 1 else 'them'} ({reason}); no changes were made; remove single nodes with "
        f"deploys/remove_node.py{argument}, or run without --limit to give up the whole cluster; --data "
        "force=true resets the machines anyway"
    )


def is_part(found: KubeadmNodeState) -> bool:
    """Return whether a machine has any state of a cluster."""
    return node_state(found) is not NodeState.ABSENT


def why_it_goes_on(
    topology: Topology,
    *,
    active: Collection[str],
    control_planes: Mapping[str, KubeadmNodeState | NotRead],
    api_leader: ApiLeader,
    members: ClusterMembersState | None,
) -> str:
    """Return why the cluster goes on when the machines of this run are cleaned, empty if it does not.

    A control plane that cannot be read may belong to a cluster that goes on.
    """
    for node in topology.control_planes:
        if node.host in active:
            continue
        state = control_planes[node.host]
        if isinstance(state, NotRead):
            return f"{node.name} could not be read: {state.reason}"
        if state.has_cluster:
            return f"{node.name} is one of its control planes, but not part of this run"
    if not api_leader.exists or members is None:
        return ""
    addresses = {node.ip for node in topology.control_planes}
    others = [member.name for member in members.etcd if member.joined and member.peer_ip not in addresses]
    return f"it has control planes that are not in the inventory: {', '.join(others)}" if others else ""


def reset_findings(
    found: KubeadmNodeState,
    *,
    node: Node,
    topology: Topology,
    cluster_name: str,
    endpoint: str,
    kubeconfig_ca: str | None,
) -> Iterator[Finding]:
    """Yield why a machine's own files show that it may not belong to the cluster that the operator named."""
    another = partial(Finding, check="another-cluster", host=node.host, severity=Severity.ERROR)
    if found.cluster_name and found.cluster_name != cluster_name:
        yield another(
            found=f"its cluster is called {found.cluster_name!r}, not {cluster_name!r}",
            fix="take it out of the inventory, or name its cluster in cluster_name and confirm",
        )
    if kubeconfig_ca and is_of_another_cluster(found, cluster_ca=kubeconfig_ca):
        yield another(
            found=(
                f"its CA certificate is not the one ({fingerprint(kubeconfig_ca)}) in the kubeconfig of "
                f"{cluster_name}"
            ),
            fix=(
                "take it out of the inventory; if it is from an earlier cluster of that name, "
                "move that file away"
            ),
        )
    if not found.server:
        return
    server = urlsplit(found.server).hostname or found.server
    if server not in {endpoint, "127.0.0.1", "localhost", *(plane.ip for plane in topology.control_planes)}:
        yield another(
            found=f"its kubelet belongs to the cluster at {found.server}, not to the one at {endpoint}",
            fix=(
                "take it out of the inventory, or set cluster_name or control_plane_endpoint to its cluster's"
            ),
        )


@deploy("Machine")
def clean_machine(*, options: ClusterOptions, keep_etcd: bool) -> None:
    """Remove all cluster state from the machine, of any cluster; packages, containerd and images stay.

    With ``keep_etcd``, its etcd data is renamed and kept until the machine is reset.
    """
    cleaned(
        name="Remove all cluster state",
        endpoint=options.endpoint,
        units=UNITS,
        paths=PATHS,
        keep_etcd=keep_etcd,
    )
