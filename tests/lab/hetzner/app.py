"""The web application: the endpoints of all resources, with the gate before them."""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from tests.lab.hetzner import context, metadata, orders
from tests.lab.hetzner.errors import ApiError
from tests.lab.hetzner.gate import ENVIRON, PREFIX, Gate, enter, leave
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.resources import (
    actions,
    catalogue,
    firewalls,
    floating_ips,
    load_balancer_actions,
    load_balancers,
    networks,
    placement_groups,
    primary_ips,
    server_actions,
    servers,
    ssh_keys,
    volumes,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

TOPICS = (
    actions,
    catalogue,
    firewalls,
    floating_ips,
    load_balancer_actions,
    load_balancers,
    networks,
    placement_groups,
    primary_ips,
    server_actions,
    servers,
    ssh_keys,
    volumes,
)


@functools.cache
def create_app() -> Flask:
    """Create the application once for all servers, because its many routes take long."""
    app = Flask("hetzner")
    app.url_map.strict_slashes = False
    for topic in TOPICS:
        app.register_blueprint(topic.bp, url_prefix=PREFIX + (topic.bp.url_prefix or ""))
    app.register_blueprint(metadata.bp)
    app.register_blueprint(orders.bp)
    app.before_request(enter)
    app.after_request(leave)
    app.register_error_handler(ApiError, _error_answer)
    app.register_error_handler(HTTPException, _http_error_answer)
    return app


def application(*, project: Project, gate: Gate) -> "WSGIApplication":
    """Return the application for one server; its WSGI environment holds the project and gate."""
    app = create_app()

    def serve(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        environ |= {context.ENVIRON: project, ENVIRON: gate}
        return app(environ, start_response)

    return serve


def _error_answer(error: ApiError) -> tuple[Response, int]:
    return jsonify(error.body()), error.status


def _http_error_answer(error: HTTPException) -> tuple[Response, int]:
    status = error.code or 500
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "server_error")
    return _error_answer(ApiError(code, error.description or error.name, status=status))
