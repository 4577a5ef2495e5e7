"""Filters, sorting and pages of all list endpoints."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

from flask import Response, after_this_request, request

from tests.lab.hetzner.errors import invalid_input
from tests.lab.hetzner.records import Action, Json, Resource
from tests.lab.hetzner.selectors import matcher

MAX_PER_PAGE = 50
DEFAULT_PER_PAGE = 25

Item = TypeVar("Item")
R = TypeVar("R", bound=Resource)


def resource_list(
    key: str,
    resources: Iterable[R],
    view: Callable[[R], Json],
    *,
    sortable: tuple[str, ...] = ("id", "name", "created"),
) -> Json:
    """Return a list of resources, filtered by name and by label selector."""
    chosen = list(resources)
    if "name" in request.args:
        chosen = [one for one in chosen if one.name == request.args["name"]]
    if selector := request.args.get("label_selector"):
        matches = matcher(selector)
        chosen = [one for one in chosen if matches(one.labels)]
    return page(key, in_order(chosen, sortable=sortable, value=getattr), view)


def action_list(actions: Iterable[Action], view: Callable[[Action], Json]) -> Json:
    """Return a list of actions, filtered by status."""
    chosen = [one for one in actions if wanted("status", one.status)]
    sortable = ("id", "command", "status", "started", "finished")
    return page("actions", in_order(chosen, sortable=sortable, value=getattr), view)


def catalogue_list(key: str, items: Iterable[Json]) -> Json:
    """Return a list of catalogue items, filtered by name."""
    chosen = [item for item in items if wanted("name", item["name"])]
    ordered = in_order(chosen, sortable=("id", "name", "created"), value=lambda item, field: item[field])
    return page(key, ordered, lambda item: item)


def wanted(parameter: str, value: str | None) -> bool:
    """Return whether a value passes a filter, which the query may contain several times or not at all."""
    return parameter not in request.args or value in request.args.getlist(parameter)


def in_order(
    items: list[Item], *, sortable: tuple[str, ...], value: Callable[[Item, str], Any]
) -> list[Item]:
    """Sort by the request's `sort` parameters, the first one first; without one by ID."""
    ordered = sorted(items, key=lambda item: value(item, "id"))
    for parameter in reversed(request.args.getlist("sort")):
        field, _, direction = parameter.partition(":")
        if field not in sortable or direction not in ("", "asc", "desc"):
            raise invalid_input(
                "sort", f"'{parameter}' is not one of {', '.join(sortable)} with :asc or :desc"
            )
        ordered.sort(key=_nulls_first(field, value), reverse=direction == "desc")
    return ordered


def _nulls_first(field: str, value: Callable[[Item, str], Any]) -> Callable[[Item], tuple[bool, Any]]:
    return lambda item: (value(item, field) is not None, value(item, field) or 0)


def page(key: str, items: list[Item], view: Callable[[Item], Json]) -> Json:
    """Return the requested page; page sizes over 50 silently become 50."""
    number = _positive("page", 1)
    size = min(_positive("per_page", DEFAULT_PER_PAGE), MAX_PER_PAGE)
    last = max(1, -(-len(items) // size))
    pagination = {
        "page": number,
        "per_page": size,
        "previous_page": number - 1 if number > 1 else None,
        "next_page": number + 1 if number < last else None,
        "last_page": last,
        "total_entries": len(items),
    }
    after_this_request(partial(_link, pagination))
    shown = items[(number - 1) * size : number * size]
    return {key: [view(item) for item in shown], "meta": {"pagination": pagination}}


def _link(pagination: Json, response: Response) -> Response:
    """Add the header with links to the previous, next and last page."""
    pages = {"prev": "previous_page", "next": "next_page", "last": "last_page"}
    links = []
    for relation, key in pages.items():
        if pagination[key] is not None:
            query = urlencode([("page", pagination[key]), ("per_page", pagination["per_page"])])
            links.append(f'<{request.base_url}?{query}>; rel="{relation}"')
    response.headers["Link"] = ", ".join(links)
    return response


def _positive(parameter: str, default: int) -> int:
    text = request.args.get(parameter, str(default))
    if not text.isdecimal() or int(text) < 1:
        raise invalid_input(parameter, "must be a whole number greater than 0")
    return int(text)
