"""The steps of a plan, from a description and a project; without any API."""

import dataclasses
from typing import Any

from kubeadm_deploys.hetzner.api.project import Firewall, Network, PlacementGroup, Project
from kubeadm_deploys.hetzner.api.steps import Ref
from kubeadm_deploys.hetzner.servers import wanted
from kubeadm_deploys.hetzner.servers.description import Pool
from kubeadm_deploys.hetzner.servers.plan import needs_catalogue
from tests.support.hetzner_plan import LABELS, described, doings, planned, project, server


def test_a_project_as_described_needs_no_steps_and_no_catalogue() -> None:
    current = project(described())
    assert not needs_catalogue(described(), current)
    plan = planned(described(), current, catalogue=None)
    assert (plan.steps, plan.differences, plan.unmanaged) == ((), (), ())


def test_a_new_cluster_is_created_in_an_order_that_works() -> None:
    plan = planned(described(control_plane={"count": 3}), Project())
    assert doings(plan) == [
        "create SSH key demo (~/.ssh/id_ed25519.pub)",
        "create network demo (10.0.0.0/16 in eu-central)",
        "create firewall demo (SSH from 0.0.0.0/0, ::/0; API from 0.0.0.0/0, ::/0; NodePorts from nobody)",
        "create placement group demo-control-plane-1 (spread)",
        "create placement group demo-worker-1 (spread)",
        "create server demo-control-plane-1 (cx23, debian-13, fsn1)",
        "create server demo-control-plane-2 (cx23, debian-13, fsn1)",
        "create server demo-control-plane-3 (cx23, debian-13, fsn1)",
        "create server demo-worker-1 (cx23, debian-13, fsn1)",
        "create load balancer demo (lb11, public and private, TCP 6443)",
    ]
    assert [step.phase for step in plan.steps] == [1] * 5 + [2] * 4 + [3]
    body = plan.steps[5].body
    assert body is not None
    assert body["networks"] == [Ref("network", "demo")]
    assert body["placement_group"] == Ref("placement_group", "demo-control-plane-1")
    assert body["ssh_keys"] == ["demo"]


def test_the_firewall_only_allows_the_described_sources() -> None:
    rules = wanted.firewall_rules(described(ssh_from=["203.0.113.7/32"], api_from=["198.51.100.0/24"]))
    assert {(rule.protocol, rule.port, *rule.peers) for rule in rules} == {
        ("tcp", "22", "203.0.113.7/32"),
        ("tcp", "6443", "198.51.100.0/24"),
        ("icmp", "", "203.0.113.7/32"),
        ("icmp", "", "198.51.100.0/24"),
    }


def test_node_ports_are_opened_if_described() -> None:
    rules = wanted.firewall_rules(described(node_ports_from=["203.0.113.0/24"]))
    assert {(rule.protocol, rule.port) for rule in rules if rule.peers == {"203.0.113.0/24"}} == {
        ("tcp", "30000-32767"),
        ("udp", "30000-32767"),
    }


def test_a_key_is_found_by_its_fingerprint() -> None:
    plan = planned(described(worker_pools={"worker": {"count": 2}}), project(described()))
    assert doings(plan) == ["create server demo-worker-2 (cx23, debian-13, fsn1)"]
    assert plan.steps[0].body is not None and plan.steps[0].body["ssh_keys"] == ["laptop"]
    assert plan.known[Ref("network", "demo")] == 1


def test_new_servers_use_free_numbers_and_no_surplus_is_created() -> None:
    described_two = described(worker_pools={"worker": {"count": 2}})
    control_plane = server("demo-control-plane-1", pool="control-plane", number=0)
    first, third = server("demo-worker-1"), server("demo-worker-3", number=3)
    assert doings(planned(described_two, project(described_two, control_plane, first, third))) == []
    assert doings(planned(described_two, project(described_two, control_plane, third))) == [
        "create server demo-worker-1 (cx23, debian-13, fsn1)"
    ]


def test_new_servers_join_a_placement_group_with_room() -> None:
    big = described(worker_pools={"worker": {"count": 4}})
    full = PlacementGroup(id=31, name="demo-worker-1", labels=LABELS, servers=tuple(range(9)))
    plan = planned(big, project(big, placement_groups=(full,)))
    groups = [
        step.body["placement_group"] for step in plan.steps if step.body and "placement_group" in step.body
    ]
    assert groups == [Ref("placement_group", f"demo-worker-{number}") for number in (1, 2, 2)]
    assert "create placement group demo-worker-2 (spread)" in doings(plan)


def test_incomplete_resources_are_completed() -> None:
    several = described(control_plane={"count": 1}, worker_pools={})
    current = project(
        several,
        server("demo-control-plane-1", pool="control-plane", networks=()),
        networks=(Network(id=1, name="demo", labels=LABELS, ip_range="10.0.0.0/16", subnets=()),),
        firewalls=(Firewall(id=2, name="demo", labels=LABELS, rules=(), selectors=()),),
    )
    assert [(step.phase, step.path) for step in planned(several, current).steps] == [
        (1, "/networks/1/actions/add_subnet"),
        (0, "/firewalls/2/actions/set_rules"),
        (1, "/firewalls/2/actions/apply_to_resources"),
        (2, "/servers/101/actions/attach_to_network"),
    ]


def test_an_incomplete_load_balancer_is_completed_in_order() -> None:
    three = described(control_plane={"count": 3}, worker_pools={})
    servers = [server(f"demo-control-plane-{n}", pool="control-plane", number=n) for n in (1, 2, 3)]
    whole = project(three, *servers)
    bare = dataclasses.replace(whole.load_balancers[0], networks=(), services=(), selectors=())
    assert [
        (step.phase, step.path)
        for step in planned(three, dataclasses.replace(whole, load_balancers=(bare,))).steps
    ] == [
        (2, "/load_balancers/3/actions/attach_to_network"),
        (4, "/load_balancers/3/actions/add_service"),
        (5, "/load_balancers/3/actions/add_target"),
    ]


def test_servers_belong_to_a_pool_by_label_or_else_by_name() -> None:
    description = described(worker_pools={"a": {}, "a-1": {}})
    _, a, a_1 = description.pools
    bare: dict[str, Any] = {"labels": LABELS}
    assert wanted.pool_of(server("demo-a-1", **bare), description) == a
    assert wanted.pool_of(server("demo-a-1-1", **bare), description) == a_1
    assert wanted.pool_of(server("odd", pool="a"), description) == a
    assert wanted.pool_of(server("demo-a-1", pool="b"), description) is None
    assert wanted.pool_of(server("demo-b-1", **bare), description) is None


def test_pool_labels_never_replace_cluster_labels() -> None:
    pool = Pool(name="w", role="worker", count=1, server_type="cx23", labels={"disk": "fast"})
    assert wanted.server_labels(described(), pool) == {
        "disk": "fast",
        "kubeadm-deploys/cluster": "demo",
        "kubeadm-deploys/role": "worker",
        "kubeadm-deploys/pool": "w",
    }
