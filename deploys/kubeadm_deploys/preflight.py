"""Before anything is changed: every machine is read, and everything that is wrong with any of them is told at once.

What is dangerous stops the run, what is doubtful is only told. Both are made by pure functions: ``machine_checks``
looks at one machine, ``cluster_checks`` at all beside each other, ``foreign_checks`` at what is somebody else's,
``membership`` at who belongs to the cluster, and ``live_options`` at what the cluster was made with. ``findings`` lists
the checks.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from pyinfra import host, inventory, logger
from pyinfra.api import Host, State, deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.cluster.deferred_check import DeferredCheck
from kubeadm_deploys.cluster.leader import (
    active_hosts,
    ask_control_planes,
    ask_lost_quorum,
    ask_planned_leader,
)
from kubeadm_deploys.cluster.members import (
    ask_planned_members,
    ask_planned_settings,
    ask_settings,
    known_members,
)
from kubeadm_deploys.cluster_checks import cluster_findings
from kubeadm_deploys.cluster_settings import followed
from kubeadm_deploys.election import Election
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.cluster_members import ClusterMembersState
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.downloads import Downloads, DownloadsState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState
from kubeadm_deploys.facts.machine import Machine, MachineState
from kubeadm_deploys.facts.reading import NotRead, ask_what_is_missing, in_parallel, read
from kubeadm_deploys.findings import Finding, dangers, table, unwaived
from kubeadm_deploys.foreign_checks import foreign_findings
from kubeadm_deploys.kube_packages import wanted_key_url
from kubeadm_deploys.kubeconfig_file import cluster_ca_of_kubeconfig
from kubeadm_deploys.kubeconfig_file import refusal as kubeconfig_refusal
from kubeadm_deploys.live_options import Following, changed_meanwhile, option_findings
from kubeadm_deploys.locking import check_under_lock
from kubeadm_deploys.machine_checks import Subject, has_to_fetch, machine_findings, urls_to_try
from kubeadm_deploys.membership import join_findings, membership_findings, ownership_findings, standing
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.run_parts import Decisions, part

_told: set[tuple[Finding, ...]] = set()


def subjects_of(
    topology: Topology,
    *,
    machines: Mapping[str, MachineState],
    found: Mapping[str, KubeadmNodeState],
    cluster_ca: str,
    members: ClusterMembersState | None,
    downloads: Mapping[str, DownloadsState] = {},
) -> list[Subject]:
    """The machines that could be read, as the checks look at them. All that was read is by host."""
    return [
        Subject(
            node=node,
            control_plane=node in topology.control_planes,
            state=standing(
                found[node.host],
                node=node,
                control_plane=node in topology.control_planes,
                cluster_ca=cluster_ca,
                members=members,
            ),
            kubeadm=found[node.host],
            machine=machines[node.host],
            downloads=downloads.get(node.host, DownloadsState()),
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
    election: Election,
    members: ClusterMembersState | None,
    settings: ClusterSettingsState | None = None,
    kubeconfig_ca: str | None = None,
    lost: str = "",
) -> tuple[Finding, ...]:
    """Everything that is wrong, but for waived checks: the cluster's first, then each machine's.

    ``machines`` and ``found`` are what was read on the hosts of this run, ``control_planes`` on every control plane of
    the inventory; ``members`` is None while the cluster cannot be asked, and ``lost`` says that it never will be.
    ``settings`` are those of the cluster that is there, and its releases are in the ``options``.
    """
    subjects = subjects_of(
        topology,
        machines=machines,
        found=found,
        cluster_ca=election.ca_certificate,
        members=members,
        downloads=downloads,
    )
    findings = [
        *ownership_findings(
            election=election,
            # live_options compares what the API says of it.
            cluster_name=None if settings and settings.cluster_name else options.cluster_name,
            kubeconfig=options.kubeconfig_path,
            kubeconfig_ca=kubeconfig_ca,
        ),
        *membership_findings(topology, election=election, found=control_planes, members=members, lost=lost),
        *cluster_findings(subjects, options=options, members=members or ClusterMembersState()),
    ]
    for subject in subjects:
        findings += [
            *join_findings(
                topology,
                node=subject.node,
                found=subject.kubeadm,
                election=election,
                members=members,
                endpoint=options.endpoint,
            ),
            *foreign_findings(subject, options=options, topology=topology),
            *machine_findings(subject, options=options, settings=settings),
        ]
    # Two of them may say the same of a foreign machine.
    return unwaived(dict.fromkeys(findings), waived=options.waive_checks)


@deploy("Preflight")
def check_machines(*, options: ClusterOptions, topology: Topology) -> None:
    """Check that the machines are the cluster's, or can become so. Changes nothing, and reads while a run is prepared.

    All findings on all machines of this run are told at once, in a table, before any host fails. With the lock in
    hand, before the first change, everything but the reachability of servers is read and checked again.

    Raises:
        DeployError: with what is dangerous about any of the machines or the cluster as a whole, on every host alike:
            one that is fine would go on to the next section and wait, or fail there with something else.
    """
    path = Path(options.kubeconfig_path)
    if problem := kubeconfig_refusal(path, cluster_name=options.cluster_name):
        raise InputError([f"kubeconfig: {problem}"])
    state = host.state
    # pyinfra executes this once for each host; with many of them the checks would take longer than the reading.
    following, findings = part(state, Decisions).once(
        "preflight", partial(_ask_at_first, state, options=options, topology=topology)
    )
    tell_once(findings)
    refuse(dangers(findings))
    planned = ask_planned_settings(state, topology)
    check_under_lock(
        partial(_check_again, state, planned, options=following.options, topology=topology), key="preflight"
    )


def _ask_at_first(
    state: State, *, options: ClusterOptions, topology: Topology
) -> tuple[Following, tuple[Finding, ...]]:
    """The options with the cluster's releases, and all findings, those about servers too."""
    in_parallel(
        lambda each: ask_what_is_missing(each, (Reading(KubeadmNode), Reading(Machine))),
        [inventory.get_host(name) for name in active_hosts(state)],
    )
    following = followed(options=options, topology=topology)
    downloads = _ask_about_downloads(state, options=following.options, topology=topology)
    findings = _findings_now(state, options=following.options, topology=topology, downloads=downloads)
    return following, (*following.findings, *findings)


def _ask_about_downloads(
    state: State, *, options: ClusterOptions, topology: Topology
) -> dict[str, DownloadsState]:
    """What machines reach of what they are to fetch, by host, for those that have to fetch anything."""

    def downloads(each: Host) -> DownloadsState | None:
        found = read(each, KubeadmNode)
        if not has_to_fetch(read(each, Machine), found=found, options=options):
            return None
        control_plane = topology.node(each.name) in topology.control_planes
        urls = urls_to_try(options=options, control_plane=control_plane)
        return read(each, Downloads, key_url=wanted_key_url(options), urls=urls)

    asked = in_parallel(downloads, [inventory.get_host(name) for name in active_hosts(state)])
    return {name: found for name, found in asked.items() if found}


def _check_again(
    state: State, planned: ClusterSettingsState | None, *, options: ClusterOptions, topology: Topology
) -> None:
    if changed := changed_meanwhile(planned, ask_planned_settings(state, topology)):
        raise DeployError(f"{changed} since this run was prepared; no changes were made; run it again")
    check = partial(_refuse_now, state, options=options, topology=topology)
    check()
    found = ask_control_planes(state, topology).values()
    if known_members(state) is None or any(
        isinstance(each, KubeadmNodeState) and each.kubeadm_runs for each in found
    ):
        # It says nothing about members, and little about its settings, before its API answers.
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
    settings = ask_settings(state, topology, anew=True)
    if changed := changed_meanwhile(planned, settings):
        raise DeployError(f"{changed} since this run was prepared; run it again")
    if settings:
        refuse(dangers(option_findings(options, settings)))
    check()


def _refuse_now(state: State, *, options: ClusterOptions, topology: Topology) -> None:
    refuse(dangers(_findings_now(state, options=options, topology=topology)))


def _findings_now(
    state: State,
    *,
    options: ClusterOptions,
    topology: Topology,
    downloads: Mapping[str, DownloadsState] | None = None,
) -> tuple[Finding, ...]:
    hosts = [inventory.get_host(name) for name in active_hosts(state)]
    election = ask_planned_leader(state, topology)
    return preflight_findings(
        topology,
        options=options,
        machines=in_parallel(lambda each: read(each, Machine), hosts),
        found=in_parallel(lambda each: read(each, KubeadmNode), hosts),
        downloads=downloads or {},
        control_planes=ask_control_planes(state, topology),
        election=election,
        members=ask_planned_members(state, topology),
        settings=ask_planned_settings(state, topology),
        kubeconfig_ca=kubeconfig_ca(options),
        lost=ask_lost_quorum(state, topology),
    )


def kubeconfig_ca(options: ClusterOptions) -> str | None:
    """The CA certificate in the operator's kubeconfig of this cluster, None without one.

    Raises:
        InputError: the file cannot be understood.
    """
    try:
        return cluster_ca_of_kubeconfig(Path(options.kubeconfig_path), cluster_name=options.cluster_name)
    except ValueError as error:
        raise InputError([f"kubeconfig: {error}"]) from None


def refuse(findings: list[Finding]) -> None:
    """End the run if anything is dangerous.

    Raises:
        DeployError: with every sentence.
    """
    if not findings:
        return
    sentences = [finding.sentence for finding in findings]
    if len(sentences) == 1:
        raise DeployError(f"{sentences[0]}; no changes were made")
    lines = "".join(f"\n  - {sentence}" for sentence in sentences)
    raise DeployError(f"{len(sentences)} dangers; no changes were made:{lines}")


def tell_once(findings: tuple[Finding, ...]) -> None:
    """Print the table of findings. Deploy files run once for each host; the operator needs to read it once."""
    if not findings or findings in _told:
        return
    _told.add(findings)
    stopping = len(dangers(findings))
    doubts = len(findings) - stopping
    heading = [f"dangers that stop the run: {stopping}"] if stopping else []
    heading += [f"doubts that do not: {doubts}"] if doubts else []
    logger.warning(f"--> Preflight: {', '.join(heading)}")
    for line in table(findings):
        logger.info(line)
