"""Primary IPs: the public addresses of servers and load balancers."""

from collections.abc import Mapping

from flask import Blueprint, request

from tests.lab.hetzner.catalogue import LOCATIONS
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import Answer, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.listing import resource_list, wanted
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import Json, LoadBalancer, PrimaryIP, Server

bp = Blueprint("primary_ips", __name__)


@bp.get("/primary_ips")
def index() -> Answer:
    lab = project()
    address = request.args.get("ip")
    with lab.lock:
        chosen = [one for one in lab.primary_ips.values() if address in (None, one.ip)]
        chosen = [one for one in chosen if wanted("type", one.type)]
        return resource_list("primary_ips", chosen, view)


def admit(lab: Project, address_id: int | None, *, version: str, location: str) -> None:
    """Refuse a Primary IP that cannot be assigned to a new server."""
    if address_id is None:
        return
    if address_id not in lab.primary_ips:
        raise invalid_input(f"public_net.{version}", f"Primary IP '{address_id}' not found")
    address = lab.primary_ips[address_id]
    if address.assignee_id is not None:
        raise ApiError("primary_ip_assigned", f"Primary IP '{address.name}' is already assigned")
    if address.type != version:
        raise ApiError(
            "primary_ip_version_mismatch", f"Primary IP '{address.name}' is not an {version} address"
        )
    if address.location != location:
        raise ApiError(
            "primary_ip_datacenter_mismatch", f"Primary IP '{address.name}' is in another location"
        )


def assign_all(
    lab: Project,
    assignee: Server | LoadBalancer,
    *,
    given: Mapping[str, int | None],
    public_ipv4: str,
) -> None:
    """Assign a new server or load balancer its addresses by version: the given ones, or new ones.

    New addresses are deleted with it.
    """
    for version, address_id in given.items():
        if address_id is None:
            number = next(lab.ids)
            address = PrimaryIP(
                id=number,
                name=f"primary_ip-{number}",
                created=now(),
                type=version,
                location=assignee.location,
                ip=public_ipv4 if version == "ipv4" else made_up_ipv6(number),
                auto_delete=True,
            )
            lab.primary_ips[number] = address
        else:
            address = lab.primary_ips[address_id]
        address.assignee_id = assignee.id
        address.assignee_type = "server" if isinstance(assignee, Server) else "load_balancer"


def release_all(lab: Project, assignee_id: int) -> None:
    """Release the addresses of a deleted resource, and delete those with ``auto_delete``."""
    for address in assigned(lab, assignee_id).values():
        address.assignee_id = None
        if address.auto_delete:
            del lab.primary_ips[address.id]


def assigned(lab: Project, assignee_id: int) -> dict[str, PrimaryIP]:
    """Return the addresses of a server or load balancer by version."""
    return {one.type: one for one in lab.primary_ips.values() if one.assignee_id == assignee_id}


def made_up_ipv6(number: int) -> str:
    """Return an IPv6 network of the documentation range (RFC 3849)."""
    return f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::/64"


def dns_pointers(address: str, version: str, pointers: dict[str, str]) -> list[Json]:
    """Return the reverse DNS entries of an address: one for IPv4, those that were set for an IPv6 network."""
    if version == "ipv6":
        return [{"ip": ip, "dns_ptr": name} for ip, name in pointers.items()]
    return [{"ip": address, "dns_ptr": pointers.get(address, default_pointer(address))}]


def default_pointer(address: str) -> str:
    """Return the default reverse DNS name of an IPv4 address."""
    return f"static.{'.'.join(reversed(address.split('.')))}.clients.your-server.de"


def view(address: PrimaryIP) -> Json:
    """Return a Primary IP in the API's format, with `location` and without the removed `datacenter`."""
    return {
        "id": address.id,
        "name": address.name,
        "ip": address.ip,
        "type": address.type,
        "location": LOCATIONS[address.location],
        "assignee_id": address.assignee_id,
        "assignee_type": "unassigned" if address.assignee_id is None else address.assignee_type,
        "auto_delete": address.auto_delete,
        "blocked": False,
        "created": address.created,
        "dns_ptr": dns_pointers(address.ip, address.type, address.dns_ptr),
        "labels": address.labels,
        "protection": {"delete": False},
    }
