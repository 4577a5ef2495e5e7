"""The lab's own endpoints for tests in other processes: faults, calls and limits."""

from dataclasses import asdict
from typing import Any

from flask import Blueprint, request

from tests.lab.hetzner import gate
from tests.lab.hetzner.context import NOTHING, Answer, project
from tests.lab.hetzner.errors import ApiError

bp = Blueprint("orders", __name__, url_prefix="/_lab")


@bp.get("/faults")
def faults() -> Answer:
    return {"faults": gate.current().faults.pending()}


@bp.post("/faults")
def order_fault() -> Answer:
    order: dict[str, Any] = request.get_json()
    try:
        gate.current().faults.order(**order)
    except (TypeError, ValueError) as error:
        raise ApiError("invalid_input", str(error)) from error
    return NOTHING


@bp.delete("/faults")
def clear_faults() -> Answer:
    gate.current().faults.clear()
    return NOTHING


@bp.get("/calls")
def calls() -> Answer:
    return {"calls": [asdict(call) | {"write": call.write} for call in list(gate.current().calls)]}


@bp.delete("/calls")
def clear_calls() -> Answer:
    gate.current().calls.clear()
    return NOTHING


@bp.put("/limits")
def limits() -> Answer:
    """Set limits of the project by collection; null removes one."""
    lab = project()
    with lab.lock:
        for collection, limit in request.get_json().items():
            lab.limits.pop(collection, None)
            if limit is not None:
                lab.limits[collection] = limit
        return {"limits": dict(lab.limits)}
