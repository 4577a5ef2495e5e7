"""Calico's own objects, as far as the deploys manage them."""

import ipaddress
import json
from dataclasses import dataclass, field
from typing import Any

from pyinfra.api.command import QuoteString, StringCommand
from typing_extensions import override

from kubeadm_deploys.facts.answers import ClusterFact
from kubeadm_deploys.facts.cluster_health import KUBECTL

_KINDS = ",".join(f"{kind}.crd.projectcalico.org" for kind in ("ippools", "bgpconfigurations", "ipamblocks"))

# Every node has blocks for its pods, with all that is known of each pod: only the load balancers' are told.
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
    """Specifications by name: of all IPPools and BGPConfigurations, and of the blocks of addresses that Calico
    took from its pools for Services of type LoadBalancer.
    """

    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    bgp: dict[str, dict[str, Any]] = field(default_factory=dict)
    blocks: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def announced(self) -> list[str]:
        """The networks that nodes answer for, by the one BGPConfiguration that is for all of them."""
        configured = self.bgp.get("default", {}).get("serviceLoadBalancerIPs") or []
        return [str(block["cidr"]) for block in configured]

    def blocks_of(self, pool: str) -> list[str]:
        """The names of a pool's blocks."""
        network = ipaddress.ip_network(self.pools[pool]["cidr"])
        return [
            name for name, spec in self.blocks.items() if network.overlaps(ipaddress.ip_network(spec["cidr"]))
        ]

    def services_of(self, pool: str) -> list[str]:
        """The Services that have an address of a pool."""
        owners = [
            address["secondary"]
            for block in self.blocks_of(pool)
            for address in self.blocks[block].get("attributes") or []
        ]
        return sorted({f"{owner['namespace']}/{owner['service']}" for owner in owners})


class LoadBalancerAddresses(ClusterFact[LoadBalancerAddressesState]):
    """Where Services of type LoadBalancer have their addresses from."""

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
