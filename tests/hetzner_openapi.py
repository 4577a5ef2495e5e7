"""The API's own OpenAPI description, corrected to the API as it is today; it is not part of the checkout."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DESCRIPTION = Path(__file__).parents[2] / "shared" / "facts" / "hcloud-openapi.json"

Json = dict[str, Any]

ID_OR_NAME: Json = {"oneOf": [{"type": "string"}, {"type": "integer"}]}


def todays_description(*, url: str) -> Json:
    """The description as the API is today: every known difference, one after the other."""
    text = DESCRIPTION.read_text()
    # OpenAPI's own spelling of a range of statuses.
    text = text.replace('"4xx"', '"4XX"').replace('"5xx"', '"5XX"')
    description: Json = json.loads(text)
    for path in description["paths"].values():
        path["servers"] = [{"url": url}]
    # Dropped by the API in 2026: resources have a location and no data center.
    for schema in _schemas(description):
        if "datacenter" in schema["properties"] and "name" in schema["properties"]:
            schema["properties"]["datacenter"] = {"not": {}}
            _make_optional(schema, "datacenter")
    # Since August 2026 a Primary IP that nothing has says so; since October load balancers have them too.
    for schema in _schemas(description):
        if "assignee_type" in schema["properties"]:
            schema["properties"]["assignee_type"] = {"enum": ["server", "load_balancer", "unassigned"]}
    _make_optional(description["components"]["schemas"]["create_primary_ip_request"], "assignee_type")
    # Since October 2026 deleting a load balancer takes an action.
    balancer = description["paths"]["/load_balancers/{id}"]
    balancer["delete"]["responses"]["201"] = description["paths"]["/servers/{id}"]["delete"]["responses"][
        "200"
    ]
    del balancer["delete"]["responses"]["204"]
    # "nullable" beside "allOf" is meant to allow null, which the schemas inside then refuse.
    for schema in _schemas(description):
        for name, field in schema["properties"].items():
            if field.get("nullable") and "allOf" in field:
                null = {"type": "object", "nullable": True, "enum": [None]}
                schema["properties"][name] = {"anyOf": [*field["allOf"], null]}
    # Said in words ("ID or name of ...") and typed as a string only; the official clients send numbers.
    server = description["components"]["schemas"]["create_server_request"]["properties"]
    server["ssh_keys"]["items"] = ID_OR_NAME
    for field in ("image", "location", "server_type"):
        server[field] = ID_OR_NAME
    # Described as required; the official clients leave it out when there is none.
    for schema in _schemas(description):
        if {"domain", "status_codes"} <= schema["properties"].keys():
            _make_optional(schema, "domain")
    return description


def _make_optional(schema: Json, field: str) -> None:
    if field in schema.get("required", []):
        schema["required"].remove(field)


def _schemas(node: object) -> Iterator[Json]:
    """All object schemas, wherever they are."""
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            yield node
        for value in node.values():
            yield from _schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from _schemas(value)
