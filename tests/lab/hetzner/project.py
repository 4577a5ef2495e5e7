"""A project of the double: its resources, limits and backend."""

import itertools
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeVar

from tests.lab.hetzner.actions import Actions
from tests.lab.hetzner.backend import Backend
from tests.lab.hetzner.catalogue import PLACEMENT_GROUP_SIZE
from tests.lab.hetzner.errors import ApiError, limit_exceeded, not_found, not_unique
from tests.lab.hetzner.records import (
    Firewall,
    FloatingIP,
    LoadBalancer,
    Network,
    PlacementGroup,
    PrimaryIP,
    Resource,
    Server,
    SSHKey,
    Volume,
)

R = TypeVar("R", bound=Resource)


class Project:
    """Everything that one API token can access. `lock` guards it, but is not held during backend calls."""

    def __init__(self, *, backend: Backend, action_seconds: float = 0) -> None:
        self.backend = backend
        self.lock = threading.RLock()
        self.ids = itertools.count(1001)
        self.actions = Actions(lock=self.lock, ids=self.ids, seconds=action_seconds)
        self.limits: dict[str, int] = {"placement_group_servers": PLACEMENT_GROUP_SIZE}
        """Maximum number by collection ("servers", "networks", ...); without an entry there is no limit."""
        self.ssh_keys: dict[int, SSHKey] = {}
        self.networks: dict[int, Network] = {}
        self.placement_groups: dict[int, PlacementGroup] = {}
        self.primary_ips: dict[int, PrimaryIP] = {}
        self.floating_ips: dict[int, FloatingIP] = {}
        self.volumes: dict[int, Volume] = {}
        self.firewalls: dict[int, Firewall] = {}
        self.servers: dict[int, Server] = {}
        self.load_balancers: dict[int, LoadBalancer] = {}
        self._serial: defaultdict[tuple[str, int], threading.Lock] = defaultdict(threading.Lock)

    def serial(self, kind: str, resource_id: int) -> threading.Lock:
        """Return the lock that serializes updates of one resource in the backend."""
        with self.lock:
            return self._serial[kind, resource_id]

    def admit(self, collection: str, existing: Mapping[int, R], *, name: str) -> None:
        """Refuse a new resource if its name is used or the project's limit is reached."""
        unique_name(existing.values(), name=name)
        if len(existing) >= self.limits.get(collection, len(existing) + 1):
            raise limit_exceeded(collection.removesuffix("s"))

    def refuse_locked(self, kind: str, resource_id: int, *, code: str = "locked") -> None:
        """Refuse to change a resource on which an action runs."""
        if self.actions.running_on(kind, resource_id):
            raise ApiError(code, f"{kind} is locked by another action")


def found(table: Mapping[int, R], resource_id: int) -> R:
    """Return the resource with this ID, or raise "not found"."""
    if resource_id not in table:
        raise not_found("resource", resource_id)
    return table[resource_id]


def unique_name(others: Iterable[Resource], *, name: str, own_id: int | None = None) -> None:
    """Refuse a name that another resource of the collection has."""
    if any(other.name == name and other.id != own_id for other in others):
        raise not_unique("name", f"name '{name}' is already used")
