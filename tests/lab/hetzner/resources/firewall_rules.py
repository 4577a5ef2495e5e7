"""Find the firewalls of a server, and apply their rules."""

from collections.abc import Iterable

from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import Firewall, Json, Server
from tests.lab.hetzner.resources.primary_ips import assigned
from tests.lab.hetzner.selectors import matcher


def covering(lab: Project, server: Server) -> list[Firewall]:
    """Return the firewalls that are applied to a server directly or by a label selector."""
    if not has_public_interface(lab, server):
        return []
    return [
        firewall
        for firewall in lab.firewalls.values()
        if any(covers(resource, server) for resource in firewall.applied_to)
    ]


def covers(resource: Json, server: Server) -> bool:
    """Return whether a firewall's resource, a server or a label selector, includes this server."""
    if resource["type"] == "server":
        return bool(resource["server"]["id"] == server.id)
    return matcher(resource["label_selector"]["selector"])(server.labels)


def has_public_interface(lab: Project, server: Server) -> bool:
    """Return whether a server has a public address; firewalls apply only to public interfaces."""
    return bool(assigned(lab, server.id))


def enforce(lab: Project, server_ids: Iterable[int] | None = None) -> None:
    """Send the changed rules of these servers, or of all servers, to the backend."""
    if server_ids is None:
        with lab.lock:
            server_ids = list(lab.servers)
    for server_id in server_ids:
        _enforce(lab, server_id)


def _enforce(lab: Project, server_id: int) -> None:
    """Compute and send rules under one lock, so that concurrent updates cannot restore old rules."""
    with lab.serial("firewall", server_id):
        with lab.lock:
            server = lab.servers.get(server_id)
            if server is None or not server.made:
                return
            firewalls = covering(lab, server)
            wanted = (
                tuple(firewall.id for firewall in firewalls),
                [rule for firewall in firewalls for rule in firewall.rules],
            )
            if wanted == server.firewalls_in_force:
                return
        lab.backend.apply_firewall(server_id=server_id, rules=wanted[1] if firewalls else None)
        with lab.lock:
            server.firewalls_in_force = wanted
