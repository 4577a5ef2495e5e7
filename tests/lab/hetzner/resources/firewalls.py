"""Firewalls: rules, and the servers and label selectors that they are applied to."""

import ipaddress
import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, Self

from flask import Blueprint
from pydantic import AfterValidator, Field, model_validator

from tests.lab.hetzner.actions import action_view
from tests.lab.hetzner.bodies import Body, Labels, Name, SelectorRef, ServerRef, body
from tests.lab.hetzner.clock import now
from tests.lab.hetzner.context import CREATED, NOTHING, Answer, project
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.listing import resource_list
from tests.lab.hetzner.project import Project, found
from tests.lab.hetzner.records import Action, Firewall, Json
from tests.lab.hetzner.resources.firewall_rules import covering, covers, enforce, has_public_interface
from tests.lab.hetzner.selectors import matcher

bp = Blueprint("firewalls", __name__)

MAX_RULES = 50
MAX_FIREWALLS_OF_A_SERVER = 5
_PORTS = re.compile(r"(\d+)(?:-(\d+))?")


def _canonical(cidr: str) -> str:
    return str(ipaddress.ip_network(cidr))


Cidrs = Annotated[list[Annotated[str, AfterValidator(_canonical)]], Field(max_length=100)]


class Rule(Body):
    direction: Literal["in", "out"]
    protocol: Literal["tcp", "udp", "icmp", "esp", "gre"]
    port: str | None = None
    source_ips: Cidrs = Field(default_factory=list)
    destination_ips: Cidrs = Field(default_factory=list)
    description: str | None = Field(default=None, max_length=255)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.port is not None) != (self.protocol in ("tcp", "udp")):
            raise ValueError("port is needed for tcp and udp, and not allowed for other protocols")
        if self.port is not None and self.port != "any" and not _is_port_range(self.port):
            raise ValueError("port is neither a port nor a range of ports")
        if self.direction == "in" and (not self.source_ips or self.destination_ips):
            raise ValueError("direction in needs source_ips, and allows no destination_ips")
        if self.direction == "out" and (not self.destination_ips or self.source_ips):
            raise ValueError("direction out needs destination_ips, and allows no source_ips")
        return self


def _is_port_range(text: str) -> bool:
    ports = _PORTS.fullmatch(text)
    return ports is not None and 1 <= int(ports[1]) <= int(ports[2] or ports[1]) <= 65535


class Resource(Body):
    type: Literal["server", "label_selector"]
    server: ServerRef | None = None
    label_selector: SelectorRef | None = None

    def plain(self) -> Json:
        """Return the resource as the project stores it."""
        chosen = self.server if self.type == "server" else self.label_selector
        if chosen is None:
            raise invalid_input(self.type, f"is needed for a resource of type {self.type}")
        return {"type": self.type, self.type: chosen.model_dump()}


Rules = Annotated[list[Rule], Field(max_length=MAX_RULES)]


class CreateFirewall(Body):
    name: Name
    rules: Rules = Field(default_factory=list)
    apply_to: list[Resource] = Field(default_factory=list)
    labels: Labels = Field(default_factory=dict)


class SetRules(Body):
    rules: Rules


class ApplyTo(Body):
    apply_to: list[Resource]


class RemoveFrom(Body):
    remove_from: list[Resource]


@bp.get("/firewalls")
def index() -> Answer:
    lab = project()
    with lab.lock:
        return resource_list("firewalls", lab.firewalls.values(), lambda one: view(lab, one))


@bp.post("/firewalls")
def create() -> Answer:
    order = body(CreateFirewall)
    lab = project()
    with lab.lock:
        lab.admit("firewalls", lab.firewalls, name=order.name)
        firewall = Firewall(
            id=next(lab.ids),
            name=order.name,
            created=now(),
            labels=order.labels,
            rules=[rule.model_dump() for rule in order.rules],
        )
        resources = [resource.plain() for resource in order.apply_to]
        for resource in resources:
            _admit(lab, firewall, resource)
            firewall.applied_to.append(resource)
        lab.firewalls[firewall.id] = firewall
        actions = [_settle(lab, firewall, "set_firewall_rules")] if order.rules else []
        actions += [_settle(lab, firewall, "apply_firewall", resource) for resource in resources]
        return {
            "firewall": view(lab, firewall),
            "actions": [action_view(action) for action in actions],
        }, CREATED


@bp.delete("/firewalls/<int:firewall_id>")
def delete(firewall_id: int) -> Answer:
    """Delete a firewall that is applied to nothing; a label selector counts even if no server matches."""
    lab = project()
    with lab.lock:
        firewall = _changeable(lab, firewall_id)
        if firewall.applied_to:
            raise ApiError("resource_in_use", f"firewall '{firewall.name}' is still in use")
        del lab.firewalls[firewall.id]
    return NOTHING


@bp.post("/firewalls/<int:firewall_id>/actions/set_rules")
def set_rules(firewall_id: int) -> Answer:
    order = body(SetRules)
    lab = project()
    with lab.lock:
        firewall = _changeable(lab, firewall_id)
        before, firewall.rules = firewall.rules, [rule.model_dump() for rule in order.rules]
        first = _settle(lab, firewall, "set_firewall_rules", undo=lambda: setattr(firewall, "rules", before))
        rest = [_settle(lab, firewall, "apply_firewall", resource) for resource in firewall.applied_to]
        return {"actions": [action_view(action) for action in (first, *rest)]}, CREATED


@bp.post("/firewalls/<int:firewall_id>/actions/apply_to_resources")
def apply_to_resources(firewall_id: int) -> Answer:
    order = body(ApplyTo)
    lab = project()
    with lab.lock:
        firewall = _changeable(lab, firewall_id)
        actions = []
        for resource in [one.plain() for one in order.apply_to]:
            _admit(lab, firewall, resource)
            firewall.applied_to.append(resource)
            undo = partial(firewall.applied_to.remove, resource)
            actions.append(_settle(lab, firewall, "apply_firewall", resource, undo=undo))
        return {"actions": [action_view(action) for action in actions]}, CREATED


@bp.post("/firewalls/<int:firewall_id>/actions/remove_from_resources")
def remove_from_resources(firewall_id: int) -> Answer:
    order = body(RemoveFrom)
    lab = project()
    with lab.lock:
        firewall = _changeable(lab, firewall_id)
        actions = []
        for resource in [one.plain() for one in order.remove_from]:
            _admit_removal(lab, firewall, resource)
            firewall.applied_to.remove(resource)
            undo = partial(firewall.applied_to.append, resource)
            actions.append(_settle(lab, firewall, "remove_firewall", resource, undo=undo))
        return {"actions": [action_view(action) for action in actions]}, CREATED


def _changeable(lab: Project, firewall_id: int) -> Firewall:
    firewall = found(lab.firewalls, firewall_id)
    lab.refuse_locked("firewall", firewall.id, code="conflict")
    return firewall


def _settle(
    lab: Project,
    firewall: Firewall,
    command: str,
    resource: Json | None = None,
    *,
    undo: Callable[[], None] | None = None,
) -> Action:
    """Begin an action that applies a change to all servers of the firewall."""
    resources = [("firewall", firewall.id)]
    if resource and resource["type"] == "server":
        resources.append(("server", resource["server"]["id"]))
    action = lab.actions.begin(command, *resources, locks=resources[:1])

    def undo_locked() -> None:
        if undo:
            with lab.lock:
                undo()

    lab.actions.run([(action, partial(enforce, lab))], undo=undo_locked)
    return action


def _admit(lab: Project, firewall: Firewall, resource: Json) -> None:
    """Refuse a resource that a firewall cannot be applied to."""
    if resource["type"] == "server":
        server = lab.servers.get(resource["server"]["id"])
        if server is None:
            raise ApiError("firewall_resource_not_found", "server not found", status=404)
        if not has_public_interface(lab, server):
            raise ApiError("private_net_only_server", "the server has no public interface")
        if len(covering(lab, server)) >= MAX_FIREWALLS_OF_A_SERVER:
            raise ApiError("resource_limit_exceeded", "a server has at most 5 firewalls")
    else:
        matcher(resource["label_selector"]["selector"])
    if resource in firewall.applied_to:
        raise ApiError("firewall_already_applied", "firewall is already applied to this resource")


def _admit_removal(lab: Project, firewall: Firewall, resource: Json) -> None:
    if resource in firewall.applied_to:
        return
    if resource["type"] == "server" and resource["server"]["id"] in lab.servers:
        server = lab.servers[resource["server"]["id"]]
        if any(covers(one, server) for one in firewall.applied_to):
            raise ApiError(
                "firewall_managed_by_label_selector", "the firewall is applied by a label selector"
            )
    raise ApiError("firewall_resource_not_found", "the firewall is not applied to this", status=404)


def view(lab: Project, firewall: Firewall) -> Json:
    """Return a firewall in the API's format."""
    return {
        "id": firewall.id,
        "name": firewall.name,
        "labels": firewall.labels,
        "created": firewall.created,
        "rules": firewall.rules,
        "applied_to": [_resource_view(lab, resource) for resource in firewall.applied_to],
    }


def _resource_view(lab: Project, resource: Json) -> Json:
    if resource["type"] == "server":
        return resource
    servers = [server for server in lab.servers.values() if covers(resource, server)]
    return resource | {
        "applied_to_resources": [
            {"type": "server", "server": {"id": server.id}}
            for server in servers
            if has_public_interface(lab, server)
        ]
    }
