"""What a project contains: one record a resource, each relation kept on one side only."""

from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]


@dataclass(kw_only=True)
class Resource:
    """What every resource of a project has."""

    id: int
    name: str
    created: str
    labels: dict[str, str] = field(default_factory=dict)
    delete_protected: bool = False


@dataclass(kw_only=True)
class SSHKey(Resource):
    """A public key that new servers let in."""

    public_key: str
    fingerprint: str


@dataclass(kw_only=True)
class PlacementGroup(Resource):
    """Servers that are to run on different hosts."""

    type: str


@dataclass(kw_only=True)
class Network(Resource):
    """A private network."""

    ip_range: str
    expose_routes_to_vswitch: bool = False
    subnets: list[Json] = field(default_factory=list)
    routes: list[Json] = field(default_factory=list)


@dataclass(kw_only=True)
class Attachment:
    """A private interface; without MAC it is not connected yet."""

    ip: str
    mac: str = ""
    alias_ips: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class PrimaryIP(Resource):
    """A public address that outlives its server or load balancer unless it is deleted with it."""

    ip: str
    type: str
    location: str
    assignee_id: int | None = None
    assignee_type: str = "server"
    auto_delete: bool = False
    dns_ptr: dict[str, str] = field(default_factory=dict)


@dataclass(kw_only=True)
class FloatingIP(Resource):
    """A public address that moves between servers."""

    ip: str
    type: str
    home_location: str
    description: str | None = None
    server: int | None = None
    dns_ptr: dict[str, str] = field(default_factory=dict)


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
    """A server; its addresses, volumes, firewalls and load balancers are found from their side."""

    location: str
    server_type: str
    image_id: int
    ssh_keys: tuple[str, ...]
    user_data: str
    primary_disk_size: int
    status: str = "initializing"
    placement_group: int | None = None
    networks: dict[int, Attachment] = field(default_factory=dict)
    rebuild_protected: bool = False
    rescue_enabled: bool = False
    backup_window: str | None = None
    made: bool = False
    """Whether the backend has it."""
    firewalls_in_force: tuple[tuple[int, ...], list[Json]] = field(default_factory=lambda: ((), []))
    """The firewalls and their rules that the backend was given last."""


@dataclass(kw_only=True)
class LoadBalancer(Resource):
    """A load balancer with its services and targets in the API's own shape."""

    location: str
    load_balancer_type: str
    algorithm: str
    public_enabled: bool = True
    services: list[Json] = field(default_factory=list)
    targets: list[Json] = field(default_factory=list)
    networks: dict[int, Attachment] = field(default_factory=dict)
    made: bool = False
    configured: tuple[list[Json], list[str]] = field(default_factory=lambda: ([], []))
    """The services and target addresses that the backend was given last."""


@dataclass(kw_only=True)
class Action:
    """Work that the API does after it has answered."""

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
    doomed: Json | None = None
    """The error in which it ends instead of doing its work."""
