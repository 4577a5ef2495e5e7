"""Addresses for Services of type LoadBalancer: what is done to Calico's pool, from what was found."""

import json
import shlex
from typing import Any

import pytest

from kubeadm_deploys.facts.calico import LoadBalancerAddresses, LoadBalancerAddressesState
from kubeadm_deploys.load_balancers import POOL, pool_spec
from kubeadm_deploys.operations.calico import pool_commands
from tests.lab.host import Host, load_balancer_ranges

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


def state(*, pool: str = RANGE, **changed: Any) -> LoadBalancerAddressesState:
    return LoadBalancerAddressesState(**{"pools": {POOL: pool_spec(pool)}, "bgp": BGP, **changed})


def commands(found: LoadBalancerAddressesState, load_balancer_range: str) -> list[str]:
    made = pool_commands(state=found, pool=POOL, spec=pool_spec(load_balancer_range))
    return [str(command.get_raw_value()) for command in made]


def applied(command: str) -> dict[str, Any]:
    """The object that a command applies."""
    assert "kubectl" in command and " apply " in command
    manifest: dict[str, Any] = json.loads(shlex.split(command)[2])
    return manifest


@pytest.mark.parametrize(
    ("load_balancer_range", "block_size"),
    [("192.0.2.0/24", 26), ("192.0.2.0/26", 26), (RANGE, 28), ("192.0.2.7/32", 32)],
)
def test_a_pool_holds_a_whole_block(load_balancer_range: str, block_size: int) -> None:
    assert pool_spec(load_balancer_range)["blockSize"] == block_size


def test_a_range_makes_a_pool_that_only_load_balancers_use() -> None:
    bgp, pool = map(applied, commands(LoadBalancerAddressesState(), RANGE))
    assert bgp["metadata"] == {"name": "default"}
    assert bgp["spec"] == {"serviceLoadBalancerIPs": [{"cidr": RANGE}]}
    assert pool["apiVersion"] == "crd.projectcalico.org/v1"
    assert pool["spec"]["cidr"] == RANGE
    assert pool["spec"]["allowedUses"] == ["LoadBalancer"]
    # The controller ends in a panic when this one is missing.
    assert pool["spec"]["assignmentMode"] == "Automatic"


@pytest.mark.parametrize(
    ("found", "load_balancer_range"),
    [
        (LoadBalancerAddressesState(), ""),
        (state(), RANGE),
        (state(blocks={"10-214-7-0-28": BLOCK}), RANGE),
        (LoadBalancerAddressesState(bgp={"default": {"asNumber": 64512}}), ""),
    ],
)
def test_nothing_is_done_when_all_is_there(
    found: LoadBalancerAddressesState, load_balancer_range: str
) -> None:
    assert commands(found, load_balancer_range) == []


@pytest.mark.parametrize("wanted", ["", "10.214.8.0/28", "10.214.7.0/27"])
def test_a_range_in_use_is_not_given_up(wanted: str) -> None:
    (command,) = commands(state(blocks={"10-214-7-0-28": BLOCK}), wanted)
    _, message, _, *ending = shlex.split(command)
    assert f"load_balancer_range: {RANGE} cannot be given up" in message
    assert "(default/web)" in message
    assert ending == ["exit", "1"]


def test_a_range_that_is_given_up_leaves_nothing() -> None:
    other = {"10-214-9-0-26": BLOCK | {"cidr": "10.214.9.0/26"}}
    bgp, deletion = commands(state(blocks={"10-214-7-0-28": EMPTY_BLOCK, **other}), "")
    assert applied(bgp)["spec"] == {"serviceLoadBalancerIPs": []}
    assert shlex.split(deletion)[-3:] == [
        "ipamblocks.crd.projectcalico.org/10-214-7-0-28",
        "blockaffinities.crd.projectcalico.org/load-balancer-10-214-7-0-28",
        f"ippools.crd.projectcalico.org/{POOL}",
    ]


def test_another_range_takes_the_place_of_the_first() -> None:
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
    found = state(pools={POOL: pool_spec(RANGE) | {"disabled": True}}, blocks={"10-214-7-0-28": BLOCK})
    _, pool = map(applied, commands(found, RANGE))
    assert pool["spec"] == pool_spec(RANGE)


def test_what_kubectl_prints_is_understood() -> None:
    found = LoadBalancerAddresses().process(
        [
            'IPPool|default-ipv4-ippool|{"cidr":"10.244.0.0/16"}',
            f"IPPool|{POOL}|{json.dumps(pool_spec(RANGE))}",
            "BGPConfiguration|default|",
            f"IPAMBlock|10-214-7-0-28|{json.dumps(BLOCK)}",
        ]
    )
    assert found.pools[POOL] == pool_spec(RANGE)
    assert found.announced == []
    assert found.services_of(POOL) == ["default/web"]


def test_the_lab_leads_a_range_to_the_first_control_plane() -> None:
    def host(name: str, group: str, **data: str) -> Host:
        return Host(
            name=name, address=f"10.213.0.{len(name)}", cluster="k", group=group, debian=12, data=data
        )

    hosts = [
        host("k-worker-1", "workers", load_balancer_range=RANGE),
        host("k-control-plane-1", "control_plane", load_balancer_range=RANGE),
        host("k-control-plane-20", "control_plane", load_balancer_range=RANGE),
        host("other-control-plane-1", "control_plane"),
    ]
    assert load_balancer_ranges(hosts) == {RANGE: "10.213.0.17"}
