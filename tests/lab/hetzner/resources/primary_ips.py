"""Primary IPs: the public addresses of servers and load balancers."""

from collections.abc import Mapping
from functools import partial
from typing import Literal

from flask import Blueprint, request
from pydantic import Field

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.bodies import Body, IdOrName, Labels, Name, Update, body
from tests.lab.hetzner.catalogue import LOCATIONS
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, NOTHING, Answer, backend_in_request, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.listing import resource_list, wanted
from tests.lab.hetzner.project import Project, found, refuse_protected
from tests.lab.hetzner.records import Json, LoadBalancer, PrimaryIP, Server
from tests.lab.hetzner.resources.catalogue import by_id_or_name
from tests.lab.hetzner.resources.common import (
    change_dns_ptr,
    change_protection,
    dns_pointers,
    update,
)

bp = Blueprint("primary_ips", __name__)


class CreatePrimaryIP(Body):
    name: Name
    type: Literal["ipv4", "ipv6"]
    assignee_type: Literal["server"] | None = None
    assignee_id: int | None = None
    location: IdOrName | None = None
    auto_delete: bool = False
    labels: Labels = Field(default_factory=dict)


class UpdatePrimaryIP(Update):
    auto_delete: bool | None = None


class Assign(Body):
    assignee_id: int
    assignee_type: Literal["server"]


@bp.get("/primary_ips")
def index() -> Answer:
    lab = project()
    address = request.args.get("ip")
    with lab.lock:
        chosen = [one for one in lab.primary_ips.values() if address in (None, one.ip)]
        chosen = [one for one in chosen if wanted("type", one.type)]
        return resource_list("primary_ips", chosen, view)


@bp.post("/primary_ips")
def create() -> Answer:
    order = body(CreatePrimaryIP)
    lab = project()
    ip = None
    if order.type == "ipv4":
        with backend_in_request():
            ip = lab.backend.public_address()
    with lab.lock:
        lab.admit("primary_ips", lab.primary_ips, name=order.name)
        address = _new(lab, order.name, version=order.type, location=_location(lab, order), ip=ip)
        address.labels, address.auto_delete = order.labels, order.auto_delete
        action = None
        if order.assignee_id is not None:
            _admit_assignee(lab, address, order.assignee_id)
            action = lab.actions.done("assign_primary_ip", ("primary_ip", address.id))
            address.assignee_id = order.assignee_id if action.status == "success" else None
        lab.primary_ips[address.id] = address
        done = {"action": action_view(action)} if action else {}
        return {"primary_ip": view(address), **done}, CREATED


def _location(lab: Project, order: CreatePrimaryIP) -> str:
    if order.assignee_id is not None:
        if order.assignee_id not in lab.servers:
            raise invalid_input("assignee_id", f"server '{order.assignee_id}' not found")
        return lab.servers[order.assignee_id].location
    if order.location is None:
        raise invalid_input("location", "either an assignee or a location is needed")
    return str(by_id_or_name(LOCATIONS, order.location, field="location")["name"])


@bp.get("/primary_ips/<int:address_id>")
def show(address_id: int) -> Answer:
    lab = project()
    with lab.lock:
        return {"primary_ip": view(found(lab.primary_ips, address_id))}


@bp.put("/primary_ips/<int:address_id>")
def change(address_id: int) -> Answer:
    order = body(UpdatePrimaryIP)
    lab = project()
    with lab.lock:
        address = found(lab.primary_ips, address_id)
        update(address, others=lab.primary_ips.values(), change=order)
        if order.auto_delete is not None:
            address.auto_delete = order.auto_delete
        return {"primary_ip": view(address)}


@bp.delete("/primary_ips/<int:address_id>")
def delete(address_id: int) -> Answer:
    lab = project()
    with lab.lock:
        address = found(lab.primary_ips, address_id)
        refuse_protected(address)
        if address.assignee_id is not None:
            raise ApiError("must_be_unassigned", f"Primary IP '{address.name}' is still assigned")
        del lab.primary_ips[address.id]
    return NOTHING


@bp.post("/primary_ips/<int:address_id>/actions/assign")
def assign(address_id: int) -> Answer:
    order = body(Assign)
    lab = project()
    with lab.lock:
        address = found(lab.primary_ips, address_id)
        if address.assignee_id is not None:
            raise ApiError("primary_ip_already_assigned", f"Primary IP '{address.name}' is already assigned")
        if order.assignee_id not in lab.servers:
            raise invalid_input("assignee_id", f"server '{order.assignee_id}' not found")
        _admit_assignee(lab, address, order.assignee_id)
        return _run(lab, address, "assign_primary_ip", order.assignee_id)


@bp.post("/primary_ips/<int:address_id>/actions/unassign")
def unassign(address_id: int) -> Answer:
    lab = project()
    with lab.lock:
        address = found(lab.primary_ips, address_id)
        if address.assignee_id is not None:
            _refuse_running(found(lab.servers, address.assignee_id))
        return _run(lab, address, "unassign_primary_ip", None)


def _run(lab: Project, address: PrimaryIP, command: str, assignee: int | None) -> Answer:
    action = lab.actions.begin(command, ("primary_ip", address.id))
    lab.actions.run([(action, partial(setattr, address, "assignee_id", assignee))])
    return {"action": action_view(action)}, CREATED


@bp.post("/primary_ips/<int:address_id>/actions/change_dns_ptr")
def point(address_id: int) -> Answer:
    lab = project()
    with lab.lock:
        address = found(lab.primary_ips, address_id)
        action = change_dns_ptr(lab, "primary_ip", address.id, own=[address])
        return {"action": action_view(action)}, CREATED


@bp.post("/primary_ips/<int:address_id>/actions/change_protection")
def protect(address_id: int) -> Answer:
    lab = project()
    with lab.lock:
        address = found(lab.primary_ips, address_id)
        return {"action": action_view(change_protection(lab, "primary_ip", address))}, CREATED


def _admit_assignee(lab: Project, address: PrimaryIP, server_id: int) -> None:
    server = lab.servers[server_id]
    _refuse_running(server)
    if address.type in assigned(lab, server.id):
        raise ApiError(f"server_has_{address.type}", f"server already has an {address.type} address")


def _refuse_running(server: Server) -> None:
    if server.status != "off":
        raise ApiError("server_not_stopped", "the server is running, but needs to be powered off")


def admit(lab: Project, address_id: int | None, *, version: str, location: str) -> None:
    """Refuse a Primary IP that a new server cannot have."""
    if address_id is None:
        return
    if address_id not in lab.primary_ips:
        raise invalid_input(f"public_net.{version}", f"Primary IP '{address_id}' not found")
    address = lab.primary_ips[address_id]
    if address.assignee_id is not None:
        raise ApiError("primary_ip_assigned", f"Primary IP '{address.name}' is already assigned")
    if address.type != version:
        raise ApiError("primary_ip_version_mismatch", f"Primary IP '{address.name}' is no {version} address")
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
    """Give a new server or load balancer its addresses, by version: those given, or new ones.

    New ones are deleted with it.
    """
    for version, address_id in given.items():
        if address_id is None:
            ip = public_ipv4 if version == "ipv4" else None
            address = _new(lab, "", version=version, location=assignee.location, ip=ip)
            address.name, address.auto_delete = f"primary_ip-{address.id}", True
            lab.primary_ips[address.id] = address
        else:
            address = lab.primary_ips[address_id]
        address.assignee_id = assignee.id
        address.assignee_type = "server" if isinstance(assignee, Server) else "load_balancer"


def release_all(lab: Project, assignee_id: int) -> None:
    """Take the addresses of what is deleted; those that go with it are deleted too."""
    for address in assigned(lab, assignee_id).values():
        address.assignee_id = None
        if address.auto_delete:
            del lab.primary_ips[address.id]


def assigned(lab: Project, assignee_id: int) -> dict[str, PrimaryIP]:
    """The addresses of a server or load balancer, by version."""
    return {one.type: one for one in lab.primary_ips.values() if one.assignee_id == assignee_id}


def _new(lab: Project, name: str, *, version: str, location: str, ip: str | None) -> PrimaryIP:
    number = next(lab.ids)
    return PrimaryIP(
        id=number,
        name=name,
        created=now(),
        type=version,
        location=location,
        ip=ip or made_up_ipv6(number),
    )


def made_up_ipv6(number: int) -> str:
    """An IPv6 network of the range for documentation (RFC 3849)."""
    return f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::/64"


def view(address: PrimaryIP) -> Json:
    """A Primary IP in the API's shape, with `location` and without the dropped `datacenter`."""
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
        "protection": {"delete": address.delete_protected},
    }
