"""Checks of new services, targets and network addresses of a load balancer."""

from typing import Literal

from tests.lab.hetzner.addresses import reserve
from tests.lab.hetzner.bodies import Body, SelectorRef, ServerRef
from tests.lab.hetzner.catalogue import LOAD_BALANCER_TYPES
from tests.lab.hetzner.errors import ApiError, invalid_input
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import Json, LoadBalancer
from tests.lab.hetzner.resources.load_balancer_services import Service, plain_service
from tests.lab.hetzner.resources.load_balancer_targets import address_of
from tests.lab.hetzner.selectors import matcher


class IpRef(Body):
    ip: str


class Target(Body):
    type: Literal["server", "label_selector", "ip"]
    server: ServerRef | None = None
    label_selector: SelectorRef | None = None
    ip: IpRef | None = None
    use_private_ip: bool = False

    def plain(self) -> Json:
        """Return the target as the project stores it."""
        chosen = {"server": self.server, "label_selector": self.label_selector, "ip": self.ip}[self.type]
        if chosen is None:
            raise invalid_input(self.type, f"is needed for a target of type {self.type}")
        private = {} if self.type == "ip" else {"use_private_ip": self.use_private_ip}
        return {"type": self.type, self.type: chosen.model_dump(), **private}


def admit_service(balancer: LoadBalancer, service: Service) -> None:
    """Refuse a service if its port is used or the load balancer type allows no more."""
    port = plain_service(service)["listen_port"]
    if any(one["listen_port"] == port for one in balancer.services):
        raise ApiError("source_port_already_used", f"port {port} is already in use")
    if len(balancer.services) >= LOAD_BALANCER_TYPES[balancer.load_balancer_type]["max_services"]:
        raise ApiError("resource_limit_exceeded", "the load balancer type allows no more services")


def admit_target(lab: Project, balancer: LoadBalancer, target: Target) -> None:
    """Refuse a target that the load balancer cannot reach or already has."""
    plain = target.plain()
    if any(same(one, plain) for one in balancer.targets):
        raise ApiError("target_already_defined", "the target is already defined")
    if len(balancer.targets) >= LOAD_BALANCER_TYPES[balancer.load_balancer_type]["max_targets"]:
        raise ApiError("resource_limit_exceeded", "the load balancer type allows no more targets")
    if target.use_private_ip and not balancer.networks:
        raise not_attached()
    if not target.use_private_ip and not balancer.public_enabled:
        raise ApiError(
            "load_balancer_public_interface_disabled", "the public interface of the load balancer is off"
        )
    if target.type == "label_selector":
        _admit_selected(lab, balancer, plain)
    if target.type == "server":
        _admit_server(lab, balancer, plain)


def _admit_selected(lab: Project, balancer: LoadBalancer, target: Json) -> None:
    """Require existing servers of a private target to be in the network; later ones are not checked."""
    matches = matcher(target["label_selector"]["selector"])
    for server in lab.servers.values():
        attached = {network for network, attachment in server.networks.items() if attachment.mac}
        if target["use_private_ip"] and matches(server.labels) and not balancer.networks.keys() & attached:
            raise ApiError("server_not_attached_to_network", f"'{server.name}' is not in the same network")


def _admit_server(lab: Project, balancer: LoadBalancer, target: Json) -> None:
    server = lab.servers.get(target["server"]["id"])
    if server is None:
        raise invalid_input("server", f"server '{target['server']['id']}' not found")
    if target["use_private_ip"]:
        if not balancer.networks.keys() & server.networks.keys():
            raise ApiError("server_not_attached_to_network", "the server is not in the same network")
    elif address_of(lab, balancer, target, server) is None:
        raise ApiError("missing_ipv4", "the server has no public IPv4 address")


def same(one: Json, other: Json) -> bool:
    """Return whether two targets are the same, regardless of how they are reached."""
    return bool(one["type"] == other["type"] and one[one["type"]] == other[other["type"]])


def reserve_in(
    lab: Project,
    balancer: LoadBalancer,
    network_id: int,
    *,
    ip: str | None = None,
    ip_range: str | None = None,
) -> None:
    """Reserve an address of a network for a load balancer."""
    if network_id not in lab.networks:
        raise invalid_input("network", f"network '{network_id}' not found")
    network = lab.networks[network_id]
    balancer.networks[network.id] = reserve(
        lab, network, location=balancer.location, ip=ip, ip_range=ip_range
    )


def not_attached() -> ApiError:
    """Return an error for a request that needs a network."""
    return ApiError("load_balancer_not_attached_to_network", "the load balancer is not attached to a network")
