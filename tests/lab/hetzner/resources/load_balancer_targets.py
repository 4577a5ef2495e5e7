"""The addresses and health of a load balancer's targets, and updates of the backend."""

from collections.abc import Iterator, Mapping

from tests.lab.hetzner.backend import BackendError
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import Json, LoadBalancer, Server
from tests.lab.hetzner.resources.primary_ips import assigned
from tests.lab.hetzner.selectors import matcher

Health = Mapping[tuple[str, int], bool]


def selected(lab: Project, balancer: LoadBalancer, target: Json) -> list[Server]:
    """Return the servers of a target that the load balancer can reach."""
    if target["type"] == "ip":
        return []
    if target["type"] == "server":
        servers = [lab.servers[target["server"]["id"]]]
    else:
        matches = matcher(target["label_selector"]["selector"])
        servers = [server for server in lab.servers.values() if matches(server.labels)]
    return [server for server in servers if address_of(lab, balancer, target, server)]


def address_of(lab: Project, balancer: LoadBalancer, target: Json, server: Server) -> str | None:
    """Return the address at which a load balancer reaches a server, or None."""
    if not target.get("use_private_ip"):
        return public_ipv4(lab, server)
    attachments = (server.networks.get(network_id) for network_id in balancer.networks)
    return next((one.ip for one in attachments if one and one.mac), None)


def public_ipv4(lab: Project, server: Server) -> str | None:
    """Return a server's public IPv4 address."""
    address = assigned(lab, server.id).get("ipv4")
    return address.ip if address else None


def target_addresses(lab: Project, balancer: LoadBalancer) -> Iterator[str]:
    """Yield the addresses of all targets."""
    for target in balancer.targets:
        if target["type"] == "ip":
            yield target["ip"]["ip"]
        for server in selected(lab, balancer, target):
            address = address_of(lab, balancer, target, server)
            if address:
                yield address


def balancers_of(lab: Project, server: Server) -> list[int]:
    """Return the load balancers that have a server as target."""
    return [
        balancer.id
        for balancer in lab.load_balancers.values()
        if any(server in selected(lab, balancer, target) for target in balancer.targets)
    ]


def configure_all(lab: Project) -> None:
    """Send changed services and targets of all load balancers to the backend."""
    with lab.lock:
        ids = list(lab.load_balancers)
    for balancer_id in ids:
        configure(lab, balancer_id)


def configure(lab: Project, balancer_id: int) -> None:
    """Send a load balancer's services and targets to the backend if they changed, one update at a time."""
    with lab.serial("load_balancer", balancer_id):
        with lab.lock:
            balancer = lab.load_balancers.get(balancer_id)
            if balancer is None or not balancer.made:
                return
            addresses = list(dict.fromkeys(target_addresses(lab, balancer)))
            wanted = (list(balancer.services), addresses)
            if wanted == balancer.configured:
                return
        lab.backend.configure_load_balancer(
            load_balancer_id=balancer_id, services=wanted[0], targets=addresses
        )
        with lab.lock:
            balancer.configured = wanted


def health(lab: Project, balancer_id: int) -> Health:
    """Return the health of a load balancer's targets; empty if the backend fails."""
    try:
        return lab.backend.target_health(load_balancer_id=balancer_id)
    except BackendError:
        return {}


def target_view(lab: Project, balancer: LoadBalancer, target: Json, known: Health) -> Json:
    """Return a target in the API's format, with the health of its servers."""
    servers = selected(lab, balancer, target)
    if target["type"] == "label_selector":
        return target | {
            "targets": [
                {
                    "type": "server",
                    "server": {"id": server.id},
                    "use_private_ip": target["use_private_ip"],
                    "health_status": _statuses(balancer, address_of(lab, balancer, target, server), known),
                }
                for server in servers
            ]
        }
    if target["type"] == "ip":
        return target | {"health_status": _statuses(balancer, target["ip"]["ip"], known)}
    address = address_of(lab, balancer, target, servers[0]) if servers else None
    return target | {"health_status": _statuses(balancer, address, known)}


def _statuses(balancer: LoadBalancer, address: str | None, known: Health) -> list[Json]:
    words = {True: "healthy", False: "unhealthy", None: "unknown"}
    return [
        {"listen_port": port, "status": words[known.get((address or "", port))]}
        for port in (service["listen_port"] for service in balancer.services)
    ]
