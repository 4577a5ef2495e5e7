"""Read every machine before anything is changed, and report all problems at once.

Errors stop the run before any change; warnings are only printed. Pure functions make both: ``machine_checks``
checks one machine, ``download_checks`` what it can fetch, ``leftover_checks`` what other software left on it,
and ``conflict_checks`` what does not belong to the cluster. ``cluster_checks`` compares all machines,
``membership`` checks who the cluster's members are, and ``live_options`` what it was created with. ``findings``
lists the checks.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.api_leader import ApiLeader
from kubeadm_deploys.cluster.deferred_check import DeferredCheck
from kubeadm_deploys.cluster.leader import (
    active_hosts,
    ask_control_planes,
    ask_lost_quorum,
    ask_planned_leader,
)
from kubeadm_deploys.cluster.live_options import (
    Following,
    changed_meanwhile,
    identity_findings,
    option_findings,
)
from kubeadm_deploys.cluster.members import (
    ask_planned_members,
    ask_planned_settings,
    ask_settings,
    known_members,
)
from kubeadm_deploys.cluster.membership import (
    join_findings,
    membership_findings,
    membership_state,
    ownership_findings,
)
from kubeadm_deploys.documents.kubeconfig_file import cluster_ca_of_kubeconfig
from kubeadm_deploys.documents.kubeconfig_file import refusal as kubeconfig_refusal
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.downloads import Downloads, DownloadsState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState
from kubeadm_deploys.facts.machine import Machine, MachineState, network_of
from kubeadm_deploys.model.control_plane_file import contents
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.findings import Finding, errors_of, table, unskipped
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions, Scope, scope_of
from kubeadm_deploys.model.proxies import NO_PROXIES, Proxies, proxies_of
from kubeadm_deploys.model.registries import passwords
from kubeadm_deploys.preflight.cluster_checks import cluster_findings
from kubeadm_deploys.preflight.conflict_checks import foreign_findings
from kubeadm_deploys.preflight.download_checks import download_findings, has_to_fetch, urls_to_try
from kubeadm_deploys.preflight.leftover_checks import leftover_findings
from kubeadm_deploys.preflight.machine_checks import CandidateNode, machine_findings
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import NotRead, ask_what_is_missing, in_parallel, read
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.run.locking import check_under_lock
from kubeadm_deploys.sections.cluster_options import followed
from kubeadm_deploys.sections.kube_packages import wanted_key_url

_reported: set[tuple[Finding, ...]] = set()


def candidates_of(
    topology: Topology,
    *,
    machines: Mapping[str, MachineState],
    found: Mapping[str, KubeadmNodeState],
    cluster_ca: str,
    members: ClusterMembersState | None,
    downloads: Mapping[str, DownloadsState] = {},
    proxies: Mapping[str, Proxies] = {},
) -> list[CandidateNode]:
    """Return the machines that could be read, in the form that the checks take. All readings are by host."""
    return [
        CandidateNode(
            node=node,
            control_plane=node in topology.control_planes,
            state=membership_state(
                found[node.host],
                node=node,
                control_plane=node in topology.control_planes,
                cluster_ca=cluster_ca,
                members=members,
            ),
            kubeadm=found[node.host],
            machine=machines[node.host],
            downloads=downloads.get(node.host, DownloadsState()),
            proxies=proxies.get(node.host, NO_PROXIES),
        )
        for node in topology.nodes
        if node.host in machines
    ]


def preflight_findings(
    topology: Topology,
    *,
    options: ClusterOptions,
    machines: Mapping[str, MachineState],
    found: Mapping[str, KubeadmNodeState],
    downloads: Mapping[str, DownloadsState],
    control_planes: Mapping[str, KubeadmNodeState | NotRead],
    api_leader: ApiLeader,
    members: ClusterMembersState | None,
    settings: ClusterSettingsState | None = None,
    kubeconfig_ca: str | None = None,
    lost: str = "",
    proxies: Mapping[str, Proxies] = {},
) -> tuple[Finding, ...]:
    """Return all findings, without those of skipped checks: the cluster's first, then each machine's.

    ``machines`` and ``found`` were read on the hosts of this run, ``control_planes`` on every control plane
    of the inventory. ``members`` is None while the cluster does not answer, and ``lost`` says that it has
    lost its quorum. ``settings`` are those of an existing cluster, whose releases are in ``options``. ``proxies``
    are by host.
    """
    candidates = candidates_of(
        topology,
        machines=machines,
        found=found,
        cluster_ca=api_leader.ca_certificate,
        members=members,
        downloads=downloads,
        proxies=proxies,
    )
    findings = [
        *ownership_findings(
            api_leader=api_leader,
            # live_options compares the name that the API reports.
            cluster_name=None if settings and settings.cluster_name else options.cluster_name,
            kubeconfig=options.kubeconfig_path,
            kubeconfig_ca=kubeconfig_ca,
        ),
        *membership_findings(
            topology, api_leader=api_leader, found=control_planes, members=members, lost=lost
        ),
        *cluster_findings(candidates, options=options, members=members or ClusterMembersState()),
    ]
    for candidate in candidates:
        findings += [
            *join_findings(
                topology,
                node=candidate.node,
                found=candidate.kubeadm,
                api_leader=api_leader,
                members=members,
                endpoint=options.endpoint,
            ),
            *foreign_findings(candidate, options=options, topology=topology),
            *machine_findings(candidate, options=options, settings=settings),
            *download_findings(candidate, options=options),
            *leftover_findings(candidate, options=options),
        ]
    # Two checks may report the same about a foreign machine.
    return unskipped(dict.fromkeys(findings), skipped=options.skip_preflight_checks)


@deploy("Preflight")
def run_preflight(*, options: ClusterOptions, topology: Topology, allow_drain: bool = False) -> None:
    """Check that the machines are nodes of the cluster, or can become nodes. Change nothing.

    In the prepare phase, print all findings on all machines of this run in one table, before any host fails.
    After the lock is taken and before the first change, read and check everything again except the
    reachability of servers.

    ``allow_drain`` is what ``reconfigure_kubelets`` gets.

    Raises:
        DeployError: lists every error of the machines and of the cluster. It is the same on every host,
            because one without errors would go on to the next section and wait or fail there.
    """
    path = Path(options.kubeconfig_path)
    if problem := kubeconfig_refusal(path, cluster_name=options.cluster_name):
        raise InputError([f"kubeconfig: {problem}"])
    passwords(options.registries)
    contents(options.control_plane_files)
    state = host.state
    # pyinfra executes this once for each host; with many hosts, the checks would take too long.
    following, findings = part(state, Decisions).once(
        "preflight",
        partial(_ask_at_first, state, options=options, topology=topology, allow_drain=allow_drain),
    )
    report_once(findings)
    refuse(errors_of(findings))
    planned = ask_planned_settings(state, topology)
    check_under_lock(
        partial(_check_again, state, planned, options=following.options, topology=topology), key="preflight"
    )


def _ask_at_first(
    state: State, *, options: ClusterOptions, topology: Topology, allow_drain: bool
) -> tuple[Following, tuple[Finding, ...]]:
    """Return the options with the cluster's releases, and all findings, including those about servers."""
    in_parallel(
        lambda machine: ask_what_is_missing(machine, (Reading(KubeadmNode), Reading(Machine))),
        [inventory.get_host(name) for name in active_hosts(state)],
    )
    following = followed(options=options, topology=topology, allow_drain=allow_drain)
    downloads = _ask_about_downloads(state, options=following.options, topology=topology)
    findings = _findings_now(state, options=following.options, topology=topology, downloads=downloads)
    return following, (*following.findings, *findings)


def _ask_about_downloads(
    state: State, *, options: ClusterOptions, topology: Topology
) -> dict[str, DownloadsState]:
    """Return by host which servers a machine can reach, for machines that have to fetch anything."""

    def downloads(machine: Host) -> DownloadsState | None:
        found = read(machine, KubeadmNode)
        if not has_to_fetch(read(machine, Machine), found=found, options=options):
            return None
        control_plane = topology.node(machine.name) in topology.control_planes
        urls = urls_to_try(options=_own_options(machine, options), control_plane=control_plane)
        proxies = _proxies(machine, options=options, topology=topology)
        return read(machine, Downloads, key_url=wanted_key_url(options), urls=urls, proxies=proxies)

    asked = in_parallel(downloads, [inventory.get_host(name) for name in active_hosts(state)])
    return {name: found for name, found in asked.items() if found}


_MACHINE_OPTIONS = [name for name in ClusterOptions.model_fields if scope_of(name) is Scope.MACHINE]


def _proxies(machine: Host, *, options: ClusterOptions, topology: Topology) -> Proxies:
    node = topology.node(machine.name)
    network = network_of(read(machine, Machine), node.ip)
    return proxies_of(_own_options(machine, options), node=node, nodes=topology.nodes, network=network)


def _own_options(machine: Host, options: ClusterOptions) -> ClusterOptions:
    data = {each.name: each.data.dict() for each in machine.state.inventory}
    return with_own_options(options, data=data, host=machine.name)


def with_own_options(
    options: ClusterOptions, *, data: Mapping[str, Mapping[str, object]], host: str
) -> ClusterOptions:
    """Return the options with those of a host that may differ; ``data`` is that of the inventory by host.

    The checks are made once for all machines, with the options of one of them. Where options of single machines
    are in the inventory's data, those of the host count.
    """
    if not any(name in values for values in data.values() for name in _MACHINE_OPTIONS):
        return options
    own = ClusterOptions(**{name: data[host][name] for name in _MACHINE_OPTIONS if name in data[host]})
    return options.model_copy(update={name: getattr(own, name) for name in _MACHINE_OPTIONS})


def _check_again(
    state: State, planned: ClusterSettingsState | None, *, options: ClusterOptions, topology: Topology
) -> None:
    if changed := changed_meanwhile(planned, ask_planned_settings(state, topology)):
        raise DeployError(f"{changed} since this run was prepared; no changes were made; run it again")
    check = partial(_refuse_now, state, options=options, topology=topology)
    check()
    found = ask_control_planes(state, topology).values()
    if known_members(state) is None or any(
        isinstance(state, KubeadmNodeState) and state.kubeadm_runs for state in found
    ):
        # Until its API answers, a cluster reports no members and few settings.
        part(state, DeferredCheck).check = partial(
            _check_found, state, planned, check, options=options, topology=topology
        )


def _check_found(
    state: State,
    planned: ClusterSettingsState | None,
    check: Callable[[], None],
    *,
    options: ClusterOptions,
    topology: Topology,
) -> None:
    settings = ask_settings(state, topology, refresh=True)
    stored_nothing = ask_planned_leader(state, topology).stored_nothing
    if changed := changed_meanwhile(planned, settings, stored_nothing=stored_nothing):
        raise DeployError(f"{changed} since this run was prepared; run it again")
    if settings:
        refuse(errors_of(option_findings(options, settings)))
    check()


def _refuse_now(state: State, *, options: ClusterOptions, topology: Topology) -> None:
    refuse(errors_of(_findings_now(state, options=options, topology=topology)))


def _findings_now(
    state: State,
    *,
    options: ClusterOptions,
    topology: Topology,
    downloads: Mapping[str, DownloadsState] | None = None,
) -> tuple[Finding, ...]:
    hosts = [inventory.get_host(name) for name in active_hosts(state)]
    api_leader = ask_planned_leader(state, topology)
    return preflight_findings(
        topology,
        options=options,
        machines=in_parallel(lambda machine: read(machine, Machine), hosts),
        found=in_parallel(lambda machine: read(machine, KubeadmNode), hosts),
        downloads=downloads or {},
        control_planes=ask_control_planes(state, topology),
        api_leader=api_leader,
        members=ask_planned_members(state, topology),
        settings=ask_planned_settings(state, topology),
        kubeconfig_ca=kubeconfig_ca(options),
        lost=ask_lost_quorum(state, topology),
        proxies=in_parallel(lambda machine: _proxies(machine, options=options, topology=topology), hosts),
    )


def other_cluster_findings(
    api_leader: ApiLeader, settings: ClusterSettingsState | None, *, options: ClusterOptions
) -> list[Finding]:
    """Return what shows that a cluster is not that of the options and of the operator's kubeconfig.

    ``settings`` are the cluster's, None if they cannot be read.
    """
    ownership = ownership_findings(
        api_leader=api_leader,
        cluster_name=None if settings and settings.cluster_name else options.cluster_name,
        kubeconfig=options.kubeconfig_path,
        kubeconfig_ca=kubeconfig_ca(options),
    )
    return [*ownership, *(identity_findings(options, settings) if settings else ())]


def kubeconfig_ca(options: ClusterOptions) -> str | None:
    """Return the CA certificate in the operator's kubeconfig of this cluster, or None if there is none.

    Raises:
        InputError: the file cannot be parsed.
    """
    try:
        return cluster_ca_of_kubeconfig(Path(options.kubeconfig_path), cluster_name=options.cluster_name)
    except ValueError as error:
        raise InputError([f"kubeconfig: {error}"]) from None


def refuse(findings: list[Finding]) -> None:
    """Stop the run if there are findings.

    Raises:
        DeployError: lists every finding.
    """
    refuse_all([finding.sentence for finding in findings])


def refuse_all(sentences: list[str]) -> None:
    """Stop the run if there are errors, each a sentence.

    Raises:
        DeployError: lists every error.
    """
    if not sentences:
        return
    if len(sentences) == 1:
        raise DeployError(f"{sentences[0]}; no changes were made")
    lines = "".join(f"\n  - {sentence}" for sentence in sentences)
    raise DeployError(f"{len(sentences)} errors; no changes were made:{lines}")


def report_once(findings: tuple[Finding, ...]) -> None:
    """Print the table of findings once, although deploy files run once for each host."""
    if not findings or findings in _reported:
        return
    _reported.add(findings)
    errors = len(errors_of(findings))
    counts = [
        f"{count} {word}{'s' * (count > 1)}"
        for count, word in ((errors, "error"), (len(findings) - errors, "warning"))
        if count
    ]
    logger.warning(f"--> Preflight{' failed' if errors else ''}: {', '.join(counts)}")
    for line in table(findings):
        logger.info(line)
