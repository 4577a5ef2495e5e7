"""Make the options follow an existing cluster, and record in the cluster which releases it has.

A newer default of this package never changes a live cluster: an option that the user has not set keeps the
cluster's value, also for new machines. An option that the user has set to another value is refused (see
``live_options``).
"""

from collections.abc import Mapping

from pyinfra import host, inventory, logger
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host

from kubeadm_deploys.cluster import recording
from kubeadm_deploys.cluster.leader import ask_planned_leader
from kubeadm_deploys.cluster.live_options import Following, follow, machines_count, option_releases
from kubeadm_deploys.cluster.members import ask_settings
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, NodeState, node_state
from kubeadm_deploys.model.findings import errors_of
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.remote.reading import in_parallel, read
from kubeadm_deploys.remote.run_parts import Decisions, part
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


def followed(*, options: ClusterOptions, topology: Topology) -> Following:
    """Return the options with the cluster's releases, and everything in which the cluster differs from them.

    Raises:
        DeployError: the cluster could not be read.
    """
    settings = ask_settings(host.state, topology)
    if settings is None:
        return Following(options=options)
    machines = _releases_by_host(options, topology) if machines_count(settings) else {}
    return follow(options, settings=settings, machines=machines)


def _releases_by_host(options: ClusterOptions, topology: Topology) -> Mapping[str, Mapping[str, str]]:
    """Return the releases of the leader, and of the cluster's nodes that are part of this run.

    Raises:
        NotRead: one of them did not answer.
    """
    state = host.state
    api_leader = ask_planned_leader(state, topology)

    def releases(machine: Host) -> Mapping[str, str]:
        membership = node_state(read(machine, KubeadmNode), cluster_ca=api_leader.ca_certificate)
        if membership is not NodeState.MEMBER and machine.name != api_leader.leader:
            return {}
        return installed_releases(read(machine, reading(options)))

    def read_all() -> Mapping[str, Mapping[str, str]]:
        leader = inventory.get_host(api_leader.leader)
        active = [machine for machine in inventory if machine in state.active_hosts]
        return in_parallel(releases, dict.fromkeys([leader, *active]))

    return part(state, Decisions).once("releases", read_all)


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
