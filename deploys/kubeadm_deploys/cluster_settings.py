"""The options follow the cluster that is there, and the cluster keeps a record of the releases that it has.

A newer default of this package never moves a live cluster: what the user has not set stays as it is there, and new
machines get the same. What the user has set otherwise is refused (see ``live_options``).
"""

from collections.abc import Mapping

from pyinfra import host, inventory, logger
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError
from pyinfra.api.host import Host

from kubeadm_deploys.cluster.leader import ask_planned_leader
from kubeadm_deploys.cluster.members import ask_settings
from kubeadm_deploys.container_runtime import installed_releases, reading
from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, NodeState, node_state
from kubeadm_deploys.facts.reading import in_parallel, read
from kubeadm_deploys.findings import dangers
from kubeadm_deploys.live_options import Following, follow, machines_count, option_releases
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import cluster_record
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.run_parts import Decisions, part

_told: set[str] = set()


def follow_cluster(*, options: ClusterOptions, topology: Topology) -> ClusterOptions:
    """The options with the releases of the cluster that is there, for the sections that are called next.

    It reads while a run is prepared, and changes nothing. Where there is no cluster yet, the options stay as they are.

    Raises:
        DeployError: the cluster differs from the options, or could not be read.
    """
    following = followed(options=options, topology=topology)
    if stopping := dangers(following.findings):
        raise DeployError(f"{'; '.join(finding.sentence for finding in stopping)}; no changes were made")
    if following.news and following.news not in _told:
        # Deploy files run once for each host; the operator needs to read it once.
        _told.add(following.news)
        logger.info(f"--> {following.news[0].upper()}{following.news[1:]}")
    return following.options


def followed(*, options: ClusterOptions, topology: Topology) -> Following:
    """The options with the cluster's releases, and everything in which it differs from them.

    Raises:
        DeployError: the cluster could not be read.
    """
    settings = ask_settings(host.state, topology)
    if settings is None:
        return Following(options=options)
    machines = _releases_by_host(options, topology) if machines_count(settings) else {}
    return follow(options, settings=settings, machines=machines)


def _releases_by_host(options: ClusterOptions, topology: Topology) -> Mapping[str, Mapping[str, str]]:
    """What the leader and this run's nodes of the cluster have.

    Raises:
        NotRead: one of them did not answer.
    """
    state = host.state
    election = ask_planned_leader(state, topology)

    def releases(each: Host) -> Mapping[str, str]:
        of_cluster = node_state(read(each, KubeadmNode), cluster_ca=election.ca_certificate)
        if of_cluster is not NodeState.MEMBER and each.name != election.leader:
            return {}
        return installed_releases(read(each, reading(options)))

    def read_all() -> Mapping[str, Mapping[str, str]]:
        leader = inventory.get_host(election.leader)
        active = [each for each in inventory if each in state.active_hosts]
        return in_parallel(releases, dict.fromkeys([leader, *active]))

    return part(state, Decisions).once("releases", read_all)


@deploy("Record")
def record_releases(*, options: ClusterOptions, topology: Topology) -> None:
    """Have the cluster's record say which releases it has; call it when the cluster has its pod network.

    Raises:
        DeployError: the cluster could not be read.
    """
    if topology.node(host.name) in topology.control_planes:
        cluster_record.releases_recorded(
            name="Record the cluster's releases",
            topology=topology,
            releases=option_releases(options),
            new=ask_settings(host.state, topology) is None,
        )
