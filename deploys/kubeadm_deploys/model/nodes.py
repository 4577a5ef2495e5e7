"""The nodes of a cluster and their roles."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from kubeadm_deploys.model import checks
from kubeadm_deploys.model.errors import InputError, shown
from kubeadm_deploys.model.host_data import HostData
from kubeadm_deploys.model.options import ClusterOptions

EXCLUDED_FROM_LOAD_BALANCERS = "node.kubernetes.io/exclude-from-external-load-balancers"
"""The label of nodes that clouds leave out of load balancers; kubeadm sets it on every control plane."""

_CLOUDS_LABELS = (
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
)


API_PORT = 6443
"""Port of API servers and of load balancers in front of them."""


def by_number(name: str) -> list[tuple[int, str]]:
    """Return the sort key of a machine's name: worker-2 sorts before worker-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine.

    ``name`` is the name of the Node object, ``ip`` its InternalIP, at which the other nodes reach it.
    ``host`` is pyinfra's name of the machine, ``address`` where the operator reaches it. ``interface_mac`` is
    the MAC address of the interface with ``ip``, and ``provider_id`` the cloud's ID of the machine; both
    are empty if unknown. ``labels``, ``taints`` (like ``dedicated=gpu:NoSchedule``) and ``roles`` are set on
    the Node object, in addition to those from other sources; if ``taints`` is None, the node keeps those that
    kubeadm sets. ``kubelet_configuration`` are fields that its kubelet gets in addition to the cluster's.
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
    kubelet_configuration: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, kw_only=True)
class Topology:
    """All nodes of a cluster by role, in the inventory's order.

    Raises:
        InputError: lists every wrong node; ``check`` raises it before anything is changed.
    """

    control_planes: tuple[Node, ...]
    workers: tuple[Node, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, control planes first."""
        return (*self.control_planes, *self.workers)

    def node(self, host: str) -> Node:
        """Return the node that pyinfra calls ``host``."""
        return next(node for node in self.nodes if node.host == host)

    def without(self, name: str) -> "Topology":
        """Return the topology without the node ``name``."""
        return Topology(
            control_planes=tuple(node for node in self.control_planes if node.name != name),
            workers=tuple(node for node in self.workers if node.name != name),
        )

    def check(self, options: ClusterOptions) -> None:
        """Refuse a topology that cannot become a cluster with these options."""
        problems = [
            *_count_problems(self, options),
            *_host_problems(self, options),
            *_network_problems(self, options),
            *_duplicates("node_name", [node.name for node in self.nodes], "give every node its own name"),
            *_duplicates("node_ip", [node.ip for node in self.nodes], "give every node its own address"),
            *_duplicates(
                "provider_id",
                [node.provider_id for node in self.nodes if node.provider_id],
                "give every node its own provider ID",
            ),
        ]
        if problems:
            raise InputError(problems)

    def warnings(self) -> Iterator[str]:
        """Yield what works but is probably a mistake."""
        count = len(self.control_planes)
        if count and count % 2 == 0:
            yield (
                f"control_plane: {count} nodes tolerate no more failures than {count - 1} would "
                "(etcd needs a majority); use 1, 3 or 5"
            )


def _count_problems(topology: Topology, options: ClusterOptions) -> Iterator[str]:
    if not topology.control_planes:
        yield "control_plane: the group has no hosts; add at least one to the inventory"
    if len(topology.nodes) > options.max_nodes:
        yield (
            f"pod_subnet: {options.pod_subnet} has room for {options.max_nodes} nodes, but the inventory has "
            f"{len(topology.nodes)}; choose a bigger network"
        )


def _host_problems(topology: Topology, options: ClusterOptions) -> Iterator[str]:
    for node in topology.nodes:
        try:
            HostData(
                host=node.host,
                kept=_kept_labels(options, control_plane=node in topology.control_planes),
                node_name=node.name,
                node_ip=node.ip,
                node_interface_mac=node.interface_mac,
                provider_id=node.provider_id,
                node_labels=node.labels,
                node_taints=node.taints,
                node_roles=node.roles,
                node_kubelet_configuration=node.kubelet_configuration,
            )
        except InputError as error:
            yield from error.problems


def _network_problems(topology: Topology, options: ClusterOptions) -> Iterator[str]:
    for node in topology.nodes:
        try:
            address = checks.node_address(node.ip)
        except ValueError:
            continue
        for option, network in (
            ("pod_subnet", options.pod_subnet),
            ("service_subnet", options.service_subnet),
            ("service_load_balancer_cidr", options.service_load_balancer_cidr),
        ):
            if network and address in network:
                yield (
                    f"{option}: {network} contains node_ip {node.ip} of host {node.host}; "
                    "choose a network that no machine uses"
                )


def _kept_labels(options: ClusterOptions, *, control_plane: bool) -> dict[str, str]:
    """Return the labels that another component sets on such a node, with its name."""
    cloud = _CLOUDS_LABELS if options.cloud_provider != "none" else ()
    return {
        **dict.fromkeys(cloud, "the cloud's controller"),
        **dict.fromkeys([EXCLUDED_FROM_LOAD_BALANCERS] if control_plane else (), "kubeadm"),
    }


def _duplicates(field: str, values: Iterable[str], fix: str) -> Iterator[str]:
    for value, count in Counter(values).items():
        if count > 1:
            yield f"{field}: {shown(value)} is used by {count} hosts; {fix}"
