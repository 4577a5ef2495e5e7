"""Hypothesis strategies for whole clusters: options that fit each other, and hosts that fit the options."""

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pyinfra.api.inventory import Inventory

from kubeadm_deploys.inventory.data import topology_from_inventory
from kubeadm_deploys.model.artifacts import CONTAINERD_VERSION, KUBERNETES_VERSION
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from tests.support.node_strategies import MACS, NODE_FIELDS
from tests.support.strategies import ADDRESSES, ALIASES, FIELDS, IPV6, LABELS

_BLOCKS = ("10.0.0.0/9", "10.128.0.0/9", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")


@st.composite
def _subnet(draw: st.DrawFn, block: str, *, biggest: int, smallest: int) -> str:
    within = ipaddress.IPv4Network(block)
    prefix = draw(st.integers(max(biggest, within.prefixlen), smallest))
    start = draw(st.integers(0, 2 ** (prefix - within.prefixlen) - 1)) << (32 - prefix)
    return f"{within.network_address + start}/{prefix}"


@st.composite
def settings(draw: st.DrawFn, /, **fixed: SearchStrategy[Any]) -> dict[str, Any]:
    """Generate options that make a cluster, as a user writes them; no subnet overlaps 100.64.0.0/10.

    ``fixed`` replaces the strategies of single options, except that subnets are always generated here, so
    that they fit.
    """
    choices = {name: field.right for name, field in FIELDS.items()} | fixed
    written: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=choices))
    pods, services, load_balancers, *_ = draw(st.permutations(_BLOCKS[:4]))
    written["pod_subnet"] = draw(_subnet(pods, biggest=8, smallest=24))
    written["service_subnet"] = draw(_subnet(services, biggest=12, smallest=28))
    if written.get("service_load_balancer_cidr") and written.get("cloud_provider") != "hetzner":
        written["service_load_balancer_cidr"] = draw(_subnet(load_balancers, biggest=0, smallest=32))
    else:
        written.pop("service_load_balancer_cidr", None)
    if written.get("endpoint_kind") == "load_balancer":
        written["api_load_balancer_address"] = draw(ADDRESSES)
    if written.get("cni") == "none":
        for name in (
            "calico_version",
            "encapsulation",
            "pod_mtu",
            "vxlan_checksum_offload",
            "service_load_balancer_cidr",
        ):
            written.pop(name, None)
    kubernetes = _minor(written.get("kubernetes_version", KUBERNETES_VERSION))
    containerd = _minor(written.get("containerd_version", CONTAINERD_VERSION))
    if kubernetes >= (1, 37) and containerd < (2, 0):
        # Kubernetes 1.37 asks the runtime for its cgroup driver, which containerd 1 does not answer.
        del written["containerd_version"]
    return written


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.removeprefix("v").split(".")[:2])


@st.composite
def hosts(draw: st.DrawFn, *, most: int) -> list[dict[str, Any]]:
    """Generate the data of at most ``most`` hosts of one cluster, with addresses in 100.64.0.0/10."""
    count = draw(st.integers(1, min(most, 5)))
    names = draw(st.lists(NODE_FIELDS["node_name"].right, min_size=count, max_size=count, unique=True))
    first = ipaddress.IPv4Address("100.64.0.1")
    places = draw(st.lists(st.integers(0, 2**20), min_size=count, max_size=count, unique=True))
    data = [
        {"node_name": name, "node_ip": str(first + place)} for name, place in zip(names, places, strict=True)
    ]
    for place, host_data in enumerate(data):
        if draw(st.booleans()):
            host_data["node_interface_mac"] = draw(MACS)
            host_data["provider_id"] = f"hcloud://{place + 1}"
        for key in ("node_labels", "node_taints", "node_roles", "node_kubelet_configuration"):
            if draw(st.booleans()):
                host_data[key] = draw(NODE_FIELDS[key].right)
        if draw(st.booleans()):
            host_data["ssh_hostname"] = draw(ALIASES | ADDRESSES | IPV6)
    return data


def inventory(data: Iterable[Mapping[str, Any]], *, workers: int) -> Inventory:
    """Return an inventory of hosts with this data; the last ``workers`` hosts are workers."""
    named = [(f"host-{number}", dict(host_data)) for number, host_data in enumerate(data)]
    first_worker = len(named) - workers
    return Inventory(
        (named, {}), control_plane=(named[:first_worker], {}), workers=(named[first_worker:], {})
    )


def topology_of(data: list[dict[str, Any]], options: ClusterOptions) -> Topology:
    """Return the nodes that the package makes of these hosts; half of them are workers."""
    return topology_from_inventory(inventory(data, workers=len(data) // 2), options=options)


@st.composite
def clusters(draw: st.DrawFn, /, **fixed: SearchStrategy[Any]) -> tuple[ClusterOptions, Topology]:
    """Generate options and nodes as the package makes them of valid data."""
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
"""For ``kubelet_configuration``: fields that the kubelet knows."""

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
"""For ``kube_proxy_configuration``: fields that kube-proxy knows."""
