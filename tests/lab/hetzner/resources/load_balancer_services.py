"""Services of load balancers: the fields of requests, and their defaults."""

from typing import Literal

from pydantic import Field

from tests.lab.hetzner.bodies import Body
from tests.lab.hetzner.errors import invalid_input
from tests.lab.hetzner.records import Json

Port = Field(ge=1, le=65535)
DEFAULT_PORTS = {"http": (80, 80), "https": (443, 80)}


class Algorithm(Body):
    type: Literal["round_robin", "least_connections"]


class CheckHttp(Body):
    domain: str | None = None
    path: str = "/"
    response: str = ""
    status_codes: list[str] = Field(default_factory=lambda: ["2??", "3??"])
    tls: bool = False


class HealthCheck(Body):
    protocol: Literal["tcp", "http"]
    port: int = Port
    interval: int = Field(ge=3, le=60)
    timeout: int = Field(ge=1, le=60)
    retries: int = Field(ge=0, le=5)
    http: CheckHttp | None = None


class Http(Body):
    certificates: list[int] = Field(default_factory=list)
    cookie_lifetime: int = 300
    cookie_name: str = "HCLBSTICKY"
    redirect_http: bool = False
    sticky_sessions: bool = False
    timeout_idle: int = 60


class Service(Body):
    protocol: Literal["tcp", "http", "https"]
    listen_port: int | None = Field(default=None, ge=1, le=65535)
    destination_port: int | None = Field(default=None, ge=1, le=65535)
    proxyprotocol: bool = False
    health_check: HealthCheck | None = None
    http: Http | None = None


class HealthCheckChange(Body):
    protocol: Literal["tcp", "http"] | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    interval: int | None = Field(default=None, ge=3, le=60)
    timeout: int | None = Field(default=None, ge=1, le=60)
    retries: int | None = Field(default=None, ge=0, le=5)
    http: CheckHttp | None = None


class ServiceChange(Body):
    listen_port: int
    protocol: Literal["tcp", "http", "https"] | None = None
    destination_port: int | None = Field(default=None, ge=1, le=65535)
    proxyprotocol: bool | None = None
    health_check: HealthCheckChange | None = None
    http: Http | None = None


def plain_service(order: Service) -> Json:
    """Return the requested service, with the API's defaults for missing fields."""
    default_listen, default_destination = DEFAULT_PORTS.get(order.protocol, (None, None))
    listen = order.listen_port or default_listen
    destination = order.destination_port or default_destination
    if listen is None or destination is None:
        raise invalid_input("listen_port", "listen_port and destination_port are needed with protocol tcp")
    check = order.health_check or HealthCheck(
        protocol="tcp", port=destination, interval=15, timeout=10, retries=3
    )
    service: Json = {
        "protocol": order.protocol,
        "listen_port": listen,
        "destination_port": destination,
        "proxyprotocol": order.proxyprotocol,
        "health_check": _plain_check(check),
    }
    if order.protocol != "tcp":
        service["http"] = (order.http or Http()).model_dump()
    return service


def changed_service(old: Json, change: ServiceChange) -> Json:
    """Return a service after an update, which keeps missing fields."""
    given = change.model_dump(exclude_none=True, exclude_unset=True)
    check = old["health_check"] | given.pop("health_check", {})
    merged = Service.model_validate({**old, **given, "health_check": check})
    return plain_service(merged)


def _plain_check(check: HealthCheck) -> Json:
    plain = check.model_dump(exclude={"http"})
    if check.protocol == "http":
        plain["http"] = (check.http or CheckHttp()).model_dump()
    return plain
