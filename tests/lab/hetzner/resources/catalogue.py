"""Endpoints of what can be ordered: locations, server types, images, load balancer types, prices."""

from collections.abc import Mapping

from flask import Blueprint, request

from tests.lab.hetzner.catalogue import IMAGES, LOAD_BALANCER_TYPES, LOCATIONS, PRICING, SERVER_TYPES
from tests.lab.hetzner.context import Answer
from tests.lab.hetzner.errors import ApiError, invalid_input, not_found
from tests.lab.hetzner.listing import catalogue_list, wanted
from tests.lab.hetzner.records import Json

bp = Blueprint("catalogue", __name__)


def by_id_or_name(catalogue: Mapping[str, Json], wanted: int | str, *, field: str) -> Json:
    """The item that a request names by its ID or its name; a name it cannot have is refused."""
    for item in catalogue.values():
        if str(wanted) in (item["name"], str(item["id"])):
            return item
    raise invalid_input(field, f"{field.replace('_', ' ')} '{wanted}' not found")


def _by_id(items: Mapping[str, Json], item_id: int, *, kind: str) -> Json:
    for item in items.values():
        if item["id"] == item_id:
            return item
    raise not_found(kind, item_id)


@bp.get("/locations")
def locations() -> Answer:
    return catalogue_list("locations", LOCATIONS.values())


@bp.get("/locations/<int:location_id>")
def location(location_id: int) -> Answer:
    return {"location": _by_id(LOCATIONS, location_id, kind="location")}


@bp.get("/datacenters")
@bp.get("/datacenters/<int:datacenter_id>")
def datacenters(datacenter_id: int = 0) -> Answer:
    announcement = "https://docs.hetzner.cloud/changelog#2026-06-02-datacenters-deprecated"
    raise ApiError(
        "deprecated_api_endpoint", "API functionality was removed", details={"announcement": announcement}
    )


@bp.get("/server_types")
def server_types() -> Answer:
    return catalogue_list("server_types", SERVER_TYPES.values())


@bp.get("/server_types/<int:type_id>")
def server_type(type_id: int) -> Answer:
    return {"server_type": _by_id(SERVER_TYPES, type_id, kind="server_type")}


@bp.get("/load_balancer_types")
def load_balancer_types() -> Answer:
    return catalogue_list("load_balancer_types", LOAD_BALANCER_TYPES.values())


@bp.get("/load_balancer_types/<int:type_id>")
def load_balancer_type(type_id: int) -> Answer:
    return {"load_balancer_type": _by_id(LOAD_BALANCER_TYPES, type_id, kind="load_balancer_type")}


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


@bp.get("/images/<int:image_id>")
def image(image_id: int) -> Answer:
    if image_id not in IMAGES:
        raise not_found("image", image_id)
    return {"image": IMAGES[image_id]}


@bp.get("/pricing")
def pricing() -> Answer:
    return {"pricing": PRICING}
