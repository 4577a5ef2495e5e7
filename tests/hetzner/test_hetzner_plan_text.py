"""Texts and refusals of a plan: differences, unmanaged servers, impossible orders, cost; without any API."""

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from kubeadm_deploys.hetzner.api.project import Firewall, Project, Rule, ServerType, SshKey
from kubeadm_deploys.hetzner.servers import wanted
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.hetzner.servers.plan import make_plan
from kubeadm_deploys.hetzner.servers.plan_text import plan_lines
from kubeadm_deploys.model.errors import InputError
from tests.support.hetzner_cluster import PUBLIC_KEY
from tests.support.hetzner_plan import (
    CATALOGUE,
    LABELS,
    PRICES,
    SELECTOR,
    described,
    doings,
    planned,
    project,
    server,
)


def refused(description: ClusterDescription, current: Project, **changes: object) -> str:
    """Return the error for a description that cannot be planned; ``changes`` are those of the catalogue."""
    catalogue = dataclasses.replace(CATALOGUE, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        planned(description, current, catalogue=catalogue)
    return str(caught.value)


def test_a_users_own_firewall_rules_are_kept_and_reported() -> None:
    own = Rule(description="", protocol="tcp", port="80", peers=frozenset(["0.0.0.0/0"]))
    wall = Firewall(id=2, name="demo", labels=LABELS, rules=(own,), selectors=(SELECTOR,))
    plan = planned(described(), project(described(), firewalls=(wall,)))
    [step] = plan.steps
    assert step.body is not None and wanted.rule_body(own) in step.body["rules"]
    [difference] = plan.differences
    assert difference.startswith("firewall demo allows incoming tcp 80")
    assert difference.endswith(
        ": hcloud firewall delete-rule --direction in --protocol tcp --port 80 --source-ips 0.0.0.0/0 demo"
    )


@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({"server_type": "cx33"}, "hcloud server change-type --keep-disk demo-worker-1 cx23"),
        ({"location": "nbg1"}, "hcloud server delete demo-worker-1, then run this again"),
        ({"image": "debian-12"}, "hcloud server delete demo-worker-1, then run this again"),
        ({"status": "off"}, "hcloud server poweron demo-worker-1"),
        ({"placement_group": None}, "add-to-placement-group --placement-group demo-worker-1 demo-worker-1"),
        (
            {"labels": LABELS},
            "add-label --overwrite demo-worker-1 kubeadm-deploys/role=worker kubeadm-deploys/pool=wor",
        ),
    ],
)
def test_a_server_that_differs_is_reported_with_the_command_and_not_changed(
    changes: dict[str, Any], command: str
) -> None:
    control_plane = server("demo-control-plane-1", pool="control-plane", number=0)
    plan = planned(described(), project(described(), control_plane, server("demo-worker-1", **changes)))
    assert plan.steps == ()
    [difference] = plan.differences
    assert command in difference


def test_a_network_and_load_balancer_that_differ_are_reported_with_the_command() -> None:
    three = described(control_plane={"count": 3}, network="10.0.0.0/12", api_from=["203.0.113.0/24"])
    current = project(three)
    odd = dataclasses.replace(wanted.API_SERVICE, check_path="/livez")
    balancer = dataclasses.replace(current.load_balancers[0], load_balancer_type="lb21", services=(odd,))
    text = "\n".join(planned(three, dataclasses.replace(current, load_balancers=(balancer,))).differences)
    assert "hcloud network change-ip-range --ip-range 10.0.0.0/12 demo" in text
    assert "hcloud load-balancer change-type demo lb11" in text
    assert "hcloud load-balancer disable-public-interface demo" in text
    assert "hcloud load-balancer update-service --listen-port 6443" in text


@pytest.mark.parametrize("described_range", ["10.1.0.0/16", "10.0.0.0/17"])
def test_a_network_that_cannot_be_changed_to_its_description(described_range: str) -> None:
    [difference] = planned(described(network=described_range), project(described())).differences
    assert "set hetzner.network back to 10.0.0.0/16" in difference
    assert "hcloud" not in difference


@pytest.mark.parametrize("changes", [{"location": "nbg1"}, {"image": "debian-12"}])
def test_no_message_says_to_delete_the_only_control_plane(changes: dict[str, Any]) -> None:
    only = server("demo-control-plane-1", pool="control-plane", number=0, **changes)
    [difference] = planned(described(), project(described(), only, server("demo-worker-1"))).differences
    assert "it is the only control plane" in difference and "hcloud" not in difference


def test_unmanaged_servers_are_reported_with_how_to_remove_them() -> None:
    fewer = described(control_plane={"count": 1}, worker_pools={"worker": {"count": 0}})
    current = project(
        fewer,
        server("demo-control-plane-1", pool="control-plane", number=1),
        server("demo-control-plane-2", pool="control-plane", number=2),
        server("demo-worker-1", number=3),
        server("demo-gone-1", pool="gone", number=4),
    )
    plan = planned(fewer, current)
    assert plan.steps == ()
    assert [text.partition(" ")[2].partition(" ")[0].rstrip(":") for text in plan.unmanaged] == [
        "demo-control-plane-2",
        "demo-worker-1",
        "demo-gone-1",
    ]
    assert (
        "deploys/remove_node.py --data node=demo-control-plane-2, then hcloud server delete demo-control-plane-2"
    ) in plan.unmanaged[0]
    # A tool that knows nothing of etcd's majority is never named.
    assert not [text for text in plan.unmanaged if "kubeadm reset" in text or "kubectl" in text]


def test_a_load_balancer_that_is_no_longer_needed_is_reported() -> None:
    balancer = project(described(control_plane={"count": 3})).load_balancers
    plan = planned(described(), project(described(), load_balancers=balancer))
    assert plan.steps == ()
    assert "hcloud load-balancer delete demo" in plan.unmanaged[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"location": "fsn"},
            "hetzner.location: 'fsn' is not a location; did you mean fsn1? Otherwise choose one of",
        ),
        (
            {"control_plane": {"type": "cx33"}},
            "hetzner.control_plane.type: 'cx33' is not available in fsn1 now, only in nbg1; in fsn1 choose",
        ),
        ({"control_plane": {"type": "cx99"}}, "hetzner.control_plane.type: 'cx99' is not a server type"),
        ({"control_plane": {"type": "cax11"}}, "hetzner.image: 'debian-13' does not exist for arm"),
    ],
)
def test_impossible_orders_are_refused(settings: dict[str, object], words: str) -> None:
    assert words in refused(described(**settings), Project())


def test_a_server_type_that_will_be_withdrawn_is_a_warning() -> None:
    leaving = dataclasses.replace(CATALOGUE.server_types["cx23"], leaving={"fsn1": "2027-01-01"})
    catalogue = dataclasses.replace(CATALOGUE, server_types={"cx23": leaving})
    [warning] = planned(described(), Project(), catalogue=catalogue).warnings
    assert "cx23" in warning and "in fsn1 until 2027-01-01" in warning


def test_a_missing_image_is_refused() -> None:
    assert "'debian-13' is not an image" in refused(described(), Project(), image_architectures=frozenset())


def test_a_snapshot_id_is_not_checked() -> None:
    plan = make_plan(
        description=described(image="1234"),
        public_key=PUBLIC_KEY,
        project=Project(),
        prices=PRICES,
        catalogue=dataclasses.replace(CATALOGUE, image_architectures=frozenset()),
    )
    assert "create server demo-worker-1 (cx23, 1234, fsn1)" in doings(plan)


def test_a_location_in_another_zone_than_the_subnet_is_refused() -> None:
    types = {"cx23": ServerType(name="cx23", architecture="x86", locations=("ash",))}
    current = project(described(), server("demo-control-plane-1", pool="control-plane"))
    message = refused(described(location="ash"), current, server_types=types)
    assert "'ash' is in zone us-east, but the cluster's subnet 10.0.0.0/16 is in eu-central" in message


def test_names_of_resources_without_the_label_are_refused() -> None:
    foreign = {"kubeadm-deploys/cluster": "other"}
    current = project(described(control_plane={"count": 3}))
    current = dataclasses.replace(
        current,
        networks=(dataclasses.replace(current.networks[0], labels={}),),
        firewalls=(dataclasses.replace(current.firewalls[0], labels=foreign),),
        load_balancers=(dataclasses.replace(current.load_balancers[0], labels={}),),
        servers=(),
        placement_groups=(dataclasses.replace(current.placement_groups[0], labels={}),),
        ssh_keys=(SshKey(id=9, name="demo", labels=LABELS, fingerprint="another"),),
    )
    message = refused(
        described(control_plane={"count": 3}), current, server_names=frozenset(["demo-worker-1", "unrelated"])
    )
    for words in (
        "network 'demo'",
        "firewall 'demo'",
        "load balancer 'demo'",
        "placement group 'demo-worker-1'",
        "server 'demo-worker-1'",
        "SSH key 'demo'",
        "hcloud load-balancer add-label demo kubeadm-deploys/cluster=demo",
    ):
        assert words in message
    assert "unrelated" not in message


def test_the_cost_counts_servers_addresses_and_the_load_balancer() -> None:
    three = described(control_plane={"count": 3})
    current = project(three, server("demo-worker-1"), load_balancers=())
    cost = planned(three, current).cost
    assert (cost.now.net, cost.now.gross) == (Decimal("3.5"), Decimal(7))
    assert (cost.added.net, cost.added.gross) == (Decimal("17.5"), Decimal(35))
    [line] = [line for line in plan_lines(planned(three, current)) if line.startswith("Cost per month")]
    assert "21.00 EUR net (42.00 gross), of which this run adds 17.50 EUR net (35.00 gross)" in line


def test_a_server_type_without_a_price_is_reported() -> None:
    odd = server("demo-worker-1", server_type="cx11")
    plan = planned(
        described(), project(described(), server("demo-control-plane-1", pool="control-plane"), odd)
    )
    assert "no price for cx11" in list(plan_lines(plan))[-1]


def test_the_text_of_a_plan() -> None:
    fewer = described(control_plane={"count": 2}, worker_pools={"worker": {"count": 0}})
    current = project(
        fewer, server("demo-control-plane-1", pool="control-plane", status="off"), server("demo-worker-1")
    )
    lines = list(plan_lines(planned(fewer, current)))
    assert lines[0].startswith("Warning: control_plane.count: 2 control planes")
    assert lines[1:4] == [
        "To do:",
        "  + create placement group demo-control-plane-1 (spread)",
        "  + create server demo-control-plane-2 (cx23, debian-13, fsn1)",
    ]
    assert lines[4] == "Not in the description (kept):"
    assert lines[5].startswith("  - server demo-worker-1:")
    assert lines[6] == "Differs from the description (not changed):"
    assert lines[7].startswith("  ! server demo-control-plane-1 is off")
