"""Backends of the double of Hetzner's API: the machines, networks and load balancers themselves.

The API calls a backend from the threads of its actions and without holding its own lock, so calls may take
long. A backend that fails raises `BackendError`, and the action fails with that message.
"""

import hashlib
import ipaddress
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class BackendError(Exception):
    """A backend failed; the text becomes the action's error message."""


@dataclass(frozen=True)
class Machine:
    """The properties of a server to create."""

    id: int
    name: str
    image: str
    public_ipv4: str
    ssh_keys: tuple[str, ...]
    """Public keys for root, in OpenSSH format."""
    user_data: str


class Backend(Protocol):
    """The data centre behind the API."""

    def public_address(self) -> str:
        """Reserve a public IPv4 address."""

    def create_network(self, *, network_id: int, ip_range: str) -> None:
        """Create a private network."""

    def delete_network(self, *, network_id: int) -> None:
        """Remove a private network."""

    def create_server(self, *, server: Machine) -> None:
        """Create a server and start it."""

    def delete_server(self, *, server_id: int) -> None:
        """Remove a server."""

    def power(self, *, server_id: int, on: bool) -> None:
        """Start or stop a server."""

    def reboot(self, *, server_id: int) -> None:
        """Restart a server."""

    def attach(self, *, resource: str, resource_id: int, network_id: int, ip: str) -> str:
        """Connect a "server" or "load_balancer" to a network; return the MAC of the new interface."""

    def detach(self, *, resource: str, resource_id: int, network_id: int) -> None:
        """Disconnect a "server" or "load_balancer" from a network."""

    def apply_firewall(self, *, server_id: int, rules: Sequence[Mapping[str, Any]] | None) -> None:
        """Apply the rules of all firewalls of a server, in the API's format; None removes all firewalls."""

    def create_load_balancer(self, *, load_balancer_id: int, name: str, public_ipv4: str) -> None:
        """Create a load balancer without services."""

    def configure_load_balancer(
        self, *, load_balancer_id: int, services: Sequence[Mapping[str, Any]], targets: Sequence[str]
    ) -> None:
        """Set all services, in the API's format, and all target addresses of a load balancer."""

    def target_health(self, *, load_balancer_id: int) -> Mapping[tuple[str, int], bool]:
        """Return whether each (target address, listen port) passes its health check."""

    def delete_load_balancer(self, *, load_balancer_id: int) -> None:
        """Remove a load balancer."""

    def close(self) -> None:
        """Remove everything that this backend created."""


_MADE_UP = "198.18.0.0/15"
"""Public addresses of imaginary machines: the range for benchmarks, which is not routed (RFC 2544)."""


class MemoryBackend:
    """A backend in which nothing runs: addresses and MACs are invented, targets are always healthy."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._addresses: Iterator[str] = map(str, ipaddress.ip_network(_MADE_UP).hosts())
        self._balancers: dict[int, tuple[tuple[int, ...], tuple[str, ...]]] = {}

    def public_address(self) -> str:
        with self._lock:
            return next(self._addresses)

    def create_network(self, *, network_id: int, ip_range: str) -> None:
        pass

    def delete_network(self, *, network_id: int) -> None:
        pass

    def create_server(self, *, server: Machine) -> None:
        pass

    def delete_server(self, *, server_id: int) -> None:
        pass

    def power(self, *, server_id: int, on: bool) -> None:
        pass

    def reboot(self, *, server_id: int) -> None:
        pass

    def attach(self, *, resource: str, resource_id: int, network_id: int, ip: str) -> str:
        return made_up_mac(resource=resource, resource_id=resource_id, network_id=network_id)

    def detach(self, *, resource: str, resource_id: int, network_id: int) -> None:
        pass

    def apply_firewall(self, *, server_id: int, rules: Sequence[Mapping[str, Any]] | None) -> None:
        pass

    def create_load_balancer(self, *, load_balancer_id: int, name: str, public_ipv4: str) -> None:
        pass

    def configure_load_balancer(
        self, *, load_balancer_id: int, services: Sequence[Mapping[str, Any]], targets: Sequence[str]
    ) -> None:
        ports = tuple(service["listen_port"] for service in services)
        with self._lock:
            self._balancers[load_balancer_id] = (ports, tuple(targets))

    def target_health(self, *, load_balancer_id: int) -> Mapping[tuple[str, int], bool]:
        with self._lock:
            ports, targets = self._balancers.get(load_balancer_id, ((), ()))
        return {(target, port): True for target in targets for port in ports}

    def delete_load_balancer(self, *, load_balancer_id: int) -> None:
        with self._lock:
            self._balancers.pop(load_balancer_id, None)

    def close(self) -> None:
        pass


def made_up_mac(*, resource: str, resource_id: int, network_id: int) -> str:
    """Return a MAC like those of Hetzner's private interfaces (86:00:00:...), stable for each interface."""
    digest = hashlib.sha256(f"{resource}/{resource_id}/{network_id}".encode()).digest()
    return "86:00:00:" + ":".join(f"{byte:02x}" for byte in digest[:3])
