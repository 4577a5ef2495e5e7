"""Volumes, which are only recorded: there are no disks."""

from functools import partial
from typing import Literal

from flask import Blueprint
from pydantic import Field

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.bodies import Body, IdOrName, Labels, Name, body
from tests.lab.hetzner.catalogue import LOCATIONS
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, NOTHING, Answer, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.listing import resource_list, wanted
from tests.lab.hetzner.project import Project, found
from tests.lab.hetzner.records import Json, Server, Volume
from tests.lab.hetzner.resources.catalogue import by_id_or_name

bp = Blueprint("volumes", __name__)


class CreateVolume(Body):
    name: Name
    size: int = Field(ge=10, le=10240)
    server: int | None = None
    location: IdOrName | None = None
    labels: Labels = Field(default_factory=dict)
    automount: bool = False
    format: Literal["ext4", "xfs"] | None = None


@bp.get("/volumes")
def index() -> Answer:
    lab = project()
    with lab.lock:
        volumes = [volume for volume in lab.volumes.values() if wanted("status", volume.status)]
        return resource_list("volumes", volumes, view)


@bp.post("/volumes")
def create() -> Answer:
    order = body(CreateVolume)
    lab = project()
    with lab.lock:
        lab.admit("volumes", lab.volumes, name=order.name)
        volume = Volume(
            id=next(lab.ids),
            name=order.name,
            created=now(),
            labels=order.labels,
            location=_location(lab, order),
            size=order.size,
            format=order.format,
        )
        lab.volumes[volume.id] = volume
        this = ("volume", volume.id)
        steps = [(lab.actions.begin("create_volume", this), partial(setattr, volume, "status", "available"))]
        if order.server is not None:
            action = lab.actions.begin("attach_volume", this, ("server", order.server))
            steps.append((action, partial(setattr, volume, "server", order.server)))
        lab.actions.run(steps)
        return {
            "volume": view(volume),
            "action": action_view(steps[0][0]),
            "next_actions": [action_view(action) for action, _ in steps[1:]],
        }, CREATED


def _location(lab: Project, order: CreateVolume) -> str:
    if order.server is not None:
        if order.server not in lab.servers:
            raise invalid_input("server", f"server '{order.server}' not found")
        return lab.servers[order.server].location
    if order.location is None:
        raise invalid_input("location", "either a server or a location is needed")
    return str(by_id_or_name(LOCATIONS, order.location, field="location")["name"])


@bp.delete("/volumes/<int:volume_id>")
def delete(volume_id: int) -> Answer:
    lab = project()
    with lab.lock:
        volume = _unlocked(lab, volume_id)
        if volume.server is not None:
            raise ApiError("resource_in_use", f"volume '{volume.name}' is still attached to a server")
        del lab.volumes[volume.id]
    return NOTHING


@bp.post("/volumes/<int:volume_id>/actions/detach")
def detach(volume_id: int) -> Answer:
    lab = project()
    with lab.lock:
        volume = _unlocked(lab, volume_id)
        if volume.server is None:
            raise ApiError("service_error", f"volume '{volume.name}' is not attached to a server", status=422)
        lab.refuse_locked("server", volume.server)
        action = lab.actions.begin("detach_volume", ("volume", volume.id), ("server", volume.server))
        lab.actions.run([(action, partial(setattr, volume, "server", None))])
        return {"action": action_view(action)}, CREATED


def _unlocked(lab: Project, volume_id: int) -> Volume:
    volume = found(lab.volumes, volume_id)
    lab.refuse_locked("volume", volume.id)
    return volume


def admit_attachment(lab: Project, volume_id: int, server: Server) -> None:
    """Refuse a volume that cannot be attached to a new server."""
    if volume_id not in lab.volumes:
        raise invalid_input("volumes", f"volume '{volume_id}' not found")
    volume = lab.volumes[volume_id]
    if volume.server is not None:
        raise ApiError("volume_already_attached", f"volume '{volume.name}' is already attached")
    if volume.location != server.location:
        raise invalid_input("volumes", f"volume '{volume.name}' is in another location than the server")


def view(volume: Volume) -> Json:
    """Return a volume in the API's format."""
    return {
        "id": volume.id,
        "name": volume.name,
        "created": volume.created,
        "location": LOCATIONS[volume.location],
        "server": volume.server,
        "size": volume.size,
        "linux_device": f"/dev/disk/by-id/scsi-0HC_Volume_{volume.id}",
        "protection": {"delete": False},
        "labels": volume.labels,
        "status": volume.status,
        "format": volume.format,
    }
