"""Endpoints of actions: by their IDs, by the kind of their resource, by their resource."""

from flask import Blueprint, request

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.context import Answer, project
from tests.lab.hetzner.errors import ApiError, invalid_input, not_found
from tests.lab.hetzner.listing import action_list
from tests.lab.hetzner.records import Action

bp = Blueprint("actions", __name__)

COLLECTION = (
    "<any(servers, networks, firewalls, load_balancers, volumes, primary_ips, floating_ips):collection>"
)


@bp.get("/actions")
def several() -> Answer:
    lab = project()
    ids = request.args.getlist("id")
    if not ids:
        announcement = "https://docs.hetzner.cloud/changelog#2023-07-20-actions-list-endpoint-is-deprecated"
        raise ApiError(
            "deprecated_api_endpoint", "API functionality was removed", details={"announcement": announcement}
        )
    if not all(one.isdecimal() for one in ids):
        raise invalid_input("id", "must be a whole number")
    with lab.lock:
        chosen = [lab.actions.all[int(one)] for one in ids if int(one) in lab.actions.all]
        return action_list(chosen, action_view)


@bp.get("/actions/<int:action_id>")
def single(action_id: int) -> Answer:
    lab = project()
    with lab.lock:
        return _answer(lab.actions.all.get(action_id), action_id)


@bp.get(f"/{COLLECTION}/actions")
@bp.get(f"/{COLLECTION}/<int:resource_id>/actions")
def of_resources(collection: str, resource_id: int | None = None) -> Answer:
    lab = project()
    with lab.lock:
        return action_list(lab.actions.of(collection.removesuffix("s"), resource_id), action_view)


@bp.get(f"/{COLLECTION}/actions/<int:action_id>")
@bp.get(f"/{COLLECTION}/<int:resource_id>/actions/<int:action_id>")
def of_resource(collection: str, action_id: int, resource_id: int | None = None) -> Answer:
    lab = project()
    with lab.lock:
        actions = {one.id: one for one in lab.actions.of(collection.removesuffix("s"), resource_id)}
        return _answer(actions.get(action_id), action_id)


def _answer(action: Action | None, action_id: int) -> Answer:
    if action is None:
        raise not_found("action", action_id)
    return {"action": action_view(action)}
