"""Plain values for the parts of a Hetzner project that a cluster may consist of.

Reading an attribute of hcloud's bound objects may call the API. These values never do, so planning is pure
and the number of calls is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from kubeadm_deploys.hetzner.api.names import belongs_to

Labels = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class SshKey:
    """A public key for new servers."""

    id: int
    name: str
    labels: Labels
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Network:
    """A private network with its subnets, each as range and network zone."""

    id: int
    name: str
    labels: Labels
    ip_range: str
    subnets: tuple[tuple[str, str], ...]
    has_dedicated_servers: bool = False
    """Whether a subnet connects it to a vSwitch, and so to dedicated servers."""
    is_protected: bool = False


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A firewall rule: protocol, port if any, and sources or destinations."""

    description: str
    protocol: str
    port: str
    peers: frozenset[str]
    """Sources, or destinations when the direction is out."""
    direction: str = "in"


@dataclass(frozen=True, kw_only=True)
class Firewall:
    """A firewall with its rules and the label selectors that apply it to servers."""

    id: int
    name: str
    labels: Labels
    rules: tuple[Rule, ...]
    selectors: tuple[str, ...]
    servers: tuple[int, ...] = ()
    """IDs of all servers that it protects, directly or by a label selector."""


@dataclass(frozen=True, kw_only=True)
class PlacementGroup:
    """A group whose servers run on different hosts."""

    id: int
    name: str
    labels: Labels
    servers: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server with the IDs of its networks and placement group."""

    id: int
    name: str
    labels: Labels
    server_type: str
    location: str
    image: str
    """Empty when the image is a snapshot or no longer listed."""
    status: str
    networks: tuple[int, ...]
    placement_group: int | None = None
    has_public_ipv4: bool = True
    is_protected: bool = False


@dataclass(frozen=True, kw_only=True)
class Service:
    """A port of a load balancer with its health check."""

    protocol: str
    listen_port: int
    destination_port: int
    check_protocol: str
    check_port: int
    check_tls: bool
    check_path: str


@dataclass(frozen=True, kw_only=True)
class LoadBalancer:
    """A load balancer with its services, targets and networks."""

    id: int
    name: str
    labels: Labels
    load_balancer_type: str
    location: str
    networks: tuple[int, ...]
    services: tuple[Service, ...]
    selectors: tuple[str, ...]
    """Label selectors of targets that are reached by their private addresses."""
    public_selectors: tuple[str, ...] = ()
    """Label selectors of targets that are reached by their public addresses."""
    servers: tuple[int, ...] = ()
    """IDs of all servers that are targets, directly or by a label selector."""
    addresses: tuple[str, ...] = ()
    """Targets by IP address: dedicated servers."""
    is_public: bool = False
    is_protected: bool = False


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume with the server that it is attached to."""

    id: int
    name: str
    labels: Labels
    size: int
    server: int | None
    is_protected: bool = False


@dataclass(frozen=True, kw_only=True)
class Address:
    """A public address that outlives the server or load balancer that it is assigned to."""

    kind: str
    """Primary IP or Floating IP."""
    name: str
    ip: str
    holder: tuple[str, int] | None
    """Kind (server or load balancer) and ID of the resource that it is assigned to."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """A monthly price."""

    net: Decimal
    gross: Decimal

    def __add__(self, other: "Price") -> "Price":
        return Price(net=self.net + other.net, gross=self.gross + other.gross)


NOTHING = Price(net=Decimal(0), gross=Decimal(0))


@dataclass(frozen=True, kw_only=True)
class Prices:
    """The API's current prices, by type and location."""

    currency: str
    server_types: Mapping[tuple[str, str], Price]
    load_balancer_types: Mapping[tuple[str, str], Price]
    public_ipv4: Mapping[str, Price]


@dataclass(frozen=True, kw_only=True)
class Project:
    """Everything in a project that concerns a cluster.

    Servers are only those with the cluster's label. Of the other kinds a project has few: reading all of them
    takes one call per kind too, and shows which names are taken.
    """

    ssh_keys: tuple[SshKey, ...] = ()
    networks: tuple[Network, ...] = ()
    firewalls: tuple[Firewall, ...] = ()
    placement_groups: tuple[PlacementGroup, ...] = ()
    servers: tuple[Server, ...] = ()
    load_balancers: tuple[LoadBalancer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Other resources in a project that deleting a cluster may affect, regardless of their owner."""

    servers: tuple[Server, ...] = ()
    volumes: tuple[Volume, ...] = ()
    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ServerType:
    """A server type with the locations where it can be ordered now."""

    name: str
    architecture: str
    locations: tuple[str, ...]
    leaving: Mapping[str, str] = field(default_factory=dict)
    """Announced last days on which it can be ordered, by location."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What can be ordered; only needed when a resource is missing."""

    server_types: Mapping[str, ServerType]
    zones: Mapping[str, str]
    """Network zones by location."""
    image_architectures: frozenset[str]
    """Architectures for which an image with the wanted name exists."""
    server_names: frozenset[str]
    """Names of all servers in the project, whatever their labels."""


Named = TypeVar("Named", SshKey, Network, Firewall, PlacementGroup, LoadBalancer)


def own(resources: Sequence[Named], cluster_name: str) -> Named | None:
    """Return the resource with the cluster's label; of several, the one with the cluster's name if any."""
    labelled = [resource for resource in resources if belongs_to(resource.labels, cluster_name)]
    return next(
        (resource for resource in labelled if resource.name == cluster_name),
        labelled[0] if labelled else None,
    )
