"""The contents of a project: one record per resource; each relation is stored on one side only."""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(kw_only=True)
class Resource:
    """The fields of all resources of a project."""

    id: int
    name: str
    created: str
    labels: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class SSHKey(Resource):
    """A public key for access to new servers."""

    public_key: str
    fingerprint: str


@dataclass(kw_only=True)
class PlacementGroup(Resource):
    """Servers that run on different hosts."""

    type: str


@dataclass(kw_only=True)
class Network(Resource):
    """A private network."""

    ip_range: str
    subnets: list[Json] = field(default_factory=list)


@dataclass(kw_only=True)
class Attachment:
    """A private interface; without a MAC it is not connected yet."""

    ip: str
    mac: str = ""
    alias_ips: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class PrimaryIP(Resource):
    """A public address; with ``auto_delete`` it is deleted with its server or load balancer."""

    ip: str
    type: str
    location: str
    assignee_id: int | None = None
    assignee_type: str = "server"
    auto_delete: bool = False
    dns_ptr: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class FloatingIP(Resource):
    """An additional public address of a server."""

    ip: str
    type: str
    home_location: str
    description: str | None = None
    server: int | None = None


@dataclass(kw_only=True)
class Volume(Resource):
    """Block storage."""

    location: str
    size: int
    format: str | None = None
    server: int | None = None
    status: str = "creating"


@dataclass(kw_only=True)
class Firewall(Resource):
    """Rules, and the resources (servers and label selectors) that they are applied to."""

    rules: list[Json] = field(default_factory=list)
    applied_to: list[Json] = field(default_factory=list)


@dataclass(kw_only=True)
class Server(Resource):
    """A server; its addresses, volumes, firewalls and load balancers refer to it."""

    location: str
    server_type: str
    image_id: int
    ssh_keys: tuple[str, ...]
    user_data: str
    status: str = "initializing"
    placement_group: int | None = None
    networks: dict[int, Attachment] = field(default_factory=dict)
    delete_protected: bool = False
    rebuild_protected: bool = False
    made: bool = False
    """Whether it exists in the backend."""
    firewalls_in_force: tuple[tuple[int, ...], list[Json]] = field(default_factory=lambda: ((), []))
    """The firewalls and rules that were last sent to the backend."""


@dataclass(kw_only=True)
class LoadBalancer(Resource):
    """A load balancer, with services and targets in the API's format."""

    location: str
    load_balancer_type: str
    algorithm: str
    public_enabled: bool = True
    services: list[Json] = field(default_factory=list)
    targets: list[Json] = field(default_factory=list)
    networks: dict[int, Attachment] = field(default_factory=dict)
    made: bool = False
    configured: tuple[list[Json], list[str]] = field(default_factory=lambda: ([], []))
    """The services and target addresses that were last sent to the backend."""


@dataclass(kw_only=True)
class Action:
    """Work that continues after the API has answered."""

    id: int
    command: str
    resources: tuple[tuple[str, int], ...]
    started: str
    status: str = "running"
    progress: int = 0
    finished: str | None = None
    error: Json | None = None
    locks: frozenset[tuple[str, int]] = frozenset()
    """The resources that are locked while it runs."""
    ordered_error: Json | None = None
    """The error with which it ends instead of doing its work."""
