"""Whose the things of a project are: why one has to stay when a cluster goes.

Deleted is what carries the cluster's label, and what its controllers made; and of that nothing that something
outside the cluster uses. Every function says why its thing stays, and nothing when it can go.

Marks of the controllers: Hetzner's CSI driver gives volumes the cluster's own label (``HCLOUD_VOLUME_EXTRA_LABELS``
in our kustomization), beside ``managed-by=csi-driver``, which those of other clusters have too. The cloud controller
can only be known by its load balancers' targets and network: the UID of a Service does not name a cluster.
Source: docs/kubernetes of hetznercloud/csi-driver, internal/hcops of hetznercloud/hcloud-cloud-controller-manager.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubeadm_deploys.hetzner.names import CLUSTER_LABEL, belongs_to, cluster_selector
from kubeadm_deploys.hetzner.project import (
    Firewall,
    Labels,
    LoadBalancer,
    Network,
    PlacementGroup,
    Server,
    Volume,
)

_SERVICE_LABEL = "hcloud-ccm/service-uid"
"""On the load balancers that a cloud controller made, or took over, for a Service of its cluster."""

_CSI_LABEL = ("managed-by", "csi-driver")
"""On the volumes that a CSI driver made."""

_NAMED_AT_MOST = 3


@dataclass(frozen=True, kw_only=True)
class Ownership:
    """A cluster among everything else in its project."""

    cluster_name: str
    own: Sequence[Server]
    others: Sequence[Server]
    """Servers of the project that are not the cluster's."""

    def why_network_stays(self, network: Network) -> str:
        """For a network that carries the cluster's label."""
        members = [server.id for server in self.others if network.id in server.networks]
        if members:
            return f"it connects {self._outside(members)}"
        return "it connects dedicated servers by a vSwitch" if network.has_dedicated_servers else ""

    def why_firewall_stays(self, firewall: Firewall) -> str:
        """For a firewall that carries the cluster's label; taking it off would open what it protects."""
        users = self._outside(firewall.servers, selectors=firewall.selectors)
        return users and f"it protects {users}"

    def why_placement_group_stays(self, group: PlacementGroup) -> str:
        """For a placement group that carries the cluster's label."""
        members = self._outside(group.servers)
        return members and f"it has {members}"

    def why_volume_stays(self, volume: Volume) -> str:
        """For any volume."""
        if not belongs_to(volume.labels, self.cluster_name):
            return self._not_labelled(volume.labels, made="a CSI driver" if _is_by_csi(volume) else "")
        users = self._outside([] if volume.server is None else [volume.server])
        return users and f"it is attached to {users}"

    def why_load_balancer_stays(self, balancer: LoadBalancer, *, networks: Iterable[int]) -> str:
        """For any load balancer; ``networks`` are the cluster's, without those that connect other servers."""
        is_labelled = belongs_to(balancer.labels, self.cluster_name)
        is_by_controller = _SERVICE_LABEL in balancer.labels and CLUSTER_LABEL not in balancer.labels
        if not is_labelled and not is_by_controller:
            return self._not_labelled(balancer.labels)
        users = self._outside(
            balancer.servers,
            selectors=(*balancer.selectors, *balancer.public_selectors),
            addresses=balancer.addresses,
        )
        if users:
            return f"it leads to {users}"
        if is_labelled or balancer.servers or not set(networks).isdisjoint(balancer.networks):
            return ""
        return "a cloud controller made it, but neither a target nor a network tells for which cluster"

    def concerns_volume(self, volume: Volume) -> bool:
        """Whether a user should hear of a volume that stays, though no server of the cluster has it."""
        is_unclaimed = CLUSTER_LABEL not in volume.labels and _is_by_csi(volume) and volume.server is None
        return is_unclaimed or belongs_to(volume.labels, self.cluster_name)

    def concerns_load_balancer(self, balancer: LoadBalancer) -> bool:
        """Whether a user should hear of a load balancer that stays, though it is in no network that goes."""
        is_unclaimed = (
            _SERVICE_LABEL in balancer.labels
            and CLUSTER_LABEL not in balancer.labels
            and not (balancer.servers or balancer.addresses or balancer.networks)
        )
        return (
            is_unclaimed
            or belongs_to(balancer.labels, self.cluster_name)
            or any(server.id in balancer.servers for server in self.own)
        )

    def _not_labelled(self, labels: Labels, *, made: str = "") -> str:
        if CLUSTER_LABEL in labels:
            return f"it carries the label of cluster {labels[CLUSTER_LABEL]}"
        return (
            f"{made} made it, but it lacks this cluster's label" if made else "it lacks this cluster's label"
        )

    def _outside(
        self, servers: Iterable[int], *, selectors: Iterable[str] = (), addresses: Sequence[str] = ()
    ) -> str:
        """Which of these are outside the cluster, in words; empty when none is."""
        own = {server.id for server in self.own}
        names = {server.id: server.name for server in self.others}
        strangers = [names.get(server, str(server)) for server in dict.fromkeys(servers) if server not in own]
        parts = [
            *_named("server", sorted(strangers)),
            *(f"servers with the label {selector}" for selector in selectors if not self._is_own(selector)),
            *_named("address", addresses),
        ]
        return f"{' and '.join(parts)} outside this cluster" if parts else ""

    def _is_own(self, selector: str) -> bool:
        """Whether only servers of the cluster can have the labels of a selector."""
        return cluster_selector(self.cluster_name) in (term.strip() for term in selector.split(","))


def _is_by_csi(volume: Volume) -> bool:
    return _CSI_LABEL in volume.labels.items()


def _named(kind: str, names: Sequence[str]) -> Iterable[str]:
    if names:
        rest = len(names) - _NAMED_AT_MOST
        yield f"{kind} {', '.join(names[:_NAMED_AT_MOST])}{f' (and {rest} more)' if rest > 0 else ''}"
