"""The machines of a cluster: who they are and which part they play."""

import ipaddress
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from kubeadm_deploys import checks, mark_checks
from kubeadm_deploys.errors import InputError, shown
from kubeadm_deploys.options import ClusterOptions

EXCLUDED_FROM_LOAD_BALANCERS = "node.kubernetes.io/exclude-from-external-load-balancers"
"""A label by which clouds leave a node out; kubeadm gives it to every control plane."""

_CLOUDS_LABELS = (
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine.

    ``name`` becomes the name of the Node object, ``ip`` its InternalIP: the address on which the other
    nodes reach it. ``host`` is pyinfra's name of the machine, ``address`` where the operator reaches it.
    ``interface_mac`` is the hardware address of the interface that has ``ip``, and ``provider_id`` what the
    cloud calls the machine; both are empty when nobody knows them. ``labels``, ``taints`` (like
    ``dedicated=gpu:NoSchedule``) and ``roles`` are to be on the Node object, beside those that others put there;
    with None for taints it has those that kubeadm gives it.
    """

    host: str
    name: str
    ip: str
    address: str
    interface_mac: str = ""
    provider_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    taints: tuple[str, ...] | None = None
    roles: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Topology:
    """All nodes of a cluster by role, in the inventory's order.

    Raises:
        InputError: with every node that is wrong, before anything is touched.
    """

    control_planes: tuple[Node, ...]
    workers: tuple[Node, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, control planes first."""
        return (*self.control_planes, *self.workers)

    def node(self, host: str) -> Node:
        """The node that pyinfra calls ``host``."""
        return next(node for node in self.nodes if node.host == host)

    def without(self, name: str) -> "Topology":
        """The same nodes but one."""
        return Topology(
            control_planes=tuple(node for node in self.control_planes if node.name != name),
            workers=tuple(node for node in self.workers if node.name != name),
        )

    def check(self, options: ClusterOptions) -> None:
        """Refuse what cannot become a cluster with these options."""
        problems = [
            *_count_problems(self, options),
            *_name_problems(self),
            *_address_problems(self, options),
            *_data_problems(self, options),
        ]
        if problems:
            raise InputError(problems)

    def warnings(self) -> Iterator[str]:
        """What works but is probably not meant."""
        count = len(self.control_planes)
        if count and count % 2 == 0:
            yield (
                f"control_plane: {count} nodes survive no more losses than {count - 1} "
                "(etcd needs a majority); use 1, 3 or 5"
            )


def _count_problems(topology: Topology, options: ClusterOptions) -> Iterator[str]:
    if not topology.control_planes:
        yield "control_plane: the inventory's group has no host; put at least one into it"
    if len(topology.nodes) > options.max_nodes:
        yield (
            f"pod_subnet: {options.pod_subnet} has room for {options.max_nodes} nodes, the inventory has "
            f"{len(topology.nodes)}; choose a bigger network"
        )


def _name_problems(topology: Topology) -> Iterator[str]:
    for node in topology.nodes:
        try:
            checks.node_name(node.name)
        except ValueError as error:
            yield f"node_name: {shown(node.name)} of host {node.host} {error}"
    yield from _duplicates(
        "node_name", [node.name for node in topology.nodes], "give every node its own name"
    )


def _address_problems(topology: Topology, options: ClusterOptions) -> Iterator[str]:
    for node in topology.nodes:
        try:
            address = ipaddress.IPv4Address(checks.node_address(node.ip))
        except ValueError as error:
            yield f"node_ip: {shown(node.ip)} of host {node.host} {error}"
            continue
        for option in ("pod_subnet", "service_subnet", "load_balancer_range"):
            network = getattr(options, option)
            if network and address in ipaddress.IPv4Network(network):
                yield (
                    f"{option}: {network} contains node_ip {node.ip} of host {node.host}; "
                    "choose a network that no machine uses"
                )
    yield from _duplicates("node_ip", [node.ip for node in topology.nodes], "give every node its own address")


def _data_problems(topology: Topology, options: ClusterOptions) -> Iterator[str]:
    for node in topology.nodes:
        kept = _kept_labels(options, control_plane=node in topology.control_planes)
        for name, value, check in (
            ("node_interface_mac", node.interface_mac, checks.mac_or_empty),
            ("provider_id", node.provider_id, checks.provider_id_or_empty),
            ("node_labels", node.labels, partial(mark_checks.node_labels, kept=kept)),
            ("node_taints", () if node.taints is None else node.taints, mark_checks.node_taints),
            ("node_roles", node.roles, mark_checks.node_roles),
        ):
            try:
                check(value)
            except ValueError as error:
                yield f"{name}: {shown(value)} of host {node.host} {error}"
    known = [node.provider_id for node in topology.nodes if node.provider_id]
    yield from _duplicates("provider_id", known, "give every node its own")


def _kept_labels(options: ClusterOptions, *, control_plane: bool) -> dict[str, str]:
    """Labels that something else sets on such a node, and what. Where nothing does, they may well be set by hand."""
    cloud = _CLOUDS_LABELS if options.cloud_provider != "none" else ()
    return {
        **dict.fromkeys(cloud, "the cloud's controller"),
        **dict.fromkeys([EXCLUDED_FROM_LOAD_BALANCERS] if control_plane else (), "kubeadm"),
    }


def _duplicates(field: str, values: Iterable[str], cure: str) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{field}: {shown(value)} is used by {count} hosts; {cure}"
