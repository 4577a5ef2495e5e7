"""Find out which resources of a project must stay when a cluster is deleted, and why.

Resources with the cluster's label and those that its controllers created are deleted, unless something
outside the cluster uses them. Every function returns why its resource stays, or an empty text when it can be
deleted.

Hetzner's CSI driver gives volumes the cluster's own label (``HCLOUD_VOLUME_EXTRA_LABELS`` in our
kustomization), beside ``managed-by=csi-driver``, which volumes of other clusters have too. Load balancers of
the cloud controller can only be recognized by their targets and network: the UID of a Service does not
identify a cluster.
Source: docs/kubernetes of hetznercloud/csi-driver, internal/hcops of hetznercloud/hcloud-cloud-controller-manager.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kubeadm_deploys.hetzner.api.names import CLUSTER_LABEL, belongs_to, cluster_selector
from kubeadm_deploys.hetzner.api.project import (
    Firewall,
    Labels,
    LoadBalancer,
    Network,
    PlacementGroup,
    Server,
    Volume,
)

_SERVICE_LABEL = "hcloud-ccm/service-uid"
"""On load balancers that a cloud controller created, or took over, for a Service of its cluster."""

_CSI_LABEL = ("managed-by", "csi-driver")
"""On volumes that a CSI driver created."""

_NAMED_AT_MOST = 3


@dataclass(frozen=True, kw_only=True)
class Ownership:
    """A cluster's servers and the other servers in its project."""

    cluster_name: str
    own: Sequence[Server]
    others: Sequence[Server]
    """Servers in the project that do not belong to the cluster."""

    def why_network_stays(self, network: Network) -> str:
        """Return why a network with the cluster's label stays."""
        members = [server.id for server in self.others if network.id in server.networks]
        if members:
            return f"it connects {self._outside(members)}"
        return "it connects dedicated servers by a vSwitch" if network.has_dedicated_servers else ""

    def why_firewall_stays(self, firewall: Firewall) -> str:
        """Return why a firewall with the cluster's label stays: removing it would expose what it protects."""
        users = self._outside(firewall.servers, selectors=firewall.selectors)
        return users and f"it protects {users}"

    def why_placement_group_stays(self, group: PlacementGroup) -> str:
        """Return why a placement group with the cluster's label stays."""
        members = self._outside(group.servers)
        return members and f"it has {members}"

    def why_volume_stays(self, volume: Volume) -> str:
        """Return why a volume stays."""
        if not belongs_to(volume.labels, self.cluster_name):
            return self._not_labelled(volume.labels, creator="a CSI driver" if _is_by_csi(volume) else "")
        users = self._outside([] if volume.server is None else [volume.server])
        return users and f"it is attached to {users}"

    def why_load_balancer_stays(self, balancer: LoadBalancer, *, networks: Iterable[int]) -> str:
        """Return why a load balancer stays; ``networks`` are those of the cluster's that will be deleted."""
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
            return f"it forwards to {users}"
        if is_labelled or balancer.servers or not set(networks).isdisjoint(balancer.networks):
            return ""
        return (
            "a cloud controller created it, but neither its targets nor its networks show for which cluster"
        )

    def concerns_volume(self, volume: Volume) -> bool:
        """Return whether to list a volume that stays, although it is not attached to the cluster."""
        is_unclaimed = CLUSTER_LABEL not in volume.labels and _is_by_csi(volume) and volume.server is None
        return is_unclaimed or belongs_to(volume.labels, self.cluster_name)

    def concerns_load_balancer(self, balancer: LoadBalancer) -> bool:
        """Return whether to list a load balancer that stays, although no deleted network has it."""
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

    def _not_labelled(self, labels: Labels, *, creator: str = "") -> str:
        if CLUSTER_LABEL in labels:
            return f"it carries the label of cluster {labels[CLUSTER_LABEL]}"
        return (
            f"{creator} created it, but it lacks this cluster's label"
            if creator
            else "it lacks this cluster's label"
        )

    def _outside(
        self, servers: Iterable[int], *, selectors: Iterable[str] = (), addresses: Sequence[str] = ()
    ) -> str:
        """Return a text with those of these resources that are outside the cluster; empty if none is."""
        own = {server.id for server in self.own}
        names = {server.id: server.name for server in self.others}
        outsiders = [names.get(server, str(server)) for server in dict.fromkeys(servers) if server not in own]
        parts = [
            *_named("server", sorted(outsiders)),
            *(f"servers with the label {selector}" for selector in selectors if not self._is_own(selector)),
            *_named("address", addresses),
        ]
        return f"{' and '.join(parts)} outside this cluster" if parts else ""

    def _is_own(self, selector: str) -> bool:
        """Return whether a selector can only match servers of the cluster."""
        return cluster_selector(self.cluster_name) in (term.strip() for term in selector.split(","))


def _is_by_csi(volume: Volume) -> bool:
    return _CSI_LABEL in volume.labels.items()


def _named(kind: str, names: Sequence[str]) -> Iterable[str]:
    if names:
        rest = len(names) - _NAMED_AT_MOST
        yield f"{kind} {', '.join(names[:_NAMED_AT_MOST])}{f' (and {rest} more)' if rest > 0 else ''}"
