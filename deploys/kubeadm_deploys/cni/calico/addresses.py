"""Guide section "Services": addresses for Services of type LoadBalancer where no cloud gives them.

Calico's kube-controllers assign them from an IPPool, and kube-proxy serves them on every node. Because the
BGPConfiguration names the range, every node drops packets to its unassigned addresses instead of sending them
back to the router. That needs no BGP; with BGP, nodes also announce the range to their peers.
Source: Calico documentation, "LoadBalancer IP address management" and "Advertise Kubernetes service IP
addresses".
"""

import ipaddress
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host
from pyinfra.api import deploy, operation
from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_APPLY
from kubeadm_deploys.model.nodes import Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations.failure import failed, fails_clearly
from kubeadm_deploys.remote.answers import ClusterFact
from kubeadm_deploys.remote.reading import read

_KINDS = ",".join(f"{kind}.crd.projectcalico.org" for kind in ("ippools", "bgpconfigurations", "ipamblocks"))

# Every node also has blocks for its pods, with details of each pod: only the load balancers' blocks are
# printed.
_JSONPATH = "".join(
    f'{{range .items[?(@.{field}=="{value}")]}}{{.kind}}|{{.metadata.name}}|{{.spec}}{{"\\n"}}{{end}}'
    for field, value in (
        ("kind", "IPPool"),
        ("kind", "BGPConfiguration"),
        ("spec.affinity", "virtual:load-balancer"),
    )
)


@dataclass(frozen=True, kw_only=True)
class LoadBalancerAddressesState:
    """Specifications by name: of all IPPools and BGPConfigurations, and of the address blocks that Calico
    took from its pools for Services of type LoadBalancer.
    """

    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    bgp: dict[str, dict[str, Any]] = field(default_factory=dict)
    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def announced(self) -> list[str]:
        """The networks for which nodes answer, from the BGPConfiguration of all nodes."""
        configured = self.bgp.get("default", {}).get("serviceLoadBalancerIPs") or []
        return [str(block["cidr"]) for block in configured]

    def blocks_of(self, pool: str) -> list[str]:
        """Return the names of a pool's blocks."""
        network = ipaddress.ip_network(self.pools[pool]["cidr"])
        return [
            name for name, spec in self.blocks.items() if network.overlaps(ipaddress.ip_network(spec["cidr"]))
        ]

    def services_of(self, pool: str) -> list[str]:
        """Return the Services that have an address of a pool."""
        owners = [
            address["secondary"]
            for block in self.blocks_of(pool)
            for address in self.blocks[block].get("attributes") or []
        ]
        return sorted({f"{owner['namespace']}/{owner['service']}" for owner in owners})


class LoadBalancerAddresses(ClusterFact[LoadBalancerAddressesState]):
    """Read where Services of type LoadBalancer get their addresses."""

    @override
    def command(self) -> StringCommand:
        return StringCommand(f"{KUBECTL} get {_KINDS} --output", QuoteString(f"jsonpath={_JSONPATH}"))

    @override
    def process(self, output: list[str]) -> LoadBalancerAddressesState:
        state = LoadBalancerAddressesState()
        found = {"IPPool": state.pools, "BGPConfiguration": state.bgp, "IPAMBlock": state.blocks}
        for line in filter(None, output):
            kind, name, spec = line.split("|", maxsplit=2)
            found[kind][name] = json.loads(spec or "{}")
        return state


@operation()
@fails_clearly
def load_balancer_pool(
    *, topology: Topology, pool: str, spec: Mapping[str, Any]
) -> Generator[StringCommand, None, None]:
    """Create or remove the IPPool for Services of type LoadBalancer, and have nodes answer for its addresses.

    + topology: the cluster; only its leader acts
    + pool: name of the IPPool
    + spec: its specification as stored in the cluster; empty to remove the pool
    """
    api_leader = ask_leader(host.state, topology)
    if host.name != api_leader.leader:
        host.noop(f"runs on {api_leader.leader}")
        return
    if not api_leader.api_answers:
        if spec:
            yield StringCommand(f"{KUBECTL} apply")
        return
    commands = pool_commands(state=read(host, LoadBalancerAddresses), pool=pool, spec=spec)
    if not commands:
        host.noop(f"the pool of {spec['cidr']} is up to date" if spec else "there is no load balancer pool")
    yield from commands


def pool_commands(
    *, state: LoadBalancerAddressesState, pool: str, spec: Mapping[str, Any]
) -> list[StringCommand]:
    """Return the commands that give the cluster a pool of this specification; none if it has it already.

    The network of a pool cannot change. The pool is replaced or deleted only while no Service has an address
    of it, because Calico would take the address away.
    """
    found = state.pools.get(pool, {})
    networks = [spec["cidr"]] if spec else []
    if found == spec and set(networks) <= set(state.announced):
        return []
    is_removed = bool(found) and found["cidr"] not in networks
    if is_removed and (services := state.services_of(pool)):
        return [
            failed(
                f"service_load_balancer_cidr: {found['cidr']} cannot be removed while Services have its "
                f"addresses ({', '.join(services)}); set it to {found['cidr']} again, or delete these "
                "Services first"
            )
        ]
    others = [network for network in state.announced if network not in (found.get("cidr"), *networks)]
    answered = [{"cidr": network} for network in (*others, *networks)]
    return [
        _applied("BGPConfiguration", "default", {"serviceLoadBalancerIPs": answered}),
        *([_deleted(pool, blocks=state.blocks_of(pool))] if is_removed else []),
        *([_applied("IPPool", pool, spec)] if spec else []),
    ]


def _applied(kind: str, name: str, spec: Mapping[str, Any]) -> StringCommand:
    manifest = {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }
    return StringCommand(
        "printf %s",
        QuoteString(json.dumps(manifest)),
        f"| {KUBECTL_APPLY} --filename -",
    )


def _deleted(pool: str, *, blocks: list[str]) -> StringCommand:
    # Calico keeps empty blocks and their affinities; blocks of another size in a later pool would assign the
    # same addresses a second time. The pool is deleted last, so that the next run repeats a killed one.
    names = [
        *(f"ipamblocks.crd.projectcalico.org/{block}" for block in blocks),
        *(f"blockaffinities.crd.projectcalico.org/load-balancer-{block}" for block in blocks),
        f"ippools.crd.projectcalico.org/{pool}",
    ]
    return StringCommand(f"{KUBECTL} delete --ignore-not-found", *map(QuoteString, names))


POOL = "kubeadm-deploys-load-balancers"

_BLOCK_SIZE = 26
"""Calico's default. Addresses are assigned in blocks, and a pool must hold a whole one."""


def pool_spec(service_load_balancer_cidr: ipaddress.IPv4Network | None) -> dict[str, Any]:
    """Return Calico's pool for a range, empty without one.

    The object does not go through Calico's own API server, which would set defaults, and Calico's controllers
    do not check it. So it has every field that the API server would set or require.
    """
    if not service_load_balancer_cidr:
        return {}
    return {
        "cidr": str(service_load_balancer_cidr),
        "blockSize": max(_BLOCK_SIZE, service_load_balancer_cidr.prefixlen),
        "allowedUses": ["LoadBalancer"],
        "assignmentMode": "Automatic",
        "nodeSelector": "all()",
        "ipipMode": "Never",
        "vxlanMode": "Never",
    }


@deploy("Load balancers")
def configure_load_balancer_pool(*, options: ClusterOptions, topology: Topology) -> None:
    """Have Calico give Services of type LoadBalancer addresses of the cluster's range, if there is one.

    Call it after ``wait_until_ready``: Calico creates the pods' own pool only if it finds no pool at all when
    its first node pod starts.
    """
    cidr = options.service_load_balancer_cidr
    if topology.node(host.name) in topology.control_planes:
        load_balancer_pool(
            name=f"Offer {cidr} to Services" if cidr else "Keep Services without a load balancer pool",
            topology=topology,
            pool=POOL,
            spec=pool_spec(cidr),
        )
