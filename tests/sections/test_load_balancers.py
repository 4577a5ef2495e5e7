"""Addresses for Services of type LoadBalancer: the commands for Calico's pool, from what was found."""

import json
import shlex
from ipaddress import IPv4Network
from typing import Any

import pytest

from kubeadm_deploys.cni.calico.addresses import (
    POOL,
    LoadBalancerAddresses,
    LoadBalancerAddressesState,
    pool_commands,
    pool_spec,
)
from tests.lab.host import Host, service_load_balancer_cidrs

RANGE = "10.214.7.0/28"
BGP = {"default": {"serviceLoadBalancerIPs": [{"cidr": RANGE}]}}
BLOCK = {
    "affinity": "virtual:load-balancer",
    "attributes": [
        {"handle_id": "lb-x", "secondary": {"namespace": "default", "service": "web", "type": "LoadBalancer"}}
    ],
    "cidr": RANGE,
}
EMPTY_BLOCK = {"affinity": "virtual:load-balancer", "attributes": [], "cidr": RANGE}


def spec(service_load_balancer_cidr: str) -> dict[str, Any]:
    return pool_spec(IPv4Network(service_load_balancer_cidr) if service_load_balancer_cidr else None)


def state(*, pool: str = RANGE, **changed: Any) -> LoadBalancerAddressesState:
    return LoadBalancerAddressesState(**{"pools": {POOL: spec(pool)}, "bgp": BGP, **changed})


def commands(found: LoadBalancerAddressesState, service_load_balancer_cidr: str) -> list[str]:
    made = pool_commands(state=found, pool=POOL, spec=spec(service_load_balancer_cidr))
    return [str(command.get_raw_value()) for command in made]


def applied(command: str) -> dict[str, Any]:
    """Return the object that a command applies."""
    assert "kubectl" in command and " apply " in command
    manifest: dict[str, Any] = json.loads(shlex.split(command)[2])
    return manifest


@pytest.mark.parametrize(
    ("service_load_balancer_cidr", "block_size"),
    [("192.0.2.0/24", 26), ("192.0.2.0/26", 26), (RANGE, 28), ("192.0.2.7/32", 32)],
)
def test_a_pool_holds_a_whole_block(service_load_balancer_cidr: str, block_size: int) -> None:
    assert spec(service_load_balancer_cidr)["blockSize"] == block_size


def test_a_range_makes_a_pool_that_only_load_balancers_use() -> None:
    bgp, pool = map(applied, commands(LoadBalancerAddressesState(), RANGE))
    assert bgp["metadata"] == {"name": "default"}
    assert bgp["spec"] == {"serviceLoadBalancerIPs": [{"cidr": RANGE}]}
    assert pool["apiVersion"] == "crd.projectcalico.org/v1"
    assert pool["spec"]["cidr"] == RANGE
    assert pool["spec"]["allowedUses"] == ["LoadBalancer"]
    # The controller panics without this field.
    assert pool["spec"]["assignmentMode"] == "Automatic"


@pytest.mark.parametrize(
    ("found", "service_load_balancer_cidr"),
    [
        (LoadBalancerAddressesState(), ""),
        (state(), RANGE),
        (state(blocks={"10-214-7-0-28": BLOCK}), RANGE),
        (LoadBalancerAddressesState(bgp={"default": {"asNumber": 64512}}), ""),
    ],
)
def test_nothing_is_done_when_nothing_differs(
    found: LoadBalancerAddressesState, service_load_balancer_cidr: str
) -> None:
    assert commands(found, service_load_balancer_cidr) == []


@pytest.mark.parametrize("wanted", ["", "10.214.8.0/28", "10.214.7.0/27"])
def test_a_range_in_use_is_not_removed(wanted: str) -> None:
    (command,) = commands(state(blocks={"10-214-7-0-28": BLOCK}), wanted)
    _, message, _, *ending = shlex.split(command)
    assert f"service_load_balancer_cidr: {RANGE} cannot be removed" in message
    assert "(default/web)" in message
    assert ending == ["exit", "1"]


def test_a_removed_range_leaves_nothing() -> None:
    other = {"10-214-9-0-26": BLOCK | {"cidr": "10.214.9.0/26"}}
    bgp, deletion = commands(state(blocks={"10-214-7-0-28": EMPTY_BLOCK, **other}), "")
    assert applied(bgp)["spec"] == {"serviceLoadBalancerIPs": []}
    assert shlex.split(deletion)[-3:] == [
        "ipamblocks.crd.projectcalico.org/10-214-7-0-28",
        "blockaffinities.crd.projectcalico.org/load-balancer-10-214-7-0-28",
        f"ippools.crd.projectcalico.org/{POOL}",
    ]


def test_another_range_replaces_the_first() -> None:
    bgp, deletion, pool = commands(state(), "10.214.8.0/24")
    assert applied(bgp)["spec"] == {"serviceLoadBalancerIPs": [{"cidr": "10.214.8.0/24"}]}
    assert " delete " in deletion
    assert applied(pool)["spec"]["cidr"] == "10.214.8.0/24"


def test_networks_that_the_user_announces_stay() -> None:
    users = {"cidr": "203.0.113.0/24"}
    found = state(bgp={"default": {"serviceLoadBalancerIPs": [users, {"cidr": RANGE}]}})
    bgp, _ = commands(found, "")
    assert applied(bgp)["spec"] == {"serviceLoadBalancerIPs": [users]}


def test_a_pool_that_was_changed_by_hand_is_repaired_in_place() -> None:
    found = state(pools={POOL: spec(RANGE) | {"disabled": True}}, blocks={"10-214-7-0-28": BLOCK})
    _, pool = map(applied, commands(found, RANGE))
    assert pool["spec"] == spec(RANGE)


def test_the_output_of_kubectl_is_parsed() -> None:
    found = LoadBalancerAddresses().process(
        [
            'IPPool|default-ipv4-ippool|{"cidr":"10.244.0.0/16"}',
            f"IPPool|{POOL}|{json.dumps(spec(RANGE))}",
            "BGPConfiguration|default|",
            f"IPAMBlock|10-214-7-0-28|{json.dumps(BLOCK)}",
        ]
    )
    assert found.pools[POOL] == spec(RANGE)
    assert found.announced == []
    assert found.services_of(POOL) == ["default/web"]


def test_the_lab_routes_a_range_to_the_first_control_plane() -> None:
    def host(name: str, group: str, **data: str) -> Host:
        return Host(
            name=name, address=f"10.213.0.{len(name)}", cluster="k", group=group, debian=12, data=data
        )

    hosts = [
        host("k-worker-1", "workers", service_load_balancer_cidr=RANGE),
        host("k-control-plane-1", "control_plane", service_load_balancer_cidr=RANGE),
        host("k-control-plane-20", "control_plane", service_load_balancer_cidr=RANGE),
        host("other-control-plane-1", "control_plane"),
    ]
    assert service_load_balancer_cidrs(hosts) == {RANGE: "10.213.0.17"}
