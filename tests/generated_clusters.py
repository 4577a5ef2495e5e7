"""Whole clusters for hypothesis to choose from: options that fit each other, and hosts that fit the options."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pyinfra.api.inventory import Inventory

from kubeadm_deploys.entry import topology_from_inventory
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.options import ClusterOptions
from tests.node_strategies import MACS, NODE_FIELDS
from tests.strategies import ADDRESSES, ALIASES, FIELDS, IPV6, LABELS

_BLOCKS = ("10.0.0.0/9", "10.128.0.0/9", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")


@st.composite
def _subnet(draw: st.DrawFn, block: str, *, biggest: int, smallest: int) -> str:
    within = ipaddress.IPv4Network(block)
    prefix = draw(st.integers(max(biggest, within.prefixlen), smallest))
    start = draw(st.integers(0, 2 ** (prefix - within.prefixlen) - 1)) << (32 - prefix)
    return f"{within.network_address + start}/{prefix}"


@st.composite
def settings(draw: st.DrawFn, /, **fixed: SearchStrategy[Any]) -> dict[str, Any]:
    """Options that make a cluster, as a user writes them; no network has addresses of 100.64.0.0/10.

    ``fixed`` replaces what is chosen from for single options, except that networks come out as others that fit.
    """
    choices = {name: field.right for name, field in FIELDS.items()} | fixed
    written: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=choices))
    pods, services, load_balancers, *_ = draw(st.permutations(_BLOCKS[:4]))
    written["pod_subnet"] = draw(_subnet(pods, biggest=8, smallest=24))
    written["service_subnet"] = draw(_subnet(services, biggest=12, smallest=28))
    if written.get("load_balancer_range") and written.get("cloud_provider") != "hetzner":
        written["load_balancer_range"] = draw(_subnet(load_balancers, biggest=0, smallest=32))
    else:
        written.pop("load_balancer_range", None)
    if written.get("endpoint_kind") == "load_balancer":
        written["load_balancer_address"] = draw(ADDRESSES)
    return written


@st.composite
def hosts(draw: st.DrawFn, *, most: int) -> list[dict[str, Any]]:
    """Data of the hosts of one cluster, at most so many, with addresses in 100.64.0.0/10."""
    count = draw(st.integers(1, min(most, 5)))
    names = draw(st.lists(NODE_FIELDS["node_name"].right, min_size=count, max_size=count, unique=True))
    first = ipaddress.IPv4Address("100.64.0.1")
    places = draw(st.lists(st.integers(0, 2**20), min_size=count, max_size=count, unique=True))
    data = [
        {"node_name": name, "node_ip": str(first + place)} for name, place in zip(names, places, strict=True)
    ]
    for place, each in enumerate(data):
        if draw(st.booleans()):
            each["node_interface_mac"] = draw(MACS)
            each["provider_id"] = f"hcloud://{place + 1}"
        for key in ("node_labels", "node_taints", "node_roles"):
            if draw(st.booleans()):
                each[key] = draw(NODE_FIELDS[key].right)
        if draw(st.booleans()):
            each["ssh_hostname"] = draw(ALIASES | ADDRESSES | IPV6)
    return data


def inventory(data: Iterable[Mapping[str, Any]], *, workers: int) -> Inventory:
    """An inventory of hosts with these data, of which the last are workers."""
    named = [(f"host-{number}", dict(each)) for number, each in enumerate(data)]
    first_worker = len(named) - workers
    return Inventory(
        (named, {}), control_plane=(named[:first_worker], {}), workers=(named[first_worker:], {})
    )


def topology_of(data: list[dict[str, Any]], options: ClusterOptions) -> Topology:
    """The nodes that the package makes of these hosts, of which half are workers."""
    return topology_from_inventory(inventory(data, workers=len(data) // 2), options=options)


@st.composite
def clusters(draw: st.DrawFn, /, **fixed: SearchStrategy[Any]) -> tuple[ClusterOptions, Topology]:
    """Options and nodes as the package makes them of right data."""
    options = ClusterOptions(**draw(settings(**fixed)))
    return options, topology_of(draw(hosts(most=options.max_nodes)), options)


KUBELET_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "maxPods": st.integers(1, 500),
        "clusterDomain": LABELS,
        "containerLogMaxSize": st.sampled_from(["10Mi", "1e7"]),
        "evictionHard": st.dictionaries(
            st.sampled_from(["memory.available", "nodefs.available"]), st.sampled_from(["100Mi", "5%"])
        ),
        "registryPullQPS": st.integers(0, 10),
        "resolvConf": st.just("/etc/resolv.conf"),
        "serializeImagePulls": st.booleans(),
        "systemReserved": st.fixed_dictionaries({"cpu": st.sampled_from(["100m", "1e3", "1"])}),
        "allowedUnsafeSysctls": st.lists(st.sampled_from(["net.core.somaxconn", "kernel.msg*"]), max_size=2),
    },
)
"""For ``kubelet_configuration``, fields that the kubelet knows."""

KUBE_PROXY_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "mode": st.sampled_from(["iptables", "nftables"]),
        "conntrack": st.fixed_dictionaries(
            {"maxPerCore": st.none() | st.integers(0, 2**20), "min": st.just(0)}
        ),
        "metricsBindAddress": st.just("127.0.0.1:10249"),
    },
)
"""For ``kube_proxy_configuration``, fields that kube-proxy knows."""
