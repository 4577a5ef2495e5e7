"""Serve the double inside a test, or on an address for other processes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from tests.lab.hetzner.app import application
from tests.lab.hetzner.backend import Backend, MemoryBackend
from tests.lab.hetzner.faults import Faults
from tests.lab.hetzner.gate import PREFIX, Call, Gate
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.rate_limit import RateLimit

CALLS_AN_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class Api:
    """A running double."""

    url: str
    """The endpoint for clients, with /v1."""
    token: str
    read_only_token: str
    faults: Faults
    calls: list[Call]
    """All calls so far, in the order of their answers; tests may clear it."""
    state: Project


class _Quiet(WSGIRequestHandler):
    """Suppress the log on stderr, because `Api.calls` has all calls."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


@contextmanager
def running(
    *,
    backend: Backend | None = None,
    address: str = "127.0.0.1",
    port: int = 0,
    action_seconds: float = 0,
    calls_an_hour: int = CALLS_AN_HOUR,
    token: str = "",
) -> Iterator[Api]:
    """Serve the double; at the end wait for its actions and close its backend."""
    project = Project(backend=backend or MemoryBackend(), action_seconds=action_seconds)
    gate = Gate(rate_limit=RateLimit(calls_an_hour=calls_an_hour))
    gate.token = token or gate.token
    app = application(project=project, gate=gate)
    server = make_server(address, port, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield Api(
            url=f"http://{address}:{server.server_port}{PREFIX}",
            token=gate.token,
            read_only_token=gate.read_only_token,
            faults=gate.faults,
            calls=gate.calls,
            state=project,
        )
    finally:
        _stop(server, thread, gate, project)


def _stop(server: BaseWSGIServer, thread: threading.Thread, gate: Gate, project: Project) -> None:
    gate.closing.set()
    server.shutdown()
    thread.join()
    server.server_close()
    project.actions.close()
    project.backend.close()
