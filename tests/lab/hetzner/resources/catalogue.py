"""Endpoints of the catalogue: locations, server types, images, load balancer types, prices."""

from collections.abc import Mapping

from flask import Blueprint, request

from tests.lab.hetzner.catalogue import IMAGES, LOAD_BALANCER_TYPES, LOCATIONS, PRICING, SERVER_TYPES
from tests.lab.hetzner.context import Answer
from tests.lab.hetzner.errors import invalid_input
from tests.lab.hetzner.listing import catalogue_list, wanted
from tests.lab.hetzner.records import Json

bp = Blueprint("catalogue", __name__)


def by_id_or_name(catalogue: Mapping[str, Json], wanted: int | str, *, field: str) -> Json:
    """Return the item with this ID or name; refuse an unknown one."""
    for item in catalogue.values():
        if str(wanted) in (item["name"], str(item["id"])):
            return item
    raise invalid_input(field, f"{field.replace('_', ' ')} '{wanted}' not found")


@bp.get("/locations")
def locations() -> Answer:
    return catalogue_list("locations", LOCATIONS.values())


@bp.get("/server_types")
def server_types() -> Answer:
    return catalogue_list("server_types", SERVER_TYPES.values())


@bp.get("/load_balancer_types")
def load_balancer_types() -> Answer:
    return catalogue_list("load_balancer_types", LOAD_BALANCER_TYPES.values())


@bp.get("/images")
def images() -> Answer:
    chosen = [
        image
        for image in IMAGES.values()
        if all(wanted(field, image[field]) for field in ("type", "status", "architecture"))
        and "bound_to" not in request.args
        and not request.args.get("label_selector")
    ]
    return catalogue_list("images", chosen)


@bp.get("/pricing")
def pricing() -> Answer:
    return {"pricing": PRICING}
