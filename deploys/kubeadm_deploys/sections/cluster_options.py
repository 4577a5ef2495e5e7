"""Make the options follow an existing cluster, and record in the cluster which releases it has.

A newer default of this package never changes a live cluster: an option that the user has not set keeps the
cluster's value, also for new machines. An option that the user has set to another value is refused (see
``live_options``).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from pyinfra import host, inventory, logger
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host

from kubeadm_deploys.cluster import recording
from kubeadm_deploys.cluster.leader import ask_planned_leader
from kubeadm_deploys.cluster.live_options import UPGRADE, Following, follow, machines_count, option_releases
from kubeadm_deploys.cluster.members import ask_settings
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, NodeState, node_state
from kubeadm_deploys.model.errors import some
from kubeadm_deploys.model.findings import Finding, Severity, errors_of
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote.reading import in_parallel, read
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.sections import kube_packages
from kubeadm_deploys.sections.container_runtime import installed_releases, reading

_reported: set[str] = set()


def follow_cluster(*, options: ClusterOptions, topology: Topology) -> ClusterOptions:
    """Return the options with the releases of the existing cluster, for the sections that are called next.

    It reads while a run is prepared, and changes nothing. If no cluster exists yet, the options stay
    unchanged.

    Raises:
        DeployError: the cluster differs from the options, or could not be read.
    """
    following = followed(options=options, topology=topology)
    if stopping := errors_of(following.findings):
        raise DeployError(f"{'; '.join(finding.sentence for finding in stopping)}; no changes were made")
    if following.news and following.news not in _reported:
        # Deploy files run once for each host, but the operator needs to read this only once.
        _reported.add(following.news)
        logger.info(f"--> {following.news[0].upper()}{following.news[1:]}")
    return following.options


def followed(*, options: ClusterOptions, topology: Topology, allow_drain: bool = False) -> Following:
    """Return the options with the cluster's releases, and everything in which the cluster differs from them.

    ``allow_drain`` is whether this run may drain nodes for another configuration of their kubelets.

    Raises:
        DeployError: the cluster could not be read.
    """
    settings = ask_settings(host.state, topology)
    if settings is None:
        return Following(options=options)
    machines = (
        _of_members(topology, "releases", lambda machine: installed_releases(read(machine, reading(options))))
        if machines_count(settings)
        else {}
    )
    following = follow(options, settings=settings, machines=machines, allow_drain=allow_drain)
    if not settings.silent:
        return following
    packages = _of_members(
        topology, "packages", lambda machine: read(machine, kube_packages.reading(options)).versions
    )
    middle = in_the_middle_of_an_upgrade(settings, packages)
    return replace(following, findings=(*following.findings, *middle))


def in_the_middle_of_an_upgrade(
    settings: ClusterSettingsState, packages: Mapping[str, Mapping[str, str]]
) -> Iterator[Finding]:
    """Yield an error if members have another kubelet or kubeadm than the manifests, while no API server answers.

    ``packages`` are versions by host and package. The record, which says whether an upgrade has begun, cannot be read
    then, and the run would give all nodes the release of the manifests at once.
    """
    release = settings.kubernetes_version
    others = [
        f"{name} has {package} {versions[package].partition('-')[0]}"
        for name, versions in packages.items()
        for package in ("kubelet", "kubeadm")
        if package in versions and versions[package].partition("-")[0] != release
    ]
    if others:
        yield Finding(
            check="kubernetes-version",
            host="",
            severity=Severity.ERROR,
            found=(
                f"no API server answers, and the manifests of the control plane have Kubernetes {release}, but "
                f"{some(others)}: this may be the middle of an upgrade"
            ),
            fix=f"finish it with '{UPGRADE}', or run this again when an API server answers",
        )


def _of_members(
    topology: Topology, what: str, ask_one: Callable[[Host], Mapping[str, str]]
) -> Mapping[str, Mapping[str, str]]:
    """Return what the leader, and the cluster's nodes that are part of this run, have; read once in a run.

    Raises:
        NotRead: one of them did not answer.
    """
    state = host.state
    api_leader = ask_planned_leader(state, topology)

    def of_member(machine: Host) -> Mapping[str, str]:
        membership = node_state(read(machine, KubeadmNode), cluster_ca=api_leader.ca_certificate)
        if membership is not NodeState.MEMBER and machine.name != api_leader.leader:
            return {}
        return ask_one(machine)

    def read_all() -> Mapping[str, Mapping[str, str]]:
        leader = inventory.get_host(api_leader.leader)
        active = [machine for machine in inventory if machine in state.active_hosts]
        return in_parallel(of_member, dict.fromkeys([leader, *active]))

    return part(state, Decisions).once(what, read_all)


@deploy("Record")
def record_releases(*, options: ClusterOptions, topology: Topology) -> None:
    """Record in the cluster which releases it has; call it when the cluster has its pod network.

    Raises:
        DeployError: the cluster could not be read.
    """
    if topology.node(host.name) in topology.control_planes:
        recording.releases_recorded(
            name="Record the cluster's releases",
            topology=topology,
            releases=option_releases(options),
            new=ask_settings(host.state, topology) is None,
        )
