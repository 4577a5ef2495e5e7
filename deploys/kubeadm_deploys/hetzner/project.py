"""What is there: the parts of a Hetzner project that a cluster may consist of, as plain values.

hcloud's bound objects ask the API again behind an attribute; these do not, so that planning is pure and
the number of calls is known.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from hcloud import Client

from kubeadm_deploys.hetzner.client import ask
from kubeadm_deploys.hetzner.names import belongs_to, cluster_selector

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
    servers: tuple[int, ...] = ()
    """Servers that are targets by themselves."""
    is_public: bool = False
    is_protected: bool = False


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume, which the cluster's CSI driver made or a user gave it."""

    id: int
    name: str
    labels: Labels
    size: int
    server: int | None
    is_protected: bool = False


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


def read_project(client: Client, *, cluster_name: str) -> Project:
    """Read what is there, in six calls for up to 50 things of a kind.

    Raises:
        HetznerError: the API cannot be read.
    """
    keys, networks, firewalls, groups, servers, balancers = _at_once(
        lambda: ask("reading SSH keys", client.ssh_keys.get_all),
        lambda: ask("reading networks", client.networks.get_all),
        lambda: ask("reading firewalls", client.firewalls.get_all),
        lambda: ask("reading placement groups", client.placement_groups.get_all),
        lambda: read_servers(client, cluster_name=cluster_name),
        lambda: ask("reading load balancers", client.load_balancers.get_all),
    )
    return Project(
        ssh_keys=tuple(
            SshKey(id=key.id, name=key.name, labels=key.labels, fingerprint=key.fingerprint) for key in keys
        ),
        networks=tuple(map(_network, networks)),
        firewalls=tuple(map(_firewall, firewalls)),
        placement_groups=tuple(
            PlacementGroup(id=group.id, name=group.name, labels=group.labels, servers=tuple(group.servers))
            for group in groups
        ),
        servers=servers,
        load_balancers=tuple(map(_load_balancer, balancers)),
    )


def read_prices(client: Client) -> Prices:
    """The API's prices of today, in one call.

    Raises:
        HetznerError: the API cannot be read.
    """
    pricing = ask("reading prices", lambda: client.request("GET", "/pricing"))["pricing"]
    return Prices(
        currency=pricing["currency"],
        server_types=_by_type(pricing["server_types"]),
        load_balancer_types=_by_type(pricing["load_balancer_types"]),
        public_ipv4={
            price["location"]: _price(price)
            for kind in pricing["primary_ips"]
            if kind["type"] == "ipv4"
            for price in kind["prices"]
        },
    )


def read_servers(client: Client, *, cluster_name: str) -> tuple[Server, ...]:
    """The servers that carry the cluster's label.

    Raises:
        HetznerError: the API cannot be read.
    """
    selector = cluster_selector(cluster_name)
    servers = ask("reading servers", lambda: client.servers.get_all(label_selector=selector))
    return tuple(sorted(map(_server, servers), key=lambda server: server.name))


def read_volumes(client: Client) -> tuple[Volume, ...]:
    """All volumes of the project.

    Raises:
        HetznerError: the API cannot be read.
    """
    return tuple(map(_volume, ask("reading volumes", client.volumes.get_all)))


def read_catalogue(client: Client, *, image: str) -> Catalogue:
    """Read what can be ordered, in four calls.

    Raises:
        HetznerError: the API cannot be read.
    """
    types, locations, images, servers = _at_once(
        lambda: ask("reading server types", client.server_types.get_all),
        lambda: ask("reading locations", client.locations.get_all),
        lambda: ask("reading images", lambda: client.images.get_all(name=image)),
        lambda: ask("reading servers", client.servers.get_all),
    )
    return Catalogue(
        server_types={server_type.name: _server_type(server_type) for server_type in types},
        zones={location.name: location.network_zone for location in locations},
        image_architectures=frozenset(found.architecture for found in images),
        server_names=frozenset(server.name for server in servers),
    )


def _at_once(*requests: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(max_workers=len(requests)) as pool:
        return [future.result() for future in [pool.submit(request) for request in requests]]


# hcloud types every field as optional; in the API's answers those below are there, hence Any.


def _network(network: Any) -> Network:
    return Network(
        id=network.id,
        name=network.name,
        labels=network.labels,
        ip_range=network.ip_range,
        subnets=tuple((subnet.ip_range, subnet.network_zone) for subnet in network.subnets),
        is_protected=_is_protected(network),
    )


def _firewall(firewall: Any) -> Firewall:
    return Firewall(
        id=firewall.id,
        name=firewall.name,
        labels=firewall.labels,
        rules=tuple(map(_rule, firewall.rules)),
        selectors=tuple(used.label_selector.selector for used in firewall.applied_to if used.label_selector),
    )


def _rule(rule: Any) -> Rule:
    return Rule(
        description=rule.description or "",
        protocol=rule.protocol,
        port=rule.port or "",
        peers=frozenset(rule.source_ips if rule.direction == "in" else rule.destination_ips),
        direction=rule.direction,
    )


def _server(server: Any) -> Server:
    return Server(
        id=server.id,
        name=server.name,
        labels=server.labels,
        server_type=server.server_type.name,
        location=server.location.name,
        image=(server.image and server.image.name) or "",
        status=server.status,
        networks=_networks(server),
        placement_group=server.placement_group.id if server.placement_group else None,
        has_public_ipv4=server.public_net.ipv4 is not None,
        is_protected=_is_protected(server),
    )


def _load_balancer(balancer: Any) -> LoadBalancer:
    return LoadBalancer(
        id=balancer.id,
        name=balancer.name,
        labels=balancer.labels,
        load_balancer_type=balancer.load_balancer_type.name,
        location=balancer.location.name,
        networks=_networks(balancer),
        services=tuple(map(_service, balancer.services)),
        selectors=tuple(
            target.label_selector.selector
            for target in balancer.targets
            if target.label_selector and target.use_private_ip
        ),
        servers=tuple(target.server.id for target in balancer.targets if target.server),
        is_public=balancer.public_net.enabled,
        is_protected=_is_protected(balancer),
    )


def _service(service: Any) -> Service:
    check = service.health_check
    return Service(
        protocol=service.protocol,
        listen_port=service.listen_port,
        destination_port=service.destination_port,
        check_protocol=check.protocol,
        check_port=check.port,
        check_tls=bool(check.http and check.http.tls),
        check_path=check.http.path if check.http else "",
    )


def _volume(volume: Any) -> Volume:
    return Volume(
        id=volume.id,
        name=volume.name,
        labels=volume.labels,
        size=volume.size,
        server=volume.server.id if volume.server else None,
        is_protected=_is_protected(volume),
    )


def _server_type(server_type: Any) -> ServerType:
    return ServerType(
        name=server_type.name,
        architecture=server_type.architecture,
        # Answers from before the field existed lack it.
        locations=tuple(
            place.location.name for place in server_type.locations if place.available is not False
        ),
        leaving={
            place.location.name: f"{place.deprecation.unavailable_after:%Y-%m-%d}"
            for place in server_type.locations
            if place.deprecation
        },
    )


def _networks(thing: Any) -> tuple[int, ...]:
    return tuple(attachment.network.id for attachment in thing.private_net)


def _is_protected(thing: Any) -> bool:
    return bool(thing.protection["delete"])


def _by_type(types: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Price]:
    return {(kind["name"], price["location"]): _price(price) for kind in types for price in kind["prices"]}


def _price(price: Mapping[str, Any]) -> Price:
    monthly = price["price_monthly"]
    return Price(net=Decimal(monthly["net"]), gross=Decimal(monthly["gross"]))
