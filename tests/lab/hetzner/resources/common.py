"""What the endpoints of several resources share."""

import ipaddress
from collections.abc import Iterable

from tests.lab.hetzner.bodies import Protection, ReverseDNS, Update, body
from tests.lab.hetzner.errors import invalid_input
from tests.lab.hetzner.project import Project, unique_name
from tests.lab.hetzner.records import Action, FloatingIP, Json, PrimaryIP, Resource


def update(resource: Resource, *, others: Iterable[Resource], change: Update) -> None:
    """Rename and label a resource as the request says."""
    if change.name is not None:
        unique_name(others, name=change.name, own_id=resource.id)
        resource.name = change.name
    if change.labels is not None:
        resource.labels = change.labels


def change_protection(lab: Project, kind: str, resource: Resource) -> Action:
    """Protect a resource against deletion, or no longer."""
    change = body(Protection)
    action = lab.actions.done("change_protection", (kind, resource.id))
    if action.status == "success" and change.delete is not None:
        resource.delete_protected = change.delete
    return action


def change_dns_ptr(
    lab: Project, kind: str, resource_id: int, *, own: Iterable[PrimaryIP | FloatingIP]
) -> Action:
    """Set the name that an address of a resource resolves to, or its default again."""
    change = body(ReverseDNS)
    address = next((one for one in own if _belongs(change.ip, one.ip)), None)
    if address is None:
        raise invalid_input("ip", f"'{change.ip}' does not belong to this resource")
    action = lab.actions.done("change_dns_ptr", (kind, resource_id))
    if action.status == "success":
        address.dns_ptr.pop(change.ip, None)
        if change.dns_ptr is not None:
            address.dns_ptr[change.ip] = change.dns_ptr
    return action


def _belongs(ip: str, own: str) -> bool:
    """Whether an IP is an IPv4 address of one's own, or inside an IPv6 network of one's own."""
    try:
        return ipaddress.ip_address(ip) in ipaddress.ip_network(own)
    except ValueError as error:
        raise invalid_input("ip", str(error)) from error


def dns_pointers(address: str, version: str, pointers: dict[str, str]) -> list[Json]:
    """The reverse DNS entries of an address: an IPv4 always has one, an IPv6 network those that were set."""
    if version == "ipv6":
        return [{"ip": ip, "dns_ptr": name} for ip, name in pointers.items()]
    return [{"ip": address, "dns_ptr": pointers.get(address, default_pointer(address))}]


def default_pointer(address: str) -> str:
    """The name that an IPv4 address resolves to unless somebody set another."""
    return f"static.{'.'.join(reversed(address.split('.')))}.clients.your-server.de"
