"""The work of a load balancer's actions in the backend and in the project."""

from contextlib import suppress

from tests.lab.hetzner.backend import BackendError
from tests.lab.hetzner.project import Project
from tests.lab.hetzner.records import LoadBalancer
from tests.lab.hetzner.resources.load_balancer_targets import configure
from tests.lab.hetzner.resources.primary_ips import assigned, release_all


def make(lab: Project, balancer: LoadBalancer) -> None:
    """Create, connect and configure a load balancer; remove it again if that fails."""
    with lab.lock:
        public_ipv4 = assigned(lab, balancer.id)["ipv4"].ip
    try:
        lab.backend.create_load_balancer(
            load_balancer_id=balancer.id, name=balancer.name, public_ipv4=public_ipv4
        )
        balancer.made = True
        for network_id in list(balancer.networks):
            attach(lab, balancer, network_id)
        configure(lab, balancer.id)
    except BackendError:
        # An error of the cleanup must not hide the first one.
        with suppress(BackendError):
            lab.backend.delete_load_balancer(load_balancer_id=balancer.id)
        raise


def attach(lab: Project, balancer: LoadBalancer, network_id: int) -> None:
    """Connect a load balancer to a network in which it already has an address."""
    attachment = balancer.networks[network_id]
    mac = lab.backend.attach(
        resource="load_balancer", resource_id=balancer.id, network_id=network_id, ip=attachment.ip
    )
    with lab.lock:
        attachment.mac = mac
    configure(lab, balancer.id)


def detach(lab: Project, balancer: LoadBalancer, network_id: int) -> None:
    """Disconnect a load balancer from a network."""
    lab.backend.detach(resource="load_balancer", resource_id=balancer.id, network_id=network_id)
    with lab.lock:
        balancer.networks.pop(network_id, None)
    configure(lab, balancer.id)


def remove(lab: Project, balancer: LoadBalancer) -> None:
    """Remove a load balancer."""
    lab.backend.delete_load_balancer(load_balancer_id=balancer.id)
    forget(lab, balancer)


def forget(lab: Project, balancer: LoadBalancer) -> None:
    """Remove a load balancer and its addresses from the project."""
    with lab.lock:
        lab.load_balancers.pop(balancer.id, None)
        release_all(lab, balancer.id)
