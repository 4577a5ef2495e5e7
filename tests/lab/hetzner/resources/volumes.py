"""Volumes: made, attached, detached and grown in the project's books only, no disk stands behind them."""

from functools import partial
from typing import Literal

from flask import Blueprint
from pydantic import Field

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.bodies import Body, IdOrName, Labels, Name, Update, body
from tests.lab.hetzner.catalogue import LOCATIONS
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, NOTHING, Answer, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.listing import resource_list, wanted
from tests.lab.hetzner.project import Project, found, refuse_protected
from tests.lab.hetzner.records import Json, Server, Volume
from tests.lab.hetzner.resources.catalogue import by_id_or_name
from tests.lab.hetzner.resources.common import change_protection, update

bp = Blueprint("volumes", __name__)

Gigabytes = Field(ge=10, le=10240)


class CreateVolume(Body):
    name: Name
    size: int = Gigabytes
    server: int | None = None
    location: IdOrName | None = None
    labels: Labels = Field(default_factory=dict)
    automount: bool = False
    format: Literal["ext4", "xfs"] | None = None


class AttachVolume(Body):
    server: int
    automount: bool = False


class ResizeVolume(Body):
    size: int = Gigabytes


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


@bp.get("/volumes/<int:volume_id>")
def show(volume_id: int) -> Answer:
    lab = project()
    with lab.lock:
        return {"volume": view(found(lab.volumes, volume_id))}


@bp.put("/volumes/<int:volume_id>")
def change(volume_id: int) -> Answer:
    lab = project()
    with lab.lock:
        volume = found(lab.volumes, volume_id)
        update(volume, others=lab.volumes.values(), change=body(Update))
        return {"volume": view(volume)}


@bp.delete("/volumes/<int:volume_id>")
def delete(volume_id: int) -> Answer:
    lab = project()
    with lab.lock:
        volume = _unlocked(lab, volume_id)
        refuse_protected(volume)
        if volume.server is not None:
            raise ApiError("resource_in_use", f"volume '{volume.name}' is still attached to a server")
        del lab.volumes[volume.id]
    return NOTHING


@bp.post("/volumes/<int:volume_id>/actions/attach")
def attach(volume_id: int) -> Answer:
    order = body(AttachVolume)
    lab = project()
    with lab.lock:
        _unlocked(lab, volume_id)
        if order.server not in lab.servers:
            raise invalid_input("server", f"server '{order.server}' not found")
        lab.refuse_locked("server", order.server)
        volume = admit_attachment(lab, volume_id, lab.servers[order.server])
        action = lab.actions.begin("attach_volume", ("volume", volume.id), ("server", order.server))
        lab.actions.run([(action, partial(setattr, volume, "server", order.server))])
        return {"action": action_view(action)}, CREATED


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


@bp.post("/volumes/<int:volume_id>/actions/resize")
def resize(volume_id: int) -> Answer:
    order = body(ResizeVolume)
    lab = project()
    with lab.lock:
        volume = _unlocked(lab, volume_id)
        if order.size < volume.size:
            raise invalid_input("size", "a volume cannot shrink")
        action = lab.actions.begin("resize_volume", ("volume", volume.id))
        lab.actions.run([(action, partial(setattr, volume, "size", order.size))])
        return {"action": action_view(action)}, CREATED


@bp.post("/volumes/<int:volume_id>/actions/change_protection")
def protect(volume_id: int) -> Answer:
    lab = project()
    with lab.lock:
        volume = _unlocked(lab, volume_id)
        return {"action": action_view(change_protection(lab, "volume", volume))}, CREATED


def _unlocked(lab: Project, volume_id: int) -> Volume:
    volume = found(lab.volumes, volume_id)
    lab.refuse_locked("volume", volume.id)
    return volume


def admit_attachment(lab: Project, volume_id: int, server: Server) -> Volume:
    """The volume that a server wants, if it is free and in the server's location."""
    if volume_id not in lab.volumes:
        raise invalid_input("volumes", f"volume '{volume_id}' not found")
    volume = lab.volumes[volume_id]
    if volume.server is not None:
        raise ApiError("volume_already_attached", f"volume '{volume.name}' is already attached")
    if volume.location != server.location:
        raise invalid_input("volumes", f"volume '{volume.name}' is in another location than the server")
    return volume


def view(volume: Volume) -> Json:
    """A volume in the API's shape."""
    return {
        "id": volume.id,
        "name": volume.name,
        "created": volume.created,
        "location": LOCATIONS[volume.location],
        "server": volume.server,
        "size": volume.size,
        "linux_device": f"/dev/disk/by-id/scsi-0HC_Volume_{volume.id}",
        "protection": {"delete": volume.delete_protected},
        "labels": volume.labels,
        "status": volume.status,
        "format": volume.format,
    }
