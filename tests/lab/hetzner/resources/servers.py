"""Endpoints to list, create and delete servers."""

from collections.abc import Callable
from functools import partial

from flask import Blueprint
from pydantic import Field

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.addresses import reserve
from tests.lab.hetzner.bodies import Body, Hostname, IdOrName, Labels, body
from tests.lab.hetzner.catalogue import IMAGES, LOCATIONS, SERVER_TYPES
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, Answer, backend_in_request, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.listing import resource_list, wanted
from tests.lab.hetzner.project import Project, found
from tests.lab.hetzner.records import Action, Json, Server
from tests.lab.hetzner.resources import primary_ips, server_work, ssh_keys
from tests.lab.hetzner.resources.catalogue import by_id_or_name
from tests.lab.hetzner.resources.placement_groups import admit_member
from tests.lab.hetzner.resources.server_view import view
from tests.lab.hetzner.resources.volumes import admit_attachment

bp = Blueprint("servers", __name__)

MAX_USER_DATA = 32 * 1024
MAX_NETWORK_SERVERS = 100
DEFAULT_LOCATION = "fsn1"


class PublicNet(Body):
    enable_ipv4: bool = True
    enable_ipv6: bool = True
    ipv4: int | None = None
    ipv6: int | None = None

    def given(self) -> dict[str, int | None]:
        """Return the given Primary IPs by enabled version; None for a new one."""
        versions = {}
        if self.enable_ipv4:
            versions["ipv4"] = self.ipv4
        if self.enable_ipv6:
            versions["ipv6"] = self.ipv6
        return versions


class FirewallRef(Body):
    firewall: int


class CreateServer(Body):
    name: Hostname
    server_type: IdOrName
    image: IdOrName
    location: IdOrName | None = None
    ssh_keys: list[IdOrName] = Field(default_factory=list)
    volumes: list[int] = Field(default_factory=list)
    networks: list[int] = Field(default_factory=list)
    firewalls: list[FirewallRef] = Field(default_factory=list)
    placement_group: int | None = None
    user_data: str = Field(default="", max_length=MAX_USER_DATA)
    labels: Labels = Field(default_factory=dict)
    automount: bool = False
    start_after_create: bool = True
    public_net: PublicNet = PublicNet()


@bp.get("/servers")
def index() -> Answer:
    lab = project()
    with lab.lock:
        servers = [server for server in lab.servers.values() if wanted("status", server.status)]
        return resource_list("servers", servers, lambda server: view(lab, server))


@bp.get("/servers/<int:server_id>")
def show(server_id: int) -> Answer:
    lab = project()
    with lab.lock:
        return {"server": view(lab, found(lab.servers, server_id))}


@bp.delete("/servers/<int:server_id>")
def delete(server_id: int) -> Answer:
    lab = project()
    with lab.lock:
        server = found(lab.servers, server_id)
        if server.delete_protected:
            raise ApiError("protected", f"'{server.name}' is protected against deletion")
        lab.refuse_locked("server", server.id)
        before, server.status = server.status, "deleting"
        action = lab.actions.begin("delete_server", ("server", server.id))
        lab.actions.run(
            [(action, partial(server_work.remove, lab, server))],
            undo=lambda: setattr(server, "status", before),
        )
        return {"action": action_view(action)}


@bp.post("/servers")
def create() -> Answer:
    order = body(CreateServer)
    lab = project()
    with lab.lock:
        _admitted(lab, order)
    public_ipv4 = ""
    if order.public_net.enable_ipv4 and order.public_net.ipv4 is None:
        with backend_in_request():
            public_ipv4 = lab.backend.public_address()
    with lab.lock:
        server = _admitted(lab, order)
        _enter(lab, server, order, public_ipv4)
        first, *following = steps = _steps(lab, server, order)
        lab.actions.run(steps, undo=partial(server_work.give_up, lab, server))
        return {
            "server": view(lab, server),
            "action": action_view(first[0]),
            "next_actions": [action_view(action) for action, _ in following],
            "root_password": None if order.ssh_keys else "made-up-password",
        }, CREATED


def _admitted(lab: Project, order: CreateServer) -> Server:
    """Return the requested server; refuse if something that the request names is not available."""
    lab.admit("servers", lab.servers, name=order.name)
    location = by_id_or_name(LOCATIONS, order.location or DEFAULT_LOCATION, field="location")["name"]
    server_type = by_id_or_name(SERVER_TYPES, order.server_type, field="server_type")
    image = _fitting_image(order.image, architecture=server_type["architecture"])
    _refuse_unavailable(server_type, location)
    server = Server(
        id=next(lab.ids),
        name=order.name,
        created=now(),
        labels=order.labels,
        location=location,
        server_type=server_type["name"],
        image_id=image["id"],
        ssh_keys=ssh_keys.named_in(lab, order.ssh_keys),
        user_data=order.user_data,
        placement_group=order.placement_group,
    )
    for reference in order.firewalls:
        if reference.firewall not in lab.firewalls:
            raise ApiError(
                "firewall_resource_not_found", f"firewall '{reference.firewall}' not found", status=422
            )
    for network_id in order.networks:
        _reserve_in(lab, server, network_id)
    for volume_id in order.volumes:
        admit_attachment(lab, volume_id, server)
    primary_ips.admit(lab, order.public_net.ipv4, version="ipv4", location=location)
    primary_ips.admit(lab, order.public_net.ipv6, version="ipv6", location=location)
    if order.placement_group is not None:
        admit_member(lab, order.placement_group)
    return server


def _refuse_unavailable(server_type: Json, location: str) -> None:
    """Refuse a server type that cannot be ordered in a location."""
    offer = next((one for one in server_type["locations"] if one["name"] == location), None)
    if offer is None:
        raise invalid_input("server_type", f"unsupported location for server type '{server_type['name']}'")
    if offer["deprecation"] and offer["deprecation"]["unavailable_after"] <= now():
        raise invalid_input("server_type", f"server type '{server_type['name']}' is deprecated")
    if not offer["available"]:
        raise ApiError("resource_unavailable", "error during placement: the server type is sold out")


def _fitting_image(wanted: IdOrName, *, architecture: str) -> Json:
    """Return the image with this ID, or with this name and the architecture of the server type."""
    named = [image for image in IMAGES.values() if str(wanted) in (str(image["id"]), image["name"])]
    if not named:
        raise invalid_input("image", f"image '{wanted}' not found")
    for image in named:
        if image["architecture"] == architecture:
            return image
    raise invalid_input("image", f"the image's architecture is not that of the server type, {architecture}")


def _reserve_in(lab: Project, server: Server, network_id: int) -> None:
    if network_id not in lab.networks:
        raise invalid_input("networks", f"network '{network_id}' not found")
    if sum(network_id in one.networks for one in lab.servers.values()) >= MAX_NETWORK_SERVERS:
        raise ApiError("resource_limit_exceeded", f"a network has at most {MAX_NETWORK_SERVERS} servers")
    server.networks[network_id] = reserve(lab, lab.networks[network_id], location=server.location)


def _enter(lab: Project, server: Server, order: CreateServer, public_ipv4: str) -> None:
    """Add a new server to the project, with its addresses and firewalls."""
    lab.servers[server.id] = server
    primary_ips.assign_all(lab, server, given=order.public_net.given(), public_ipv4=public_ipv4)
    for reference in order.firewalls:
        resource = {"type": "server", "server": {"id": server.id}}
        lab.firewalls[reference.firewall].applied_to.append(resource)


def _steps(lab: Project, server: Server, order: CreateServer) -> list[tuple[Action, Callable[[], None]]]:
    """Return the actions that create a server, in order: create_server, and what the API calls next actions.

    Networks come before the start, so that a server has its private interfaces when it boots.
    """
    this = ("server", server.id)
    steps: list[tuple[Action, Callable[[], None]]] = [
        (lab.actions.begin("create_server", this), partial(server_work.make, lab, server))
    ]
    for network_id in order.networks:
        action = lab.actions.begin("attach_to_network", this, ("network", network_id), locks=[this])
        steps.append((action, partial(server_work.attach, lab, server, network_id)))
    for volume_id in order.volumes:
        action = lab.actions.begin("attach_volume", this, ("volume", volume_id))
        steps.append((action, partial(setattr, lab.volumes[volume_id], "server", server.id)))
    if order.start_after_create:
        action = lab.actions.begin("start_server", this)
        steps.append((action, partial(server_work.set_power, lab, server, on=True)))
    else:
        steps[-1] = (steps[-1][0], partial(_then_off, lab, server, steps[-1][1]))
    return steps


def _then_off(lab: Project, server: Server, work: Callable[[], None]) -> None:
    work()
    server_work.set_power(lab, server, on=False)
