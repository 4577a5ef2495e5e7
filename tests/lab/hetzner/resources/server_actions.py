"""What can be done to a server that is there."""

from collections.abc import Callable
from functools import partial

from flask import Blueprint
from pydantic import Field

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.addresses import reserve
from tests.lab.hetzner.bodies import Body, IdOrName, Protection, body
from tests.lab.hetzner.catalogue import SERVER_TYPES
from tests.lab.hetzner.context import CREATED, Answer, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.project import Project, found
from tests.lab.hetzner.records import Json, Server
from tests.lab.hetzner.resources import server_work
from tests.lab.hetzner.resources.catalogue import by_id_or_name
from tests.lab.hetzner.resources.common import change_dns_ptr, change_protection
from tests.lab.hetzner.resources.placement_groups import admit_member
from tests.lab.hetzner.resources.primary_ips import assigned
from tests.lab.hetzner.resources.servers import fitting_image, refuse_unavailable

bp = Blueprint("server_actions", __name__, url_prefix="/servers/<int:server_id>/actions")

MADE_UP_PASSWORD = "made-up-password"


class AttachToNetwork(Body):
    network: int
    ip: str | None = None
    ip_range: str | None = None
    alias_ips: list[str] = Field(default_factory=list)


class InNetwork(Body):
    network: int


class AliasIPs(InNetwork):
    alias_ips: list[str]


class ChangeType(Body):
    server_type: IdOrName
    upgrade_disk: bool


class Rebuild(Body):
    image: IdOrName
    user_data: str | None = None


class PlacementGroupRef(Body):
    placement_group: int


class ServerProtection(Protection):
    rebuild: bool | None = None


@bp.post("/poweron")
def poweron(server_id: int) -> Answer:
    return _power("start_server", server_id, on=True)


@bp.post("/poweroff")
def poweroff(server_id: int) -> Answer:
    return _power("stop_server", server_id, on=False)


@bp.post("/shutdown")
def shutdown(server_id: int) -> Answer:
    return _power("shutdown_server", server_id, on=False)


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


@bp.post("/reset")
def reset(server_id: int) -> Answer:
    lab = project()
    with lab.lock:
        server = _unlocked(lab, server_id)

        def off_and_on() -> None:
            server_work.set_power(lab, server, on=False)
            server_work.set_power(lab, server, on=True)

        return _run(lab, server, "reset_server", off_and_on)


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


@bp.post("/change_alias_ips")
def change_alias_ips(server_id: int) -> Answer:
    order = body(AliasIPs)
    lab = project()
    with lab.lock:
        server = _attached(lab, server_id, order.network)
        attachment = server.networks[order.network]
        before, attachment.alias_ips = attachment.alias_ips, []
        try:
            reserve(lab, lab.networks[order.network], location=server.location, alias_ips=order.alias_ips)
        finally:
            attachment.alias_ips = before
        return _run(
            lab, server, "change_alias_ips", partial(setattr, attachment, "alias_ips", order.alias_ips)
        )


@bp.post("/change_type")
def change_type(server_id: int) -> Answer:
    order = body(ChangeType)
    lab = project()
    with lab.lock:
        server = _stopped(lab, server_id)
        server_type = by_id_or_name(SERVER_TYPES, order.server_type, field="server_type")
        old = SERVER_TYPES[server.server_type]
        if server_type["architecture"] != old["architecture"] or (
            server_type["disk"] < server.primary_disk_size
        ):
            raise ApiError("invalid_server_type", "the server type does not fit for the given server")
        refuse_unavailable(server_type, server.location)

        def resize() -> None:
            server.server_type = server_type["name"]
            if order.upgrade_disk:
                server.primary_disk_size = server_type["disk"]

        return _run(lab, server, "change_server_type", resize)


@bp.post("/rebuild")
def rebuild(server_id: int) -> Answer:
    order = body(Rebuild)
    lab = project()
    with lab.lock:
        server = _unlocked(lab, server_id)
        if server.rebuild_protected:
            raise ApiError("protected", f"'{server.name}' is protected against rebuilding")
        architecture = SERVER_TYPES[server.server_type]["architecture"]
        image_id = fitting_image(order.image, architecture=architecture)["id"]
        user_data = server.user_data if order.user_data is None else order.user_data
        work = partial(server_work.rebuild, lab, server, image_id=image_id, user_data=user_data)
        password = None if server.ssh_keys else MADE_UP_PASSWORD
        return _run(lab, server, "rebuild_server", work, root_password=password)


@bp.post("/add_to_placement_group")
def add_to_placement_group(server_id: int) -> Answer:
    order = body(PlacementGroupRef)
    lab = project()
    with lab.lock:
        server = _stopped(lab, server_id)
        admit_member(lab, order.placement_group)
        work = partial(setattr, server, "placement_group", order.placement_group)
        return _run(lab, server, "add_to_placement_group", work)


@bp.post("/remove_from_placement_group")
def remove_from_placement_group(server_id: int) -> Answer:
    lab = project()
    with lab.lock:
        server = _unlocked(lab, server_id)
        work = partial(setattr, server, "placement_group", None)
        return _run(lab, server, "remove_from_placement_group", work)


@bp.post("/change_protection")
def protect(server_id: int) -> Answer:
    order = body(ServerProtection)
    lab = project()
    with lab.lock:
        server = found(lab.servers, server_id)
        action = change_protection(lab, "server", server)
        if action.status == "success" and order.rebuild is not None:
            server.rebuild_protected = order.rebuild
        return {"action": action_view(action)}, CREATED


@bp.post("/change_dns_ptr")
def point(server_id: int) -> Answer:
    lab = project()
    with lab.lock:
        server = found(lab.servers, server_id)
        own = list(assigned(lab, server.id).values())
        action = change_dns_ptr(lab, "server", server.id, own=own)
        return {"action": action_view(action)}, CREATED


@bp.post("/enable_rescue")
def enable_rescue(server_id: int) -> Answer:
    return _set("enable_rescue", server_id, "rescue_enabled", True, root_password=MADE_UP_PASSWORD)


@bp.post("/disable_rescue")
def disable_rescue(server_id: int) -> Answer:
    return _set("disable_rescue", server_id, "rescue_enabled", False)


@bp.post("/enable_backup")
def enable_backup(server_id: int) -> Answer:
    return _set("enable_backup", server_id, "backup_window", "22-02")


@bp.post("/disable_backup")
def disable_backup(server_id: int) -> Answer:
    return _set("disable_backup", server_id, "backup_window", None)


def _set(command: str, server_id: int, field: str, value: str | bool | None, **more: str) -> Answer:
    lab = project()
    with lab.lock:
        server = _unlocked(lab, server_id)
        return _run(lab, server, command, partial(setattr, server, field, value), **more)


@bp.post("/reset_password")
def reset_password(server_id: int) -> Answer:
    lab = project()
    with lab.lock:
        server = _unlocked(lab, server_id)
        if server.status != "running":
            raise ApiError("invalid_input", "the server must be running")
        action = lab.actions.done("reset_password", ("server", server.id))
        return {"action": action_view(action), "root_password": MADE_UP_PASSWORD}, CREATED


def _unlocked(lab: Project, server_id: int) -> Server:
    server = found(lab.servers, server_id)
    lab.refuse_locked("server", server.id)
    return server


def _stopped(lab: Project, server_id: int) -> Server:
    server = _unlocked(lab, server_id)
    if server.status != "off":
        raise ApiError("server_not_stopped", "the server is running, but needs to be powered off")
    return server


def _attached(lab: Project, server_id: int, network_id: int) -> Server:
    server = _unlocked(lab, server_id)
    if network_id not in server.networks:
        raise invalid_input("network", f"the server is not attached to network '{network_id}'")
    return server


def _run(lab: Project, server: Server, command: str, work: Callable[[], None], **more: str | None) -> Answer:
    action = lab.actions.begin(command, ("server", server.id))
    lab.actions.run([(action, work)])
    answer: Json = {"action": action_view(action), **more}
    return answer, CREATED
