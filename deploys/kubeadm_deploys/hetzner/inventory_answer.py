"""What the API answers to the inventory, and the recorded answer that stands in for it.

Hetzner's API has a budget of calls an hour, shared by everything in the project. So an inventory asks
once a minute at most, with one list call for up to 50 servers and another for load balancers when there
is more than one control plane; and it goes on with what it knew when the API cannot be reached.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hcloud import Client
from pyinfra import logger
from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys.hetzner import client as api
from kubeadm_deploys.hetzner.description import ClusterDescription
from kubeadm_deploys.hetzner.inventory_files import write_private_file
from kubeadm_deploys.hetzner.inventory_hosts import LoadBalancer, Server, control_planes
from kubeadm_deploys.hetzner.names import cluster_selector

VARIABLE = "HETZNER_INVENTORY"
"""Environment variable: ``refresh`` always asks the API, ``offline`` never does."""

FRESH = timedelta(seconds=60)
"""How long an answer is used again without asking; the servers deploy removes it earlier when it made some."""

_PAGE = 50
"""The most things that the API puts into one answer."""

_UNREACHABLE = (
    "",
    "maintenance",
    "rate_limit_exceeded",
    "server_error",
    "service_error",
    "timeout",
    "unavailable",
)
"""Codes of failures that say nothing about the servers or the token; without any code there was no answer."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The API's objects of one cluster, as it wrote them, from which endpoint and when."""

    endpoint: str
    time: datetime
    servers: Sequence[Server]
    load_balancers: Sequence[LoadBalancer]


def list_cluster(client: Client, *, description: ClusterDescription, endpoint: str, now: datetime) -> Answer:
    """Ask for what carries the cluster's label; load balancers only where one stands before the API servers.

    Raises:
        HetznerError: the API did not answer, or said no.
    """
    selector = cluster_selector(description.cluster_name)
    servers = _list(client, "servers", selector=selector)
    behind_one = description.has_load_balancer or len(control_planes(servers)) > 1
    return Answer(
        endpoint=endpoint,
        time=now,
        servers=servers,
        load_balancers=_list(client, "load_balancers", selector=selector) if behind_one else [],
    )


def _list(client: Client, kind: str, *, selector: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    # In an order of its own, so that nothing moves to another page when something is made or deleted meanwhile.
    query: dict[str, Any] = {"label_selector": selector, "sort": "id:asc", "per_page": _PAGE, "page": 1}
    while query["page"]:
        answer = api.ask(
            f"list the cluster's {kind.replace('_', ' ')}",
            lambda: client.request("GET", f"/{kind}", params=query),
        )
        found += answer[kind]
        query["page"] = answer["meta"]["pagination"]["next_page"]
    return found


def current_answer(
    ask: Callable[[], Answer], *, record: Path, endpoint: str, environment: Mapping[str, str], now: datetime
) -> tuple[Answer, bool]:
    """The answer to use and whether the API gave it just now; warns when it is one that may be wrong.

    Raises:
        HetznerError: the API did not answer, and nothing is recorded, or a fresh answer was asked for.
        InventoryError: nothing is recorded to be offline with, or the switch has no such position.
    """
    mode = environment.get(VARIABLE, "")
    if mode not in ("", "refresh", "offline"):
        raise InventoryError(f"{VARIABLE}: {mode!r} is neither 'refresh' nor 'offline'; use one, or unset it")
    recorded = read_record(record, endpoint=endpoint)
    if mode == "offline":
        if not recorded:
            raise InventoryError(
                f"{VARIABLE} is 'offline', and no answer of {endpoint or 'the API'} is recorded in {record}; "
                "run once without it"
            )
        logger.warning(f"--> Warning: offline, the servers are those of {age_of(recorded, now=now)}")
        return recorded, False
    if recorded and not mode and timedelta() <= now - recorded.time < FRESH:
        logger.info(
            f"--> The servers are those of {age_of(recorded, now=now)} ({VARIABLE}=refresh asks again)"
        )
        return recorded, False
    try:
        answer = ask()
    except api.HetznerError as error:
        if mode or not recorded or not _is_unreachable(error.code):
            raise
        logger.warning(f"--> Warning: {error}; going on with the servers of {age_of(recorded, now=now)}")
        return recorded, False
    write_private_file(record, _as_json(answer))
    return answer, True


def _is_unreachable(code: str | int) -> bool:
    return code in _UNREACHABLE or (isinstance(code, int) and (code == 429 or code >= 500))


def age_of(answer: Answer, *, now: datetime) -> str:
    """How long ago the API gave an answer, in the biggest unit that leaves more than one."""
    seconds = max(0, int((now - answer.time).total_seconds()))
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit} ago"
    return f"{seconds} seconds ago"


def read_record(path: Path, *, endpoint: str) -> Answer | None:
    """The recorded answer, if there is one of this endpoint."""
    try:
        values = json.loads(path.read_text())
        recorded = Answer(**{**values, "time": datetime.fromisoformat(values["time"])})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        # Not written by this version, or not by this program: the API knows better.
        return None
    return recorded if recorded.endpoint == endpoint else None


def _as_json(answer: Answer) -> str:
    return json.dumps({**dataclasses.asdict(answer), "time": answer.time.isoformat()}, indent=1) + "\n"


def now_utc() -> datetime:
    """The time, with its zone."""
    return datetime.now(tz=UTC)
