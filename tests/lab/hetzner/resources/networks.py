"""Networks and their subnets."""

import ipaddress
from collections.abc import Callable
from typing import Annotated, Literal

from flask import Blueprint
from pydantic import AfterValidator, Field

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.addresses import gateway, members, taken
from tests.lab.hetzner.bodies import Body, Labels, Name, body
from tests.lab.hetzner.catalogue import LOCATIONS
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, NOTHING, Answer, backend_in_request, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.listing import resource_list
from tests.lab.hetzner.project import Project, found
from tests.lab.hetzner.records import Json, Network
from tests.lab.hetzner.resources.load_balancer_targets import configure_all

bp = Blueprint("networks", __name__)

MAX_SUBNETS = 50


def _valid_range(ip_range: str) -> str:
    network = ipaddress.IPv4Network(ip_range)
    if not network.is_private:
        raise ValueError("must be a private network of RFC 1918")
    return str(network)


Range = Annotated[str, AfterValidator(_valid_range)]


class Subnet(Body):
    type: Literal["cloud", "server", "vswitch"]
    network_zone: str
    ip_range: Range | None = None
    vswitch_id: int | None = None


class CreateNetwork(Body):
    name: Name
    ip_range: Range
    labels: Labels = Field(default_factory=dict)
    subnets: list[Subnet] = Field(default_factory=list)


class IpRange(Body):
    ip_range: Range


@bp.get("/networks")
def index() -> Answer:
    lab = project()
    with lab.lock:
        return resource_list("networks", lab.networks.values(), lambda network: view(lab, network))


@bp.post("/networks")
def create() -> Answer:
    order = body(CreateNetwork)
    lab = project()
    with lab.lock:
        lab.admit("networks", lab.networks, name=order.name)
        network = Network(
            id=next(lab.ids),
            name=order.name,
            created=now(),
            labels=order.labels,
            ip_range=order.ip_range,
        )
        for subnet in order.subnets:
            network.subnets.append(_fitting_subnet(network, subnet))
    with backend_in_request():
        lab.backend.create_network(network_id=network.id, ip_range=network.ip_range)
    with lab.lock:
        lab.networks[network.id] = network
        return {"network": view(lab, network)}, CREATED


@bp.get("/networks/<int:network_id>")
def show(network_id: int) -> Answer:
    lab = project()
    with lab.lock:
        return {"network": view(lab, found(lab.networks, network_id))}


@bp.delete("/networks/<int:network_id>")
def delete(network_id: int) -> Answer:
    """Delete a network and detach its members, as the API documents."""
    lab = project()
    with lab.lock:
        network = _changeable(lab, network_id)
        attached = list(members(lab, network.id))
        for kind, member in attached:
            lab.refuse_locked(kind, member.id)
    with backend_in_request():
        for kind, member in attached:
            lab.backend.detach(resource=kind, resource_id=member.id, network_id=network.id)
        lab.backend.delete_network(network_id=network.id)
    with lab.lock:
        for _, member in attached:
            member.networks.pop(network.id, None)
        lab.networks.pop(network.id, None)
    with backend_in_request():
        configure_all(lab)
    return NOTHING


@bp.post("/networks/<int:network_id>/actions/add_subnet")
def add_subnet(network_id: int) -> Answer:
    order = body(Subnet)
    lab = project()
    with lab.lock:
        network = _changeable(lab, network_id)
        subnet = _fitting_subnet(network, order)
        return _run(lab, network, "add_subnet", lambda: network.subnets.append(subnet))


@bp.post("/networks/<int:network_id>/actions/delete_subnet")
def delete_subnet(network_id: int) -> Answer:
    order = body(IpRange)
    lab = project()
    with lab.lock:
        network = _changeable(lab, network_id)
        subnet = next((one for one in network.subnets if one["ip_range"] == order.ip_range), None)
        if subnet is None:
            raise invalid_input("ip_range", f"the network has no subnet '{order.ip_range}'")
        addresses = taken(lab, network) - {gateway(network.ip_range)}
        if any(ipaddress.ip_address(ip) in ipaddress.ip_network(order.ip_range) for ip in addresses):
            raise ApiError("resource_in_use", "subnet still contains attached resources")
        return _run(lab, network, "delete_subnet", lambda: network.subnets.remove(subnet))


@bp.post("/networks/<int:network_id>/actions/change_ip_range")
def change_ip_range(network_id: int) -> Answer:
    order = body(IpRange)
    lab = project()
    with lab.lock:
        network = _changeable(lab, network_id)
        old, new = ipaddress.ip_network(network.ip_range), ipaddress.ip_network(order.ip_range)
        if new.network_address != old.network_address or new.prefixlen > old.prefixlen:
            raise invalid_input("ip_range", "can only be extended at its end")
        return _run(lab, network, "change_ip_range", lambda: setattr(network, "ip_range", order.ip_range))


def _changeable(lab: Project, network_id: int) -> Network:
    network = found(lab.networks, network_id)
    lab.refuse_locked("network", network.id, code="conflict")
    return network


def _run(lab: Project, network: Network, command: str, work: Callable[[], None]) -> Answer:
    action = lab.actions.begin(command, ("network", network.id))

    def guarded() -> None:
        with lab.lock:
            work()

    lab.actions.run([(action, guarded)])
    return {"action": action_view(action)}, CREATED


def _fitting_subnet(network: Network, order: Subnet) -> Json:
    """Return the requested subnet, with the first free /24 if the request names no range."""
    if order.network_zone not in {location["network_zone"] for location in LOCATIONS.values()}:
        raise invalid_input("network_zone", f"network zone '{order.network_zone}' not found")
    if len(network.subnets) >= MAX_SUBNETS:
        raise invalid_input("subnets", f"a network has at most {MAX_SUBNETS} subnets")
    if any(subnet["network_zone"] != order.network_zone for subnet in network.subnets):
        raise invalid_input("network_zone", "all subnets of a network are in one network zone")
    whole = ipaddress.IPv4Network(network.ip_range)
    existing = [ipaddress.IPv4Network(subnet["ip_range"]) for subnet in network.subnets]
    if order.ip_range is None:
        parts = whole.subnets(new_prefix=24) if whole.prefixlen <= 24 else iter([whole])
        wanted = next((part for part in parts if not any(part.overlaps(one) for one in existing)), None)
        if wanted is None:
            raise invalid_input("ip_range", "the network has no free /24")
    else:
        wanted = ipaddress.IPv4Network(order.ip_range)
    if not wanted.subnet_of(whole) or any(wanted.overlaps(one) for one in existing):
        raise invalid_input("ip_range", "must be inside the network and must not overlap another subnet")
    if wanted.prefixlen > 30:
        raise invalid_input("ip_range", "must not be smaller than a /30")
    return {
        "type": order.type,
        "ip_range": str(wanted),
        "network_zone": order.network_zone,
        "gateway": gateway(network.ip_range),
        "vswitch_id": order.vswitch_id,
    }


def view(lab: Project, network: Network) -> Json:
    """Return a network in the API's format."""
    attached = list(members(lab, network.id))
    return {
        "id": network.id,
        "name": network.name,
        "ip_range": network.ip_range,
        "subnets": network.subnets,
        "routes": [],
        "servers": [member.id for kind, member in attached if kind == "server"],
        "load_balancers": [member.id for kind, member in attached if kind == "load_balancer"],
        "protection": {"delete": False},
        "labels": network.labels,
        "created": network.created,
        "expose_routes_to_vswitch": False,
    }
