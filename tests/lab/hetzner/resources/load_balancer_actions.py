"""Actions on an existing load balancer."""

import ipaddress
from collections.abc import Callable
from functools import partial

from flask import Blueprint

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.bodies import Body, IdOrName, body
from tests.lab.hetzner.catalogue import LOAD_BALANCER_TYPES
from tests.lab.hetzner.context import CREATED, Answer, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.project import Project, found
from tests.lab.hetzner.records import Json, LoadBalancer
from tests.lab.hetzner.resources import load_balancer_work, primary_ips
from tests.lab.hetzner.resources.catalogue import by_id_or_name
from tests.lab.hetzner.resources.load_balancer_admission import (
    Target,
    admit_service,
    admit_target,
    not_attached,
    reserve_in,
    same,
)
from tests.lab.hetzner.resources.load_balancer_services import (
    Algorithm,
    Service,
    ServiceChange,
    changed_service,
    plain_service,
)
from tests.lab.hetzner.resources.load_balancer_targets import configure

bp = Blueprint("load_balancer_actions", __name__, url_prefix="/load_balancers/<int:balancer_id>/actions")


class AttachToNetwork(Body):
    network: int
    ip: str | None = None
    ip_range: str | None = None


class InNetwork(Body):
    network: int


class Port(Body):
    listen_port: int


class ChangeType(Body):
    load_balancer_type: IdOrName


class ReverseDNS(Body):
    ip: str
    dns_ptr: str | None = None
    """Null restores the default."""


@bp.post("/attach_to_network")
def attach_to_network(balancer_id: int) -> Answer:
    order = body(AttachToNetwork)
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        if balancer.networks:
            raise ApiError("load_balancer_already_attached", "the load balancer is already attached")
        reserve_in(lab, balancer, order.network, ip=order.ip, ip_range=order.ip_range)
        work = partial(load_balancer_work.attach, lab, balancer, order.network)
        return _run(lab, balancer, "attach_to_network", work, undo=balancer.networks.clear)


@bp.post("/detach_from_network")
def detach_from_network(balancer_id: int) -> Answer:
    order = body(InNetwork)
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        if order.network not in balancer.networks:
            raise not_attached()
        return _run(
            lab,
            balancer,
            "detach_from_network",
            partial(load_balancer_work.detach, lab, balancer, order.network),
        )


@bp.post("/add_service")
def add_service(balancer_id: int) -> Answer:
    order = body(Service)
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        admit_service(balancer, order)
        return _set_services(lab, balancer, "add_service", [*balancer.services, plain_service(order)])


@bp.post("/update_service")
def update_service(balancer_id: int) -> Answer:
    order = body(ServiceChange)
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        old = _service(balancer, order.listen_port)
        services = [changed_service(one, order) if one is old else one for one in balancer.services]
        return _set_services(lab, balancer, "update_service", services)


@bp.post("/delete_service")
def delete_service(balancer_id: int) -> Answer:
    order = body(Port)
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        deleted = _service(balancer, order.listen_port)
        services = [service for service in balancer.services if service is not deleted]
        return _set_services(lab, balancer, "delete_service", services)


@bp.post("/add_target")
def add_target(balancer_id: int) -> Answer:
    order = body(Target)
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        admit_target(lab, balancer, order)
        return _set_targets(lab, balancer, "add_target", [*balancer.targets, order.plain()])


@bp.post("/remove_target")
def remove_target(balancer_id: int) -> Answer:
    order = body(Target)
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        kept = [target for target in balancer.targets if not same(target, order.plain())]
        if len(kept) == len(balancer.targets):
            raise invalid_input(order.type, "the load balancer has no such target")
        return _set_targets(lab, balancer, "remove_target", kept)


@bp.post("/change_algorithm")
def change_algorithm(balancer_id: int) -> Answer:
    order = body(Algorithm)
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        return _run(lab, balancer, "change_algorithm", partial(setattr, balancer, "algorithm", order.type))


@bp.post("/change_type")
def change_type(balancer_id: int) -> Answer:
    order = body(ChangeType)
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        wanted = by_id_or_name(LOAD_BALANCER_TYPES, order.load_balancer_type, field="load_balancer_type")
        if wanted["max_services"] < len(balancer.services) or wanted["max_targets"] < len(balancer.targets):
            raise ApiError("invalid_load_balancer_type", "the load balancer type does not fit")
        work = partial(setattr, balancer, "load_balancer_type", wanted["name"])
        return _run(lab, balancer, "change_load_balancer_type", work)


@bp.post("/enable_public_interface")
def enable_public_interface(balancer_id: int) -> Answer:
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        work = partial(setattr, balancer, "public_enabled", True)
        return _run(lab, balancer, "enable_public_interface", work)


@bp.post("/disable_public_interface")
def disable_public_interface(balancer_id: int) -> Answer:
    lab = project()
    with lab.lock:
        balancer = _unlocked(lab, balancer_id)
        if not balancer.networks:
            raise not_attached()
        if not all(target.get("use_private_ip") for target in balancer.targets):
            raise ApiError("targets_without_use_private_ip", "some targets use the public IP")
        work = partial(setattr, balancer, "public_enabled", False)
        return _run(lab, balancer, "disable_public_interface", work)


@bp.post("/change_dns_ptr")
def point(balancer_id: int) -> Answer:
    order = body(ReverseDNS)
    lab = project()
    with lab.lock:
        balancer = found(lab.load_balancers, balancer_id)
        own = primary_ips.assigned(lab, balancer.id).values()
        address = next((one for one in own if _belongs(order.ip, one.ip)), None)
        if address is None:
            raise invalid_input("ip", f"'{order.ip}' does not belong to this resource")
        action = lab.actions.done("change_dns_ptr", ("load_balancer", balancer.id))
        if action.status == "success":
            address.dns_ptr.pop(order.ip, None)
            if order.dns_ptr is not None:
                address.dns_ptr[order.ip] = order.dns_ptr
        return {"action": action_view(action)}, CREATED


def _belongs(ip: str, own: str) -> bool:
    """Return whether an IP is the assigned IPv4 address or in the assigned IPv6 network."""
    try:
        return ipaddress.ip_address(ip) in ipaddress.ip_network(own)
    except ValueError as error:
        raise invalid_input("ip", str(error)) from error


def _unlocked(lab: Project, balancer_id: int) -> LoadBalancer:
    balancer = found(lab.load_balancers, balancer_id)
    lab.refuse_locked("load_balancer", balancer.id)
    return balancer


def _run(
    lab: Project,
    balancer: LoadBalancer,
    command: str,
    work: Callable[[], None],
    *,
    undo: Callable[[], None] | None = None,
) -> Answer:
    action = lab.actions.begin(command, ("load_balancer", balancer.id))
    lab.actions.run([(action, work)], undo=undo)
    return {"action": action_view(action)}, CREATED


def _set_services(lab: Project, balancer: LoadBalancer, command: str, services: list[Json]) -> Answer:
    def work() -> None:
        balancer.services = services
        configure(lab, balancer.id)

    undo = partial(setattr, balancer, "services", balancer.services)
    return _run(lab, balancer, command, work, undo=undo)


def _set_targets(lab: Project, balancer: LoadBalancer, command: str, targets: list[Json]) -> Answer:
    def work() -> None:
        balancer.targets = targets
        configure(lab, balancer.id)

    undo = partial(setattr, balancer, "targets", balancer.targets)
    return _run(lab, balancer, command, work, undo=undo)


def _service(balancer: LoadBalancer, port: int) -> Json:
    for service in balancer.services:
        if service["listen_port"] == port:
            return service
    raise invalid_input("listen_port", f"the load balancer has no service on port {port}")
