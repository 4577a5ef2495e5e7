"""Placement groups: servers that run on different hosts."""

from typing import Literal

from flask import Blueprint
from pydantic import Field

from tests.lab.hetzner.bodies import Body, Labels, Name, body
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, NOTHING, Answer, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.listing import resource_list, wanted
from tests.lab.hetzner.project import Project, found
from tests.lab.hetzner.records import Json, PlacementGroup

bp = Blueprint("placement_groups", __name__)


class CreatePlacementGroup(Body):
    name: Name
    type: Literal["spread"]
    labels: Labels = Field(default_factory=dict)


@bp.get("/placement_groups")
def index() -> Answer:
    lab = project()
    with lab.lock:
        groups = [group for group in lab.placement_groups.values() if wanted("type", group.type)]
        return resource_list("placement_groups", groups, lambda group: view(lab, group))


@bp.post("/placement_groups")
def create() -> Answer:
    order = body(CreatePlacementGroup)
    lab = project()
    with lab.lock:
        lab.admit("placement_groups", lab.placement_groups, name=order.name)
        group = PlacementGroup(
            id=next(lab.ids), name=order.name, created=now(), labels=order.labels, type=order.type
        )
        lab.placement_groups[group.id] = group
        return {"placement_group": view(lab, group), "action": None}, CREATED


@bp.delete("/placement_groups/<int:group_id>")
def delete(group_id: int) -> Answer:
    lab = project()
    with lab.lock:
        group = found(lab.placement_groups, group_id)
        if members(lab, group.id):
            raise ApiError("resource_in_use", f"placement group '{group.name}' still has servers")
        del lab.placement_groups[group.id]
    return NOTHING


def members(lab: Project, group_id: int) -> list[int]:
    """Return the servers of a group."""
    return [server.id for server in lab.servers.values() if server.placement_group == group_id]


def admit_member(lab: Project, group_id: int) -> None:
    """Refuse a new server in a group that does not exist or is full."""
    if group_id not in lab.placement_groups:
        raise invalid_input("placement_group", f"placement group '{group_id}' not found")
    if len(members(lab, group_id)) >= lab.limits["placement_group_servers"]:
        raise ApiError("placement_error", "error during placement: the placement group is full")


def view(lab: Project, group: PlacementGroup) -> Json:
    """Return a group in the API's format."""
    return {
        "id": group.id,
        "name": group.name,
        "labels": group.labels,
        "type": group.type,
        "created": group.created,
        "servers": members(lab, group.id),
    }
