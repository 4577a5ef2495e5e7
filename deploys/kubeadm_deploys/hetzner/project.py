"""What is there: the parts of a Hetzner project that a cluster may consist of, as plain values.

hcloud's bound objects ask the API again behind an attribute; these do not, so that planning is pure and
the number of calls is known.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

from kubeadm_deploys.hetzner.names import belongs_to

Labels = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class SshKey:
    """A public key that new servers may be given."""

    id: int
    name: str
    labels: Labels
    fingerprint: str


@dataclass(frozen=True, kw_only=True)
class Network:
    """A private network with its subnets, each by range and network zone."""

    id: int
    name: str
    labels: Labels
    ip_range: str
    subnets: tuple[tuple[str, str], ...]
    has_dedicated_servers: bool = False
    """Whether a subnet connects it with a vSwitch, and so with dedicated servers."""
    is_protected: bool = False


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What a firewall lets through: a protocol, its port if it has any, and from or to where."""

    description: str
    protocol: str
    port: str
    peers: frozenset[str]
    """Where from, or where to when the direction is out."""
    direction: str = "in"


@dataclass(frozen=True, kw_only=True)
class Firewall:
    """A firewall with its rules and the label selectors by which servers are given it."""

    id: int
    name: str
    labels: Labels
    rules: tuple[Rule, ...]
    selectors: tuple[str, ...]
    servers: tuple[int, ...] = ()
    """Every server that it protects, by itself or by a label selector."""


@dataclass(frozen=True, kw_only=True)
class PlacementGroup:
    """A group whose servers run on different hosts."""

    id: int
    name: str
    labels: Labels
    servers: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server with the ids of what it is connected with."""

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
    """Label selectors whose servers are targets by their private addresses."""
    public_selectors: tuple[str, ...] = ()
    """Label selectors whose servers are targets by their public addresses."""
    servers: tuple[int, ...] = ()
    """Every server that is a target, by itself or by a label selector."""
    addresses: tuple[str, ...] = ()
    """Targets by address: dedicated servers."""
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
    """A public address that outlives the server or load balancer that has it."""

    kind: str
    """Primary IP or Floating IP."""
    name: str
    ip: str
    holder: tuple[str, int] | None
    """The kind, server or load balancer, and the ID of what has it."""


@dataclass(frozen=True, kw_only=True)
class Price:
    """What something costs a month."""

    net: Decimal
    gross: Decimal

    def __add__(self, other: "Price") -> "Price":
        return Price(net=self.net + other.net, gross=self.gross + other.gross)


NOTHING = Price(net=Decimal(0), gross=Decimal(0))


@dataclass(frozen=True, kw_only=True)
class Prices:
    """The API's prices of today, by type and location."""

    currency: str
    server_types: Mapping[tuple[str, str], Price]
    load_balancer_types: Mapping[tuple[str, str], Price]
    public_ipv4: Mapping[str, Price]


@dataclass(frozen=True, kw_only=True)
class Project:
    """Everything of a project that concerns a cluster.

    Servers are only those with the cluster's label; of the other kinds a project has few, so that reading
    all of them costs the same one call and shows which names are taken.
    """

    ssh_keys: tuple[SshKey, ...] = ()
    networks: tuple[Network, ...] = ()
    firewalls: tuple[Firewall, ...] = ()
    placement_groups: tuple[PlacementGroup, ...] = ()
    servers: tuple[Server, ...] = ()
    load_balancers: tuple[LoadBalancer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What of a project a cluster's deletion concerns besides: the things of all owners."""

    servers: tuple[Server, ...] = ()
    volumes: tuple[Volume, ...] = ()
    addresses: tuple[Address, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ServerType:
    """A server type with the locations in which it can be ordered now."""

    name: str
    architecture: str
    locations: tuple[str, ...]
    leaving: Mapping[str, str] = field(default_factory=dict)
    """The days after which it can no longer be ordered, by location, where that is announced."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """What can be ordered; only needed when something is missing."""

    server_types: Mapping[str, ServerType]
    zones: Mapping[str, str]
    """Network zones by location."""
    image_architectures: frozenset[str]
    """For which architectures there is an image of the wanted name."""
    server_names: frozenset[str]
    """Names of all servers of the project, whatever their labels."""


Named = TypeVar("Named", SshKey, Network, Firewall, PlacementGroup, LoadBalancer)


def own(things: Sequence[Named], cluster_name: str) -> Named | None:
    """The cluster's own thing of a kind: labelled, and of the cluster's name if there are several."""
    labelled = [thing for thing in things if belongs_to(thing.labels, cluster_name)]
    return next(
        (thing for thing in labelled if thing.name == cluster_name), labelled[0] if labelled else None
    )
