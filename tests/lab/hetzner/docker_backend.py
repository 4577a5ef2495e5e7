"""A data centre in docker: servers are containers with systemd, cloud-init and sshd, load balancers are haproxy."""

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
"""Label with the backend that an object belongs to: process, its start and a number."""
CONTAINER_LABEL = f"{LABEL}.container"
ADDRESS_LABEL = f"{LABEL}.address"

_NAME = f"{LABEL}-hcloud"
_PUBLIC_ADDRESSES = tuple(f"{layout.SUBNET.rpartition('.')[0]}.{last}" for last in range(150, 250))
# On Hetzner packets in a private network have 50 bytes less room than outside.
_PRIVATE_MTU = 1450

_P = ParamSpec("_P")
_R = TypeVar("_R")
_numbers = itertools.count(1)


def _told(method: Callable[_P, _R]) -> Callable[_P, _R]:
    """What docker refuses, the data centre could not do."""

    @functools.wraps(method)
    def told(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(*args, **kwargs)
        except LabError as error:
            raise BackendError(str(error)) from error

    return told


@dataclass
class _Server:
    address: str
    rules: Sequence[Mapping[str, Any]] | None = None
    """Of all its firewalls. They end with the server's network namespace: every start needs them again."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class DockerBackend:
    """Implements `backend.Backend`. The API must listen at the lab's gateway, port `api_port`, for its metadata."""

    @_told
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

    @_told
    def public_address(self) -> str:
        label = f'{{{{.Label "{ADDRESS_LABEL}"}}}}'
        with self._lock:
            # By label: a stopped container has no address, so that docker itself would give it away.
            listed = docker(
                "ps", "--all", f"--filter=label={LABEL}={hosts.HCLOUD}", f"--format={label}"
            ).split()
            free = (each for each in _PUBLIC_ADDRESSES if each not in self._reserved and each not in listed)
            address = next(free, None)
            if address is None:
                first, last = _PUBLIC_ADDRESSES[0], _PUBLIC_ADDRESSES[-1]
                raise BackendError(
                    f"all addresses from {first} to {last} are taken: delete other servers first"
                )
            self._reserved.add(address)
            return address

    @_told
    def create_network(self, *, network_id: int, ip_range: str) -> None:
        gateway = str(next(ipaddress.ip_network(ip_range).hosts()))
        docker(
            *("network", "create", f"--subnet={ip_range}", f"--gateway={gateway}"),
            f"--opt=com.docker.network.driver.mtu={_PRIVATE_MTU}",
            # The machine has no address in the network and no route to it: as on Hetzner, only its members are there.
            "--opt=com.docker.network.bridge.inhibit_ipv4=true",
            *_label_options({**self._labels, LABEL: "network"}),
            _network(network_id),
        )

    @_told
    def delete_network(self, *, network_id: int) -> None:
        docker("network", "rm", _network(network_id))

    @_told
    def create_server(self, *, server: Machine) -> None:
        if not server.public_ipv4:
            raise BackendError(
                f"{server.name}: without a public IPv4 address no server can be made in docker"
            )
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

    @_told
    def delete_server(self, *, server_id: int) -> None:
        # By its labels: a container of the same name could be another backend's, if making this one has failed.
        containers.remove(labels=self._of(_container("server", server_id)))
        self._servers.pop(server_id, None)

    @_told
    def power(self, *, server_id: int, on: bool) -> None:
        container = _container("server", server_id)
        if not on:
            docker("stop", container)
        elif not _inspect(container)["State"]["Running"]:
            self._start(server_id=server_id)

    @_told
    def reboot(self, *, server_id: int) -> None:
        docker("stop", _container("server", server_id))
        self._start(server_id=server_id)

    @_told
    def attach(self, *, resource: str, resource_id: int, network_id: int, ip: str) -> str:
        container, network = _container(resource, resource_id), _network(network_id)
        docker("network", "connect", f"--ip={ip}", network, container)
        mac = _inspect(container)["NetworkSettings"]["Networks"][network]["MacAddress"]
        if not mac:
            docker("network", "disconnect", network, container)
            raise BackendError(
                f"{container} is off, and docker knows the MAC of an interface only while it runs"
            )
        return str(mac)

    @_told
    def detach(self, *, resource: str, resource_id: int, network_id: int) -> None:
        docker("network", "disconnect", _network(network_id), _container(resource, resource_id))

    @_told
    def apply_firewall(self, *, server_id: int, rules: Sequence[Mapping[str, Any]] | None) -> None:
        self._servers[server_id].rules = rules
        self._set_rules(server_id=server_id)

    @_told
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
            # A container has to start in some network to be connected with others later.
            docker("network", "disconnect", layout.NETWORK, container)
        docker("exec", container, "await-load-balancer")

    @_told
    def configure_load_balancer(
        self, *, load_balancer_id: int, services: Sequence[Mapping[str, Any]], targets: Sequence[str]
    ) -> None:
        docker(
            *("exec", "--interactive", _container("load_balancer", load_balancer_id), "reconfigure"),
            input=docker_haproxy.configuration(services=services, targets=targets),
        )

    @_told
    def target_health(self, *, load_balancer_id: int) -> Mapping[tuple[str, int], bool]:
        container = _container("load_balancer", load_balancer_id)
        return docker_haproxy.health(docker("exec", container, "ask", docker_haproxy.STATISTICS))

    @_told
    def delete_load_balancer(self, *, load_balancer_id: int) -> None:
        containers.remove(labels=self._of(_container("load_balancer", load_balancer_id)))

    @_told
    def close(self) -> None:
        _remove(owner=self.owner)
        self._servers.clear()

    def _start(self, *, server_id: int) -> None:
        """Start a server with the public interface first: of several networks docker takes any, at each start."""
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
        """Give a running server's network namespace its rules; from outside, because a server need not have nft."""
        server, container = self._servers[server_id], _container("server", server_id)
        # Two changes of a firewall may come at once; the last rules that are set must be the last that were given.
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
        """Labels of a container and of its volumes."""
        return {**self._labels, CONTAINER_LABEL: container}

    def _release(self, address: str) -> None:
        """From now on a container says that the address is taken, and until it is gone."""
        with self._lock:
            self._reserved.discard(address)


def remove_leftovers() -> None:
    """Remove what backends left behind whose process was killed."""
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
    """Behind the public network in the alphabet: the first one's gateway becomes docker's default route."""
    return f"{_NAME}-network-{network_id}"


def _inspect(container: str) -> dict[str, Any]:
    (inspected,) = json.loads(docker("container", "inspect", container))
    return dict(inspected)


def _label_options(labels: Mapping[str, str]) -> list[str]:
    return [f"--label={key}={value}" for key, value in labels.items()]
