"""The work of a server's actions in the backend and in the project."""

from contextlib import suppress

from tests.lab.hetzner.backend import BackendError, Machine
from tests.lab.hetzner.catalogue import IMAGES
from tests.lab.hetzner.errors import ApiError
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import Attachment, Server
from tests.lab.hetzner.resources.firewall_rules import enforce
from tests.lab.hetzner.resources.load_balancer_targets import configure_all, public_ipv4
from tests.lab.hetzner.resources.primary_ips import release_all


def make(lab: Project, server: Server) -> None:
    """Create a server and apply its firewalls; remove it again if that fails."""
    with lab.lock:
        machine = Machine(
            id=server.id,
            name=server.name,
            image=IMAGES[server.image_id]["name"],
            public_ipv4=public_ipv4(lab, server) or "",
            ssh_keys=server.ssh_keys,
            user_data=server.user_data,
        )
    try:
        lab.backend.create_server(server=machine)
    except BackendError:
        # An error of the cleanup must not hide the first one.
        with suppress(BackendError):
            lab.backend.delete_server(server_id=server.id)
        raise
    with lab.lock:
        server.made = True
    enforce(lab, [server.id])
    configure_all(lab)


def set_power(lab: Project, server: Server, *, on: bool) -> None:
    """Start or stop a server."""
    _set_status(lab, server, "starting" if on else "stopping")
    lab.backend.power(server_id=server.id, on=on)
    _set_status(lab, server, "running" if on else "off")


def reboot(lab: Project, server: Server) -> None:
    """Restart a server."""
    lab.backend.reboot(server_id=server.id)
    _set_status(lab, server, "running")


def _set_status(lab: Project, server: Server, status: str) -> None:
    with lab.lock:
        server.status = status


def attach(lab: Project, server: Server, network_id: int) -> None:
    """Connect a server to a network in which it already has an address."""
    with lab.lock:
        attachment = _reserved(server, network_id)
    mac = lab.backend.attach(
        resource="server", resource_id=server.id, network_id=network_id, ip=attachment.ip
    )
    with lab.lock:
        attachment.mac = mac
    configure_all(lab)


def _reserved(server: Server, network_id: int) -> Attachment:
    if network_id not in server.networks:
        raise ApiError("not_found", f"network '{network_id}' was deleted")
    return server.networks[network_id]


def detach(lab: Project, server: Server, network_id: int) -> None:
    """Disconnect a server from a network."""
    lab.backend.detach(resource="server", resource_id=server.id, network_id=network_id)
    with lab.lock:
        server.networks.pop(network_id, None)
    configure_all(lab)


def remove(lab: Project, server: Server) -> None:
    """Remove a server; attached resources stay, except addresses with ``auto_delete``."""
    lab.backend.delete_server(server_id=server.id)
    with lab.lock:
        forget(lab, server)
    configure_all(lab)


def forget(lab: Project, server: Server) -> None:
    """Remove a server from the project. The caller holds the lock."""
    lab.servers.pop(server.id, None)
    for volume in lab.volumes.values():
        volume.server = None if volume.server == server.id else volume.server
    for floating in lab.floating_ips.values():
        floating.server = None if floating.server == server.id else floating.server
    release_all(lab, server.id)
    this = {"id": server.id}
    for firewall in lab.firewalls.values():
        firewall.applied_to[:] = [one for one in firewall.applied_to if one.get("server") != this]
    for balancer in lab.load_balancers.values():
        balancer.targets = [one for one in balancer.targets if one.get("server") != this]


def give_up(lab: Project, server: Server) -> None:
    """Remove a server that was not created from the project; switch off one that was."""
    if server.made:
        set_power(lab, server, on=False)
    else:
        with lab.lock:
            forget(lab, server)
