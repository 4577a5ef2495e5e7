"""Endpoints to list, create, rename and delete load balancers."""

from functools import partial

from flask import Blueprint
from pydantic import Field

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.bodies import Body, IdOrName, Labels, Name, body
from tests.lab.hetzner.catalogue import LOAD_BALANCER_TYPES, LOCATIONS
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, Answer, backend_in_request, project
from tests.lab.hetzner.errors import invalid_input
from tests.lab.hetzner.listing import resource_list
from tests.lab.hetzner.project import Project, found, unique_name
from tests.lab.hetzner.records import LoadBalancer
from tests.lab.hetzner.resources import load_balancer_work, primary_ips
from tests.lab.hetzner.resources.catalogue import by_id_or_name
from tests.lab.hetzner.resources.load_balancer_admission import (
    Target,
    admit_service,
    admit_target,
    reserve_in,
)
from tests.lab.hetzner.resources.load_balancer_services import Algorithm, Service, plain_service
from tests.lab.hetzner.resources.load_balancer_targets import health
from tests.lab.hetzner.resources.load_balancer_view import view

bp = Blueprint("load_balancers", __name__)


class PublicNet(Body):
    ipv4: int | None = None
    ipv6: int | None = None


class CreateLoadBalancer(Body):
    name: Name
    load_balancer_type: IdOrName
    location: IdOrName | None = None
    network_zone: str | None = None
    network: int | None = None
    public_interface: bool = True
    public_net: PublicNet = PublicNet()
    algorithm: Algorithm = Algorithm(type="round_robin")
    services: list[Service] = Field(default_factory=list)
    targets: list[Target] = Field(default_factory=list)
    labels: Labels = Field(default_factory=dict)


class UpdateLoadBalancer(Body):
    name: Name | None = None
    labels: Labels | None = None


@bp.get("/load_balancers")
def index() -> Answer:
    lab = project()
    with lab.lock:
        ids = list(lab.load_balancers)
    known = {balancer_id: health(lab, balancer_id) for balancer_id in ids}
    with lab.lock:
        return resource_list(
            "load_balancers",
            lab.load_balancers.values(),
            lambda balancer: view(lab, balancer, known.get(balancer.id, {})),
        )


@bp.get("/load_balancers/<int:balancer_id>")
def show(balancer_id: int) -> Answer:
    lab = project()
    with lab.lock:
        balancer = found(lab.load_balancers, balancer_id)
    known = health(lab, balancer_id)
    with lab.lock:
        return {"load_balancer": view(lab, balancer, known)}


@bp.put("/load_balancers/<int:balancer_id>")
def change(balancer_id: int) -> Answer:
    order = body(UpdateLoadBalancer)
    lab = project()
    with lab.lock:
        balancer = found(lab.load_balancers, balancer_id)
        if order.name is not None:
            unique_name(lab.load_balancers.values(), name=order.name, own_id=balancer.id)
            balancer.name = order.name
        if order.labels is not None:
            balancer.labels = order.labels
        return {"load_balancer": view(lab, balancer, {})}


@bp.delete("/load_balancers/<int:balancer_id>")
def delete(balancer_id: int) -> Answer:
    lab = project()
    with lab.lock:
        balancer = found(lab.load_balancers, balancer_id)
        lab.refuse_locked("load_balancer", balancer.id)
        action = lab.actions.begin("delete_load_balancer", ("load_balancer", balancer.id))
        lab.actions.run([(action, partial(load_balancer_work.remove, lab, balancer))])
        return {"action": action_view(action)}, CREATED


@bp.post("/load_balancers")
def create() -> Answer:
    order = body(CreateLoadBalancer)
    lab = project()
    with lab.lock:
        _admitted(lab, order)
    public_ipv4 = ""
    if order.public_net.ipv4 is None:
        with backend_in_request():
            public_ipv4 = lab.backend.public_address()
    with lab.lock:
        balancer = _admitted(lab, order)
        lab.load_balancers[balancer.id] = balancer
        given = order.public_net.model_dump()
        primary_ips.assign_all(lab, balancer, given=given, public_ipv4=public_ipv4)
        action = lab.actions.begin("create_load_balancer", ("load_balancer", balancer.id))
        lab.actions.run(
            [(action, partial(load_balancer_work.make, lab, balancer))],
            undo=partial(load_balancer_work.forget, lab, balancer),
        )
        return {
            "load_balancer": view(lab, balancer, {}),
            "action": action_view(action),
        }, CREATED


def _admitted(lab: Project, order: CreateLoadBalancer) -> LoadBalancer:
    """Return the requested load balancer; refuse if something that it names does not exist or fit."""
    lab.admit("load_balancers", lab.load_balancers, name=order.name)
    balancer_type = by_id_or_name(LOAD_BALANCER_TYPES, order.load_balancer_type, field="load_balancer_type")
    balancer = LoadBalancer(
        id=next(lab.ids),
        name=order.name,
        created=now(),
        labels=order.labels,
        location=_location(order),
        load_balancer_type=balancer_type["name"],
        algorithm=order.algorithm.type,
        public_enabled=order.public_interface,
    )
    for version, address_id in order.public_net:
        primary_ips.admit(lab, address_id, version=version, location=balancer.location)
    if order.network is not None:
        reserve_in(lab, balancer, order.network)
    for service in order.services:
        admit_service(balancer, service)
        balancer.services.append(plain_service(service))
    for target in order.targets:
        admit_target(lab, balancer, target)
        balancer.targets.append(target.plain())
    return balancer


def _location(order: CreateLoadBalancer) -> str:
    if order.location is not None:
        return str(by_id_or_name(LOCATIONS, order.location, field="location")["name"])
    for location in LOCATIONS.values():
        if location["network_zone"] == order.network_zone:
            return str(location["name"])
    raise invalid_input("location", "either a location or a network zone is needed")
