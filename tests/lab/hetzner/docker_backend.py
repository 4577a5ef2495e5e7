"""A backend in docker: containers with systemd, cloud-init and sshd as servers, haproxy as load balancer."""

import functools
import ipaddress
import itertools
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from tests.lab import containers, daemon, hosts, layout, routes
from tests.lab.docker import LabError, docker, ensure_network, labelled
from tests.lab.hetzner import docker_haproxy
from tests.lab.hetzner.backend import BackendError, Machine
from tests.lab.hetzner.docker_cloud_init import seed
from tests.lab.hetzner.docker_firewall import ruleset
from tests.lab.hetzner.docker_images import appliance_image, server_image
from tests.lab.layout import LABEL
from tests.lab.probe import probe

OWNER_LABEL = f"{LABEL}.hcloud"
"""Label that names the backend of an object: process, its start and a number."""
CONTAINER_LABEL = f"{LABEL}.container"
ADDRESS_LABEL = f"{LABEL}.address"

_NAME = f"{LABEL}-hcloud"
_PUBLIC_ADDRESSES = tuple(f"{layout.SUBNET.rpartition('.')[0]}.{last}" for last in range(150, 250))
# On Hetzner the MTU of private networks is 50 bytes smaller.
_PRIVATE_MTU = 1450

_P = ParamSpec("_P")
_R = TypeVar("_R")
_numbers = itertools.count(1)


def _backend_errors(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """Turn docker's errors into backend errors."""

    @functools.wraps(method)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(*args, **kwargs)
        except LabError as error:
            raise BackendError(str(error)) from error

    return wrapped


@dataclass
class _Server:
    address: str
    rules: Sequence[Mapping[str, Any]] | None = None
    """The rules of all its firewalls; they must be set again after every start."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class DockerBackend:
    """Implement `backend.Backend`. Metadata needs the API to listen at the lab's gateway, port `api_port`."""

    @_backend_errors
    def __init__(self, *, api_port: int = 8443) -> None:
        remove_leftovers()
        self.owner = f"{os.getpid()}.{daemon.started_at(pid=os.getpid())}.{next(_numbers)}"
        self._labels = {LABEL: hosts.HCLOUD, OWNER_LABEL: self.owner}
        self._metadata = f"{layout.GATEWAY}:{api_port}"
        self._lock = threading.Lock()
        self._reserved: set[str] = set()
        self._servers: dict[int, _Server] = {}
        self._appliance = appliance_image()
        self._machine = probe(image=self._appliance)
        with hosts.exclusive():
            ensure_network()
            routes.add(image=self._appliance)

    @_backend_errors
    def public_address(self) -> str:
        label = f'{{{{.Label "{ADDRESS_LABEL}"}}}}'
        with self._lock:
            # By label: docker does not reserve the address of a stopped container.
            listed = docker(
                "ps", "--all", f"--filter=label={LABEL}={hosts.HCLOUD}", f"--format={label}"
            ).split()
            used = {*self._reserved, *listed}
            address = next((free for free in _PUBLIC_ADDRESSES if free not in used), None)
            if address is None:
                first, last = _PUBLIC_ADDRESSES[0], _PUBLIC_ADDRESSES[-1]
                raise BackendError(f"all addresses from {first} to {last} are used: delete other servers")
            self._reserved.add(address)
            return address

    @_backend_errors
    def create_network(self, *, network_id: int, ip_range: str) -> None:
        gateway = str(next(ipaddress.ip_network(ip_range).hosts()))
        docker(
            *("network", "create", f"--subnet={ip_range}", f"--gateway={gateway}"),
            f"--opt=com.docker.network.driver.mtu={_PRIVATE_MTU}",
            # No address of the machine in the network and no route to it: as on Hetzner, only members reach
            # it.
            "--opt=com.docker.network.bridge.inhibit_ipv4=true",
            *_label_options({**self._labels, LABEL: "network"}),
            _network(network_id),
        )

    @_backend_errors
    def delete_network(self, *, network_id: int) -> None:
        docker("network", "rm", _network(network_id))

    @_backend_errors
    def create_server(self, *, server: Machine) -> None:
        if not server.public_ipv4:
            raise BackendError(f"{server.name}: a server in docker needs a public IPv4 address")
        labels = self._of(_container("server", server.id))
        containers.launch(
            name=_container("server", server.id),
            hostname=server.name,
            address=server.public_ipv4,
            labels={**labels, ADDRESS_LABEL: server.public_ipv4},
            owner=labels,
            image=server_image(name=server.image),
            machine=self._machine,
            files=seed(server),
        )
        self._servers[server.id] = _Server(address=server.public_ipv4)
        self._release(server.public_ipv4)
        self._set_rules(server_id=server.id)

    @_backend_errors
    def delete_server(self, *, server_id: int) -> None:
        # By labels: if its creation failed, a container of this name may belong to another backend.
        containers.remove(labels=self._of(_container("server", server_id)))
        self._servers.pop(server_id, None)

    @_backend_errors
    def power(self, *, server_id: int, on: bool) -> None:
        container = _container("server", server_id)
        if not on:
            docker("stop", container)
        elif not _inspect(container)["State"]["Running"]:
            self._start(server_id=server_id)

    @_backend_errors
    def reboot(self, *, server_id: int) -> None:
        docker("stop", _container("server", server_id))
        self._start(server_id=server_id)

    @_backend_errors
    def attach(self, *, resource: str, resource_id: int, network_id: int, ip: str) -> str:
        container, network = _container(resource, resource_id), _network(network_id)
        docker("network", "connect", f"--ip={ip}", network, container)
        mac = _inspect(container)["NetworkSettings"]["Networks"][network]["MacAddress"]
        if not mac:
            docker("network", "disconnect", network, container)
            raise BackendError(
                f"{container} is off, and docker reports the MAC of an interface only while it runs"
            )
        return str(mac)

    @_backend_errors
    def detach(self, *, resource: str, resource_id: int, network_id: int) -> None:
        docker("network", "disconnect", _network(network_id), _container(resource, resource_id))

    @_backend_errors
    def apply_firewall(self, *, server_id: int, rules: Sequence[Mapping[str, Any]] | None) -> None:
        self._servers[server_id].rules = rules
        self._set_rules(server_id=server_id)

    @_backend_errors
    def create_load_balancer(self, *, load_balancer_id: int, name: str, public_ipv4: str) -> None:
        container = _container("load_balancer", load_balancer_id)
        docker(
            *("create", f"--name={container}", f"--hostname={name}", f"--network={layout.NETWORK}"),
            *([f"--ip={public_ipv4}"] if public_ipv4 else []),
            *_label_options({**self._of(container), ADDRESS_LABEL: public_ipv4}),
            *("--entrypoint=load-balancer", self._appliance),
        )
        without_services = docker_haproxy.configuration(services=(), targets=())
        containers.put(name=container, files={docker_haproxy.CONFIGURATION_FILE: without_services})
        docker("start", container)
        self._release(public_ipv4)
        if not public_ipv4:
            # A container must start in some network before it can be connected to others.
            docker("network", "disconnect", layout.NETWORK, container)
        docker("exec", container, "await-load-balancer")

    @_backend_errors
    def configure_load_balancer(
        self, *, load_balancer_id: int, services: Sequence[Mapping[str, Any]], targets: Sequence[str]
    ) -> None:
        docker(
            *("exec", "--interactive", _container("load_balancer", load_balancer_id), "reconfigure"),
            input=docker_haproxy.configuration(services=services, targets=targets),
        )

    @_backend_errors
    def target_health(self, *, load_balancer_id: int) -> Mapping[tuple[str, int], bool]:
        container = _container("load_balancer", load_balancer_id)
        return docker_haproxy.health(docker("exec", container, "ask", docker_haproxy.STATISTICS))

    @_backend_errors
    def delete_load_balancer(self, *, load_balancer_id: int) -> None:
        containers.remove(labels=self._of(_container("load_balancer", load_balancer_id)))

    @_backend_errors
    def close(self) -> None:
        _remove(owner=self.owner)
        self._servers.clear()

    def _start(self, *, server_id: int) -> None:
        """Start a server with the public interface first, because docker orders networks arbitrarily."""
        container = _container("server", server_id)
        private = {
            network: settings["IPAMConfig"]["IPv4Address"]
            for network, settings in _inspect(container)["NetworkSettings"]["Networks"].items()
            if network != layout.NETWORK
        }
        for network in private:
            docker("network", "disconnect", network, container)
        docker("start", container)
        self._set_rules(server_id=server_id)
        for network, ip in private.items():
            docker("network", "connect", f"--ip={ip}", network, container)

    def _set_rules(self, *, server_id: int) -> None:
        """Set the nft rules of a running server from outside, because it may not have nft itself."""
        server, container = self._servers[server_id], _container("server", server_id)
        # Concurrent changes: the newest rules must be applied last.
        with server.lock:
            if not _inspect(container)["State"]["Running"]:
                return
            docker(
                *("run", "--rm", "--interactive", f"--network=container:{container}", "--cap-add=NET_ADMIN"),
                *_label_options(self._labels),
                *("--entrypoint=set-rules", self._appliance, server.address),
                input=ruleset(rules=server.rules, metadata=self._metadata),
            )

    def _of(self, container: str) -> dict[str, str]:
        """Return the labels of a container and of its volumes."""
        return {**self._labels, CONTAINER_LABEL: container}

    def _release(self, address: str) -> None:
        """Drop the reservation, because now a container's label shows that the address is used."""
        with self._lock:
            self._reserved.discard(address)


def remove_leftovers() -> None:
    """Remove what backends of killed processes left behind."""
    shown = f'--format={{{{.Label "{OWNER_LABEL}"}}}}'
    owners = {
        *docker("ps", "--all", f"--filter=label={OWNER_LABEL}", shown).split(),
        *docker("network", "ls", f"--filter=label={OWNER_LABEL}", shown).split(),
    }
    for owner in owners:
        pid, started, _ = owner.split(".")
        if daemon.started_at(pid=int(pid)) != started:
            _remove(owner=owner)


def _remove(*, owner: str) -> None:
    with hosts.exclusive():
        containers.remove(labels={OWNER_LABEL: owner})
        if networks := labelled("network", "ls", "--quiet", labels={OWNER_LABEL: owner}):
            docker("network", "rm", *networks)
        hosts.remove_unused_routes()


def _container(resource: str, resource_id: int) -> str:
    return f"{_NAME}-{resource_id}" if resource == "server" else f"{_NAME}-load-balancer-{resource_id}"


def _network(network_id: int) -> str:
    """Return a name that sorts after the public network's: docker routes by default through the first."""
    return f"{_NAME}-network-{network_id}"


def _inspect(container: str) -> dict[str, Any]:
    (inspected,) = json.loads(docker("container", "inspect", container))
    return dict(inspected)


def _label_options(labels: Mapping[str, str]) -> list[str]:
    return [f"--label={key}={value}" for key, value in labels.items()]
