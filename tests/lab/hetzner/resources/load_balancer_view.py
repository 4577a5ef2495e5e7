"""Load balancers in the API's format."""

from tests.lab.hetzner.catalogue import LOAD_BALANCER_TYPES, LOCATIONS, included_traffic
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import Json, LoadBalancer, PrimaryIP
from tests.lab.hetzner.resources.load_balancer_targets import Health, target_view
from tests.lab.hetzner.resources.primary_ips import assigned, default_pointer


def view(lab: Project, balancer: LoadBalancer, known: Health) -> Json:
    """Return a load balancer in the API's format."""
    balancer_type = LOAD_BALANCER_TYPES[balancer.load_balancer_type]
    own = assigned(lab, balancer.id)
    return {
        "id": balancer.id,
        "name": balancer.name,
        "public_net": {
            "enabled": balancer.public_enabled,
            "ipv4": _address_view(own["ipv4"]),
            "ipv6": _address_view(own["ipv6"]),
        },
        "private_net": [
            {"network": network_id, "ip": attachment.ip}
            for network_id, attachment in balancer.networks.items()
            if attachment.mac
        ],
        "location": LOCATIONS[balancer.location],
        "load_balancer_type": balancer_type,
        "protection": {"delete": False},
        "labels": balancer.labels,
        "targets": [target_view(lab, balancer, target, known) for target in balancer.targets],
        "services": balancer.services,
        "algorithm": {"type": balancer.algorithm},
        "created": balancer.created,
        "included_traffic": included_traffic(balancer_type, balancer.location),
        "outgoing_traffic": 0,
        "ingoing_traffic": 0,
    }


def _address_view(address: PrimaryIP) -> Json:
    """Return a load balancer's address; of an IPv6 network it is the first one."""
    ip = address.ip.replace("::/64", "::1")
    default = default_pointer(ip) if address.type == "ipv4" else None
    return {"id": address.id, "ip": ip, "blocked": False, "dns_ptr": address.dns_ptr.get(ip, default)}
