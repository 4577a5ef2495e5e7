"""Read a project: convert the API's answers to the plain values of ``project``."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

from kubeadm_deploys.hetzner.api.client import Client, ask
from kubeadm_deploys.hetzner.api.names import cluster_selector
from kubeadm_deploys.hetzner.api.project import (
    Address,
    Catalogue,
    Firewall,
    LoadBalancer,
    Network,
    PlacementGroup,
    Price,
    Prices,
    Project,
    Rule,
    Server,
    ServerType,
    Service,
    SshKey,
    Surroundings,
    Volume,
)


def read_project(client: Client, *, cluster_name: str) -> Project:
    """Read the project, in six calls for up to 50 resources of each kind.

    Raises:
        HetznerError: the API cannot be read.
    """
    keys, networks, firewalls, groups, servers, balancers = _in_parallel(
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
    """Return the API's current prices, in one call.

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
    """Return the servers with the cluster's label.

    Raises:
        HetznerError: the API cannot be read.
    """
    selector = cluster_selector(cluster_name)
    servers = ask("reading servers", lambda: client.servers.get_all(label_selector=selector))
    return tuple(sorted(map(_server, servers), key=lambda server: server.name))


def read_surroundings(client: Client) -> Surroundings:
    """Read what a deletion may affect, in four calls for up to 50 resources of each kind.

    Raises:
        HetznerError: the API cannot be read.
    """
    servers, volumes, primary, floating = _in_parallel(
        lambda: ask("reading servers", client.servers.get_all),
        lambda: ask("reading volumes", client.volumes.get_all),
        lambda: ask("reading Primary IPs", client.primary_ips.get_all),
        lambda: ask("reading Floating IPs", client.floating_ips.get_all),
    )
    return Surroundings(
        servers=tuple(map(_server, servers)),
        volumes=tuple(map(_volume, volumes)),
        addresses=(
            *(_primary_ip(address) for address in primary if not address.auto_delete),
            *map(_floating_ip, floating),
        ),
    )


def read_catalogue(client: Client, *, image: str) -> Catalogue:
    """Read what can be ordered, in four calls.

    Raises:
        HetznerError: the API cannot be read.
    """
    types, locations, images, servers = _in_parallel(
        lambda: ask("reading server types", client.server_types.get_all),
        lambda: ask("reading locations", client.locations.get_all),
        lambda: ask("reading images", lambda: client.images.get_all(name=image)),
        lambda: ask("reading servers", client.servers.get_all),
    )
    return Catalogue(
        server_types={server_type.name: _server_type(server_type) for server_type in types},
        zones={location.name: location.network_zone for location in locations},
        image_architectures=frozenset(candidate.architecture for candidate in images),
        server_names=frozenset(server.name for server in servers),
    )


def _in_parallel(*requests: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(max_workers=len(requests)) as pool:
        return [future.result() for future in [pool.submit(request) for request in requests]]


# hcloud types every field as optional. The API always sends those below, hence Any.


def _network(network: Any) -> Network:
    return Network(
        id=network.id,
        name=network.name,
        labels=network.labels,
        ip_range=network.ip_range,
        subnets=tuple((subnet.ip_range, subnet.network_zone) for subnet in network.subnets),
        has_dedicated_servers=any(subnet.type == "vswitch" for subnet in network.subnets),
        is_protected=_is_protected(network),
    )


def _firewall(firewall: Any) -> Firewall:
    return Firewall(
        id=firewall.id,
        name=firewall.name,
        labels=firewall.labels,
        rules=tuple(map(_rule, firewall.rules)),
        selectors=tuple(used.label_selector.selector for used in firewall.applied_to if used.label_selector),
        servers=tuple(
            resource.server.id
            for used in firewall.applied_to
            for resource in (used, *(used.applied_to_resources or ()))
            if resource.server
        ),
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
        selectors=_target_selectors(balancer, private=True),
        public_selectors=_target_selectors(balancer, private=False),
        servers=tuple(
            member.server.id
            for target in balancer.targets
            for member in (target, *(target.targets or ()))
            if member.server
        ),
        addresses=tuple(target.ip.ip for target in balancer.targets if target.ip),
        is_public=balancer.public_net.enabled,
        is_protected=_is_protected(balancer),
    )


def _target_selectors(balancer: Any, *, private: bool) -> tuple[str, ...]:
    return tuple(
        target.label_selector.selector
        for target in balancer.targets
        if target.label_selector and bool(target.use_private_ip) == private
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


def _primary_ip(address: Any) -> Address:
    kind = "load balancer" if address.assignee_type == "load_balancer" else "server"
    return Address(
        kind="Primary IP",
        name=address.name,
        ip=address.ip,
        holder=None if address.assignee_id is None else (kind, address.assignee_id),
    )


def _floating_ip(address: Any) -> Address:
    return Address(
        kind="Floating IP",
        name=address.name,
        ip=address.ip,
        holder=("server", address.server.id) if address.server else None,
    )


def _server_type(server_type: Any) -> ServerType:
    return ServerType(
        name=server_type.name,
        architecture=server_type.architecture,
        # Older API answers lack ``available``.
        locations=tuple(
            place.location.name for place in server_type.locations if place.available is not False
        ),
        leaving={
            place.location.name: f"{place.deprecation.unavailable_after:%Y-%m-%d}"
            for place in server_type.locations
            if place.deprecation
        },
    )


def _networks(resource: Any) -> tuple[int, ...]:
    return tuple(attachment.network.id for attachment in resource.private_net)


def _is_protected(resource: Any) -> bool:
    return bool(resource.protection["delete"])


def _by_type(types: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Price]:
    return {(kind["name"], price["location"]): _price(price) for kind in types for price in kind["prices"]}


def _price(price: Mapping[str, Any]) -> Price:
    monthly = price["price_monthly"]
    return Price(net=Decimal(monthly["net"]), gross=Decimal(monthly["gross"]))
