"""Calico's own objects, through kubectl on a control plane: calicoctl is not needed for them."""

import json
from collections.abc import Generator, Mapping
from typing import Any

from pyinfra import host
from pyinfra.api import operation
from pyinfra.api.command import QuoteString, StringCommand

from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.facts.calico import LoadBalancerAddresses, LoadBalancerAddressesState
from kubeadm_deploys.facts.cluster_health import KUBECTL
from kubeadm_deploys.facts.reading import read
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations.failure import failed, fails_clearly


@operation()
@fails_clearly
def load_balancer_pool(
    *, topology: Topology, pool: str, spec: Mapping[str, Any]
) -> Generator[StringCommand, None, None]:
    """Have the IPPool that Services of type LoadBalancer get their addresses from, and nodes answer for it.

    + topology: the cluster; its leader does it
    + pool: name of the IPPool
    + spec: its specification as it is to be stored; an empty one to have no such pool
    """
    election = ask_leader(host.state, topology)
    if host.name != election.leader:
        host.noop("another control plane does it")
        return
    if not election.api_answers:
        if spec:
            yield StringCommand(f"{KUBECTL} apply")
        return
    commands = pool_commands(state=read(host, LoadBalancerAddresses), pool=pool, spec=spec)
    if not commands:
        host.noop(
            f"Services have addresses of {spec['cidr']}" if spec else "Calico gives Services no addresses"
        )
    yield from commands


def pool_commands(
    *, state: LoadBalancerAddressesState, pool: str, spec: Mapping[str, Any]
) -> list[StringCommand]:
    """What leads from what is there to a pool of this specification; nothing when it is there already.

    A pool cannot change its network. It is replaced or deleted only while no Service has an address of it:
    Calico would take the address away.
    """
    found = state.pools.get(pool, {})
    networks = [spec["cidr"]] if spec else []
    if found == spec and set(networks) <= set(state.announced):
        return []
    ends = bool(found) and found["cidr"] not in networks
    if ends and (services := state.services_of(pool)):
        return [
            failed(
                f"load_balancer_range: {found['cidr']} cannot be given up while Services have addresses of it "
                f"({', '.join(services)}); set it to {found['cidr']} again, or delete these Services first"
            )
        ]
    others = [network for network in state.announced if network not in (found.get("cidr"), *networks)]
    answered = [{"cidr": network} for network in (*others, *networks)]
    return [
        _applied("BGPConfiguration", "default", {"serviceLoadBalancerIPs": answered}),
        *([_deleted(pool, blocks=state.blocks_of(pool))] if ends else []),
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
        f"| {KUBECTL} apply --server-side --force-conflicts --field-manager kubeadm-deploys --filename -",
    )


def _deleted(pool: str, *, blocks: list[str]) -> StringCommand:
    # Empty blocks stay with their affinities, and those of another size in a later pool would give the same
    # addresses a second time. The pool goes last, so that a run that is killed here is done again.
    names = [
        *(f"ipamblocks.crd.projectcalico.org/{block}" for block in blocks),
        *(f"blockaffinities.crd.projectcalico.org/load-balancer-{block}" for block in blocks),
        f"ippools.crd.projectcalico.org/{pool}",
    ]
    return StringCommand(f"{KUBECTL} delete --ignore-not-found", *map(QuoteString, names))
