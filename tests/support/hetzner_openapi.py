"""Hetzner's OpenAPI description, corrected to today's API; the description is not part of the checkout."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DESCRIPTION = Path(__file__).parents[3] / "shared" / "facts" / "hcloud-openapi.json"

Json = dict[str, Any]

ID_OR_NAME: Json = {"oneOf": [{"type": "string"}, {"type": "integer"}]}


def todays_description(*, url: str) -> Json:
    """Return the description with every known difference to today's API applied."""
    text = DESCRIPTION.read_text()
    # OpenAPI spells a range of statuses with capitals.
    text = text.replace('"4xx"', '"4XX"').replace('"5xx"', '"5XX"')
    description: Json = json.loads(text)
    for path in description["paths"].values():
        path["servers"] = [{"url": url}]
    # Dropped by the API in 2026: resources have a location and no data center.
    for schema in _schemas(description):
        if "datacenter" in schema["properties"] and "name" in schema["properties"]:
            schema["properties"]["datacenter"] = {"not": {}}
            _make_optional(schema, "datacenter")
    # Since August 2026 an unassigned Primary IP says so; since October load balancers have Primary IPs too.
    for schema in _schemas(description):
        if "assignee_type" in schema["properties"]:
            schema["properties"]["assignee_type"] = {"enum": ["server", "load_balancer", "unassigned"]}
    # Since October 2026 deleting a load balancer returns an action.
    balancer = description["paths"]["/load_balancers/{id}"]
    balancer["delete"]["responses"]["201"] = description["paths"]["/servers/{id}"]["delete"]["responses"][
        "200"
    ]
    del balancer["delete"]["responses"]["204"]
    # "nullable" beside "allOf" is meant to allow null, but the schemas inside refuse it.
    for schema in _schemas(description):
        for name, field in schema["properties"].items():
            if field.get("nullable") and "allOf" in field:
                null = {"type": "object", "nullable": True, "enum": [None]}
                schema["properties"][name] = {"anyOf": [*field["allOf"], null]}
    # The text says "ID or name of ...", the type is only a string; the official clients send numbers.
    server = description["components"]["schemas"]["create_server_request"]["properties"]
    server["ssh_keys"]["items"] = ID_OR_NAME
    for field in ("image", "location", "server_type"):
        server[field] = ID_OR_NAME
    # Described as required; the official clients leave it out when there is no domain.
    for schema in _schemas(description):
        if {"domain", "status_codes"} <= schema["properties"].keys():
            _make_optional(schema, "domain")
    return description


def _make_optional(schema: Json, field: str) -> None:
    if field in schema.get("required", []):
        schema["required"].remove(field)


def _schemas(node: object) -> Iterator[Json]:
    """Yield all object schemas, at any depth."""
    if isinstance(node, dict):
        if isinstance(node.get("properties"), dict):
            yield node
        for value in node.values():
            yield from _schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from _schemas(value)
