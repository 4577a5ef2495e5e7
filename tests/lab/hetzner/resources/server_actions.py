"""Actions on an existing server."""

from collections.abc import Callable
from functools import partial

from flask import Blueprint
from pydantic import Field

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.addresses import reserve
from tests.lab.hetzner.bodies import Body, body
from tests.lab.hetzner.context import CREATED, Answer, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.project import Project, found
from tests.lab.hetzner.records import Server
from tests.lab.hetzner.resources import server_work

bp = Blueprint("server_actions", __name__, url_prefix="/servers/<int:server_id>/actions")


class AttachToNetwork(Body):
    network: int
    ip: str | None = None
    ip_range: str | None = None
    alias_ips: list[str] = Field(default_factory=list)


class InNetwork(Body):
    network: int


class Protection(Body):
    delete: bool | None = None
    rebuild: bool | None = None


@bp.post("/poweron")
def poweron(server_id: int) -> Answer:
    return _power("start_server", server_id, on=True)


@bp.post("/poweroff")
def poweroff(server_id: int) -> Answer:
    return _power("stop_server", server_id, on=False)


def _power(command: str, server_id: int, *, on: bool) -> Answer:
    lab = project()
    with lab.lock:
        server = _unlocked(lab, server_id)
        return _run(lab, server, command, partial(server_work.set_power, lab, server, on=on))


@bp.post("/reboot")
def reboot(server_id: int) -> Answer:
    lab = project()
    with lab.lock:
        server = _unlocked(lab, server_id)
        return _run(lab, server, "reboot_server", partial(server_work.reboot, lab, server))


@bp.post("/attach_to_network")
def attach_to_network(server_id: int) -> Answer:
    order = body(AttachToNetwork)
    lab = project()
    with lab.lock:
        server = _unlocked(lab, server_id)
        if order.network not in lab.networks:
            raise invalid_input("network", f"network '{order.network}' not found")
        if order.network in server.networks:
            raise ApiError("server_already_attached", "the server is already attached to the network")
        network = lab.networks[order.network]
        server.networks[network.id] = reserve(
            lab,
            network,
            location=server.location,
            ip=order.ip,
            ip_range=order.ip_range,
            alias_ips=order.alias_ips,
        )
        this = ("server", server.id)
        action = lab.actions.begin("attach_to_network", this, ("network", network.id), locks=[this])
        lab.actions.run(
            [(action, partial(server_work.attach, lab, server, network.id))],
            undo=lambda: _drop(server, network.id),
        )
        return {"action": action_view(action)}, CREATED


def _drop(server: Server, network_id: int) -> None:
    server.networks.pop(network_id, None)


@bp.post("/detach_from_network")
def detach_from_network(server_id: int) -> Answer:
    order = body(InNetwork)
    lab = project()
    with lab.lock:
        server = _attached(lab, server_id, order.network)
        this = ("server", server.id)
        action = lab.actions.begin("detach_from_network", this, ("network", order.network), locks=[this])
        lab.actions.run([(action, partial(server_work.detach, lab, server, order.network))])
        return {"action": action_view(action)}, CREATED


@bp.post("/change_protection")
def protect(server_id: int) -> Answer:
    order = body(Protection)
    lab = project()
    with lab.lock:
        server = found(lab.servers, server_id)
        action = lab.actions.done("change_protection", ("server", server.id))
        if action.status == "success" and order.delete is not None:
            server.delete_protected = order.delete
        if action.status == "success" and order.rebuild is not None:
            server.rebuild_protected = order.rebuild
        return {"action": action_view(action)}, CREATED


def _unlocked(lab: Project, server_id: int) -> Server:
    server = found(lab.servers, server_id)
    lab.refuse_locked("server", server.id)
    return server


def _attached(lab: Project, server_id: int, network_id: int) -> Server:
    server = _unlocked(lab, server_id)
    if network_id not in server.networks:
        raise invalid_input("network", f"the server is not attached to network '{network_id}'")
    return server


def _run(lab: Project, server: Server, command: str, work: Callable[[], None]) -> Answer:
    action = lab.actions.begin(command, ("server", server.id))
    lab.actions.run([(action, work)])
    return {"action": action_view(action)}, CREATED
