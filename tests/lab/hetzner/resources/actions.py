"""Endpoints of actions."""

from flask import Blueprint, request

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.context import Answer, project
from tests.lab.hetzner.errors import ApiError, invalid_input, not_found
from tests.lab.hetzner.listing import action_list

bp = Blueprint("actions", __name__)


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
        if action_id not in lab.actions.all:
            raise not_found("action", action_id)
        return {"action": action_view(lab.actions.all[action_id])}
