"""Floating IPs: additional addresses of servers, which are only recorded."""

from typing import Literal

from flask import Blueprint
from pydantic import Field

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.bodies import Body, IdOrName, Labels, Name, body
from tests.lab.hetzner.catalogue import LOCATIONS
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, Answer, backend_in_request, project
from tests.lab.hetzner.errors import invalid_input
from tests.lab.hetzner.listing import resource_list
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import FloatingIP, Json
from tests.lab.hetzner.resources.catalogue import by_id_or_name
from tests.lab.hetzner.resources.primary_ips import dns_pointers, made_up_ipv6

bp = Blueprint("floating_ips", __name__)


class CreateFloatingIP(Body):
    type: Literal["ipv4", "ipv6"]
    name: Name | None = None
    description: str | None = None
    home_location: IdOrName | None = None
    server: int | None = None
    labels: Labels = Field(default_factory=dict)


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


def view(address: FloatingIP) -> Json:
    """Return a Floating IP in the API's format."""
    return {
        "id": address.id,
        "name": address.name,
        "description": address.description,
        "ip": address.ip,
        "type": address.type,
        "server": address.server,
        "dns_ptr": dns_pointers(address.ip, address.type, {}),
        "home_location": LOCATIONS[address.home_location],
        "blocked": False,
        "protection": {"delete": False},
        "labels": address.labels,
        "created": address.created,
    }
