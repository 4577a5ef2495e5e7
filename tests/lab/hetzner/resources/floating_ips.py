"""Floating IPs: addresses that move between servers, in the project's books only."""

from functools import partial
from typing import Literal

from flask import Blueprint
from pydantic import Field

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.bodies import Body, IdOrName, Labels, Name, Update, body
from tests.lab.hetzner.catalogue import LOCATIONS
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, NOTHING, Answer, backend_in_request, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.listing import resource_list
from tests.lab.hetzner.project import Project, found, refuse_protected
from tests.lab.hetzner.records import FloatingIP, Json
from tests.lab.hetzner.resources.catalogue import by_id_or_name
from tests.lab.hetzner.resources.common import change_dns_ptr, change_protection, dns_pointers, update
from tests.lab.hetzner.resources.primary_ips import made_up_ipv6

bp = Blueprint("floating_ips", __name__)


class CreateFloatingIP(Body):
    type: Literal["ipv4", "ipv6"]
    name: Name | None = None
    description: str | None = None
    home_location: IdOrName | None = None
    server: int | None = None
    labels: Labels = Field(default_factory=dict)


class UpdateFloatingIP(Update):
    description: str | None = None


class Assign(Body):
    server: int


@bp.get("/floating_ips")
def index() -> Answer:
    lab = project()
    with lab.lock:
        return resource_list("floating_ips", lab.floating_ips.values(), view, sortable=("id", "created"))


@bp.post("/floating_ips")
def create() -> Answer:
    order = body(CreateFloatingIP)
    lab = project()
    number = next(lab.ids)
    ip = made_up_ipv6(number)
    if order.type == "ipv4":
        with backend_in_request():
            ip = lab.backend.public_address()
    with lab.lock:
        name = order.name or f"floating-ip-{number}"
        lab.admit("floating_ips", lab.floating_ips, name=name)
        address = FloatingIP(
            id=number,
            name=name,
            created=now(),
            labels=order.labels,
            type=order.type,
            description=order.description,
            home_location=_home(lab, order),
            ip=ip,
        )
        lab.floating_ips[address.id] = address
        action = None
        if order.server is not None:
            action = lab.actions.done("assign_floating_ip", ("floating_ip", number), ("server", order.server))
            address.server = order.server if action.status == "success" else None
        done = {"action": action_view(action)} if action else {}
        return {"floating_ip": view(address), **done}, CREATED


def _home(lab: Project, order: CreateFloatingIP) -> str:
    if order.server is not None:
        if order.server not in lab.servers:
            raise invalid_input("server", f"server '{order.server}' not found")
        return lab.servers[order.server].location
    if order.home_location is None:
        raise invalid_input("home_location", "either a server or a home location is needed")
    return str(by_id_or_name(LOCATIONS, order.home_location, field="home_location")["name"])


@bp.get("/floating_ips/<int:address_id>")
def show(address_id: int) -> Answer:
    lab = project()
    with lab.lock:
        return {"floating_ip": view(found(lab.floating_ips, address_id))}


@bp.put("/floating_ips/<int:address_id>")
def change(address_id: int) -> Answer:
    order = body(UpdateFloatingIP)
    lab = project()
    with lab.lock:
        address = found(lab.floating_ips, address_id)
        update(address, others=lab.floating_ips.values(), change=order)
        if order.description is not None:
            address.description = order.description
        return {"floating_ip": view(address)}


@bp.delete("/floating_ips/<int:address_id>")
def delete(address_id: int) -> Answer:
    lab = project()
    with lab.lock:
        address = found(lab.floating_ips, address_id)
        refuse_protected(address)
        if address.server is not None:
            raise ApiError("must_be_unassigned", f"Floating IP '{address.name}' is still assigned")
        del lab.floating_ips[address.id]
    return NOTHING


@bp.post("/floating_ips/<int:address_id>/actions/assign")
def assign(address_id: int) -> Answer:
    order = body(Assign)
    lab = project()
    with lab.lock:
        address = found(lab.floating_ips, address_id)
        if order.server not in lab.servers:
            raise invalid_input("server", f"server '{order.server}' not found")
        return _run(lab, address, "assign_floating_ip", order.server)


@bp.post("/floating_ips/<int:address_id>/actions/unassign")
def unassign(address_id: int) -> Answer:
    lab = project()
    with lab.lock:
        return _run(lab, found(lab.floating_ips, address_id), "unassign_floating_ip", None)


def _run(lab: Project, address: FloatingIP, command: str, server_id: int | None) -> Answer:
    action = lab.actions.begin(command, ("floating_ip", address.id))
    lab.actions.run([(action, partial(setattr, address, "server", server_id))])
    return {"action": action_view(action)}, CREATED


@bp.post("/floating_ips/<int:address_id>/actions/change_dns_ptr")
def point(address_id: int) -> Answer:
    lab = project()
    with lab.lock:
        address = found(lab.floating_ips, address_id)
        action = change_dns_ptr(lab, "floating_ip", address.id, own=[address])
        return {"action": action_view(action)}, CREATED


@bp.post("/floating_ips/<int:address_id>/actions/change_protection")
def protect(address_id: int) -> Answer:
    lab = project()
    with lab.lock:
        address = found(lab.floating_ips, address_id)
        return {"action": action_view(change_protection(lab, "floating_ip", address))}, CREATED


def view(address: FloatingIP) -> Json:
    """A Floating IP in the API's shape."""
    return {
        "id": address.id,
        "name": address.name,
        "description": address.description,
        "ip": address.ip,
        "type": address.type,
        "server": address.server,
        "dns_ptr": dns_pointers(address.ip, address.type, address.dns_ptr),
        "home_location": LOCATIONS[address.home_location],
        "blocked": False,
        "protection": {"delete": address.delete_protected},
        "labels": address.labels,
        "created": address.created,
    }
