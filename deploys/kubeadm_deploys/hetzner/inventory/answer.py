"""The API's answer to the inventory, and its cached copy.

Hetzner's API has an hourly rate limit, shared by everything in the project. So an inventory calls it at most
once a minute: one list call for up to 50 servers, and another for load balancers with more than one control
plane. When the API cannot be reached, the inventory uses the cached answer.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyinfra import logger
from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys.hetzner.api import client as api
from kubeadm_deploys.hetzner.api.client import Client
from kubeadm_deploys.hetzner.api.names import cluster_selector
from kubeadm_deploys.hetzner.api.state_folder import write_private_file
from kubeadm_deploys.hetzner.inventory.hosts import LoadBalancer, Server, control_planes
from kubeadm_deploys.hetzner.servers.description import ClusterDescription

VARIABLE = "HETZNER_INVENTORY"
"""Environment variable: ``refresh`` always calls the API, ``offline`` never does."""

FRESH = timedelta(seconds=60)
"""How long a cached answer replaces a call; the servers deploy removes it earlier when it changes servers."""

_PAGE = 50
"""The API's largest page size."""

_UNREACHABLE = (
    "",
    "maintenance",
    "rate_limit_exceeded",
    "server_error",
    "service_error",
    "timeout",
    "unavailable",
)
"""Error codes that say nothing about the servers or the token; an empty code means no answer."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A cluster's servers and load balancers as the API sent them, with endpoint and time."""

    endpoint: str
    time: datetime
    servers: Sequence[Server]
    load_balancers: Sequence[LoadBalancer]


def list_cluster(client: Client, *, description: ClusterDescription, endpoint: str, now: datetime) -> Answer:
    """List the cluster's servers, and its load balancers if its API servers should have one.

    Raises:
        HetznerError: the API did not answer, or refused the call.
    """
    selector = cluster_selector(description.cluster_name)
    servers = _list(client, "servers", selector=selector)
    needs_load_balancer = description.has_load_balancer or len(control_planes(servers)) > 1
    return Answer(
        endpoint=endpoint,
        time=now,
        servers=servers,
        load_balancers=_list(client, "load_balancers", selector=selector) if needs_load_balancer else [],
    )


def _list(client: Client, kind: str, *, selector: str) -> list[dict[str, Any]]:
    resources: list[dict[str, Any]] = []
    # Sorted by ID, so that a resource created meanwhile moves no other to another page.
    query: dict[str, Any] = {"label_selector": selector, "sort": "id:asc", "per_page": _PAGE, "page": 1}
    while query["page"]:
        answer = api.ask(
            f"list the cluster's {kind.replace('_', ' ')}",
            lambda: client.request("GET", f"/{kind}", params=query),
        )
        resources += answer[kind]
        query["page"] = answer["meta"]["pagination"]["next_page"]
    return resources


def current_answer(
    ask: Callable[[], Answer], *, record: Path, endpoint: str, environment: Mapping[str, str], now: datetime
) -> tuple[Answer, bool]:
    """Return the answer to use and whether it is new; warn when it may be outdated.

    Raises:
        HetznerError: the API did not answer, and there is no cached answer or ``refresh`` is set.
        InventoryError: ``offline`` is set without a cached answer, or the variable has another value.
    """
    mode = environment.get(VARIABLE, "")
    if mode not in ("", "refresh", "offline"):
        raise InventoryError(f"{VARIABLE}: {mode!r} is neither 'refresh' nor 'offline'; use one, or unset it")
    cached = read_record(record, endpoint=endpoint)
    if mode == "offline":
        if not cached:
            raise InventoryError(
                f"{VARIABLE} is 'offline', but {record} has no cached answer of {endpoint or 'the API'}; "
                "run once without it"
            )
        logger.warning(f"--> Warning: offline; using the server list of {age_of(cached, now=now)}")
        return cached, False
    if cached and not mode and timedelta() <= now - cached.time < FRESH:
        logger.info(
            f"--> Using the server list of {age_of(cached, now=now)} ({VARIABLE}=refresh reads it again)"
        )
        return cached, False
    try:
        answer = ask()
    except api.HetznerError as error:
        if mode or not cached or not _is_unreachable(error.code):
            raise
        logger.warning(f"--> Warning: {error}; using the server list of {age_of(cached, now=now)}")
        return cached, False
    write_private_file(record, _as_json(answer))
    return answer, True


def _is_unreachable(code: str | int) -> bool:
    return code in _UNREACHABLE or (isinstance(code, int) and (code == 429 or code >= 500))


def age_of(answer: Answer, *, now: datetime) -> str:
    """Return how old an answer is, in the largest unit of which there are at least two."""
    seconds = max(0, int((now - answer.time).total_seconds()))
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} seconds ago"


def read_record(path: Path, *, endpoint: str) -> Answer | None:
    """Return the cached answer, or None if there is none from this endpoint."""
    try:
        values = json.loads(path.read_text())
        cached = Answer(**{**values, "time": datetime.fromisoformat(values["time"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        # Written by another version or another program; call the API instead.
        return None
    return cached if cached.endpoint == endpoint else None


def _as_json(answer: Answer) -> str:
    return json.dumps({**dataclasses.asdict(answer), "time": answer.time.isoformat()}, indent=1) + "\n"


def now_utc() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(tz=UTC)
