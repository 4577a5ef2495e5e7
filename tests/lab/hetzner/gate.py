"""What every call passes through: authentication, the rate limit, ordered faults and the call log."""

import secrets
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import cast

from flask import Response, g, request

from tests.lab.hetzner import rate_limit
from tests.lab.hetzner.actions import ordered_error
from tests.lab.hetzner.errors import ApiError
from tests.lab.hetzner.faults import WRITES, Fault, Faults
from tests.lab.hetzner.rate_limit import RateLimit

PREFIX = "/v1"
ENVIRON = "hetzner.gate"
"""Key of the WSGI environment for the server's gate."""
DROPPED = 0
"""Status in the call log for a dropped connection."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the API."""

    method: str
    path: str
    """Without /v1 and without query."""
    status: int
    time: float
    """UNIX time of the request."""

    @property
    def write(self) -> bool:
        """Whether its method changes something."""
        return self.method in WRITES


@dataclass(kw_only=True)
class Gate:
    """The state that is checked and recorded between a call and its endpoint."""

    rate_limit: RateLimit
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    read_only_token: str = field(default_factory=lambda: secrets.token_hex(32))
    faults: Faults = field(default_factory=Faults)
    calls: list[Call] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)


def current() -> Gate:
    """Return the gate of the server that received the request."""
    return cast(Gate, request.environ[ENVIRON])


def enter() -> Response | None:
    """Pass a call on, or answer it here."""
    path = _api_path()
    if path is None:
        return None
    gate = current()
    g.time = time.time()
    g.fault = gate.faults.take(request.method, path)
    ordered_error.set(None)
    if g.fault:
        answer = _apply_fault(g.fault, gate)
        if answer:
            return answer
    _authenticate(gate)
    if not gate.rate_limit.use():
        raise ApiError("rate_limit_exceeded", f"limit of {gate.rate_limit.limit} requests per hour reached")
    return None


def leave(response: Response) -> Response:
    """Complete an answer, and log the call before the caller gets the answer."""
    path = _api_path()
    if path is None:
        return response
    gate = current()
    fault: Fault | None = g.get("fault")
    response.headers.update(_limit_headers(gate, fault))
    response.headers["X-Correlation-Id"] = secrets.token_hex(8)
    drops = fault is not None and fault.fault.startswith("drop-")
    status = DROPPED if drops else response.status_code
    gate.calls.append(Call(method=request.method, path=path, status=status, time=g.time))
    if drops:
        _drop_connection()
    return response


def _api_path() -> str | None:
    """Return the path of an API call; None for metadata and the lab's own endpoints."""
    return request.path.removeprefix(PREFIX) if request.path.startswith(f"{PREFIX}/") else None


def _authenticate(gate: Gate) -> None:
    token = request.headers.get("Authorization", "").removeprefix("Bearer ")
    if token not in (gate.token, gate.read_only_token):
        raise ApiError("unauthorized", "unable to authenticate")
    if token == gate.read_only_token and request.method in WRITES:
        raise ApiError("forbidden", "insufficient permissions for this request: the token is read-only")


def _apply_fault(fault: Fault, gate: Gate) -> Response | None:
    """Apply a fault before the endpoint's work; return an answer if the call ends here."""
    if fault.fault == "drop-before":
        return Response()
    if fault.fault == "slow":
        gate.closing.wait(fault.seconds)
    if fault.fault == "action-error":
        ordered_error.set({"code": fault.code, "message": fault.message})
    if fault.fault.isdecimal():
        raise ApiError(fault.code, fault.message, status=int(fault.fault))
    return None


def _limit_headers(gate: Gate, fault: Fault | None) -> dict[str, str]:
    if fault and fault.fault == "429":
        limit = gate.rate_limit.limit
        return rate_limit.headers(limit=limit, remaining=0, reset=time.time() + fault.seconds)
    return gate.rate_limit.headers()


def _drop_connection() -> None:
    """Close the connection before the answer is sent, like a broken network."""
    connection: socket.socket = request.environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
