"""Guide section "Services": addresses for Services of type LoadBalancer where no cloud gives them.

Calico's kube-controllers hand them out of an IPPool; kube-proxy answers them on every node. What no Service has
is dropped by every node, which otherwise would send it back to the router that it came from: that is what the
network in the BGPConfiguration does, with or without BGP; with it, nodes also announce the range to their peers.
Source: Calico documentation, "LoadBalancer IP address management" and "Advertise Kubernetes service IP addresses".
"""

import ipaddress
from typing import Any

from pyinfra import host
from pyinfra.api import deploy

from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import calico
from kubeadm_deploys.options import ClusterOptions

POOL = "kubeadm-deploys-load-balancers"

_BLOCK_SIZE = 26
"""Calico's default. Addresses are given in blocks, and a pool has to hold a whole one."""


def pool_spec(load_balancer_range: str) -> dict[str, Any]:
    """Calico's pool for a range, empty without one.

    Nothing writes Calico's defaults into an object that its own API server did not see, and its controllers
    do not check one, so every field that the API server would write or demand is here.
    """
    if not load_balancer_range:
        return {}
    return {
        "cidr": load_balancer_range,
        "blockSize": max(_BLOCK_SIZE, ipaddress.IPv4Network(load_balancer_range).prefixlen),
        "allowedUses": ["LoadBalancer"],
        "assignmentMode": "Automatic",
        "nodeSelector": "all()",
        "ipipMode": "Never",
        "vxlanMode": "Never",
    }


@deploy("Load balancers")
def offer_load_balancer_addresses(*, options: ClusterOptions, topology: Topology) -> None:
    """Let Calico give Services of type LoadBalancer the addresses of the cluster's range, if it has one.

    After ``wait_until_ready``: Calico makes the pods' own pool only where it finds no pool at all when its
    first node pod starts.
    """
    if topology.node(host.name) in topology.control_planes:
        calico.load_balancer_pool(
            name=f"Offer {options.load_balancer_range or 'no addresses'} to Services",
            topology=topology,
            pool=POOL,
            spec=pool_spec(options.load_balancer_range),
        )
