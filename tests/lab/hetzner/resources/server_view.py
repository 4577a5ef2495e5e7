"""Servers in the API's format."""

from tests.lab.hetzner.catalogue import IMAGES, LOCATIONS, SERVER_TYPES, included_traffic
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import Json, PrimaryIP, Server
from tests.lab.hetzner.resources import placement_groups
from tests.lab.hetzner.resources.firewall_rules import covering
from tests.lab.hetzner.resources.load_balancer_targets import balancers_of
from tests.lab.hetzner.resources.primary_ips import assigned, dns_pointers


def view(lab: Project, server: Server) -> Json:
    """Return a server in the API's format, with `location` and without the removed `datacenter`."""
    server_type = SERVER_TYPES[server.server_type]
    group = lab.placement_groups.get(server.placement_group or 0)
    return {
        "id": server.id,
        "name": server.name,
        "status": server.status,
        "created": server.created,
        "public_net": _public_net(lab, server),
        "private_net": [
            {
                "network": network_id,
                "ip": attachment.ip,
                "alias_ips": attachment.alias_ips,
                "mac_address": attachment.mac,
            }
            for network_id, attachment in server.networks.items()
            if attachment.mac
        ],
        "server_type": server_type,
        "location": LOCATIONS[server.location],
        "image": IMAGES[server.image_id],
        "iso": None,
        "rescue_enabled": False,
        "locked": lab.actions.running_on("server", server.id),
        "backup_window": None,
        "outgoing_traffic": 0,
        "ingoing_traffic": 0,
        "included_traffic": included_traffic(server_type, server.location),
        "protection": {"delete": server.delete_protected, "rebuild": server.rebuild_protected},
        "labels": server.labels,
        "volumes": [volume.id for volume in lab.volumes.values() if volume.server == server.id],
        "load_balancers": balancers_of(lab, server),
        "primary_disk_size": server_type["disk"],
        "placement_group": placement_groups.view(lab, group) if group else None,
    }


def _public_net(lab: Project, server: Server) -> Json:
    own = assigned(lab, server.id)
    in_force = server.firewalls_in_force[0]
    return {
        "ipv4": _ipv4(own["ipv4"]) if "ipv4" in own else None,
        "ipv6": _ipv6(own["ipv6"]) if "ipv6" in own else None,
        "floating_ips": [one.id for one in lab.floating_ips.values() if one.server == server.id],
        "firewalls": [
            {"id": firewall.id, "status": "applied" if firewall.id in in_force else "pending"}
            for firewall in covering(lab, server)
        ],
    }


def _ipv4(address: PrimaryIP) -> Json:
    pointer = dns_pointers(address.ip, address.type, address.dns_ptr)[0]["dns_ptr"]
    return {"id": address.id, "ip": address.ip, "blocked": False, "dns_ptr": pointer}


def _ipv6(address: PrimaryIP) -> Json:
    pointers = dns_pointers(address.ip, address.type, address.dns_ptr)
    return {"id": address.id, "ip": address.ip, "blocked": False, "dns_ptr": pointers}
