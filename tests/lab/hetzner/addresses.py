"""Addresses of private networks: which are used, and which is next."""

import ipaddress
from collections.abc import Iterator

from tests.lab.hetzner.catalogue import LOCATIONS
from tests.lab.hetzner.errors import ApiError
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import Attachment, Json, LoadBalancer, Network, Server


def gateway(ip_range: str) -> str:
    """Return the gateway of a network: its first address."""
    return str(ipaddress.ip_network(ip_range)[1])


def subnet_of(network: Network, ip: str) -> str:
    """Return the subnet of an address in a network."""
    ranges = (subnet["ip_range"] for subnet in network.subnets)
    return str(next(subnet for subnet in ranges if ipaddress.ip_address(ip) in ipaddress.ip_network(subnet)))


def members(lab: Project, network_id: int) -> Iterator[tuple[str, Server | LoadBalancer]]:
    """Yield the members of a network, with their kinds as the backend names them."""
    for server in lab.servers.values():
        if network_id in server.networks:
            yield "server", server
    for balancer in lab.load_balancers.values():
        if network_id in balancer.networks:
            yield "load_balancer", balancer


def taken(lab: Project, network: Network) -> set[str]:
    """Return the addresses of a network that are used."""
    used = {gateway(network.ip_range)}
    for _, member in members(lab, network.id):
        attachment = member.networks[network.id]
        used |= {attachment.ip, *attachment.alias_ips}
    return used


def reserve(
    lab: Project,
    network: Network,
    *,
    location: str,
    ip: str | None = None,
    ip_range: str | None = None,
    alias_ips: list[str] | None = None,
) -> Attachment:
    """Choose the address of a new interface: the requested one, or the first free one that fits."""
    subnets = [
        ipaddress.ip_network(subnet["ip_range"])
        for subnet in network.subnets
        if _fits(subnet, location=location) and ip_range in (None, subnet["ip_range"])
    ]
    if not subnets:
        raise ApiError("no_subnet_available", f"network '{network.name}' has no subnet in the network zone")
    used = taken(lab, network)
    for wanted in filter(None, [ip, *(alias_ips or [])]):
        if wanted in used or not any(ipaddress.ip_address(wanted) in subnet for subnet in subnets):
            raise ApiError("ip_not_available", f"IP '{wanted}' is not available")
    if ip is None:
        used |= set(alias_ips or [])
        free = (str(address) for subnet in subnets for address in subnet.hosts() if str(address) not in used)
        ip = next(free, None)
    if ip is None:
        raise ApiError("no_subnet_available", f"network '{network.name}' has no free IP")
    return Attachment(ip=ip, alias_ips=list(alias_ips or []))


def _fits(subnet: Json, *, location: str) -> bool:
    return bool(subnet["network_zone"] == LOCATIONS[location]["network_zone"])
