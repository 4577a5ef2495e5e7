"""From a description and what is there to a plan: pure, without any API."""

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from kubeadm_deploys.errors import InputError
from kubeadm_deploys.hetzner import wanted
from kubeadm_deploys.hetzner.description import ClusterDescription, Pool
from kubeadm_deploys.hetzner.description_file import describe
from kubeadm_deploys.hetzner.destroy import choose_doomed, delete_steps
from kubeadm_deploys.hetzner.plan import Plan, make_plan, needs_catalogue
from kubeadm_deploys.hetzner.plan_text import plan_lines
from kubeadm_deploys.hetzner.project import (
    Catalogue,
    Firewall,
    LoadBalancer,
    Network,
    PlacementGroup,
    Price,
    Prices,
    Project,
    Rule,
    Server,
    ServerType,
    SshKey,
    Volume,
)
from kubeadm_deploys.hetzner.steps import Ref
from tests.hetzner_cluster import PUBLIC_KEY

LABELS = {"kubeadm-deploys/cluster": "demo"}
SELECTOR = "kubeadm-deploys/cluster=demo"

PRICES = Prices(
    currency="EUR",
    server_types={
        (name, "fsn1"): Price(net=Decimal(net), gross=Decimal(net) * 2)
        for name, net in (("cx23", 3), ("cx33", 5))
    },
    load_balancer_types={("lb11", "fsn1"): Price(net=Decimal(7), gross=Decimal(14))},
    public_ipv4={"fsn1": Price(net=Decimal("0.5"), gross=Decimal(1))},
)

CATALOGUE = Catalogue(
    server_types={
        "cx23": ServerType(name="cx23", architecture="x86", locations=("fsn1", "nbg1")),
        "cx33": ServerType(name="cx33", architecture="x86", locations=("nbg1",)),
        "cax11": ServerType(name="cax11", architecture="arm", locations=("fsn1",)),
    },
    zones={"fsn1": "eu-central", "nbg1": "eu-central", "ash": "us-east"},
    image_architectures=frozenset(["x86"]),
    server_names=frozenset(),
)


def described(**settings: object) -> ClusterDescription:
    return describe({"cluster_name": "demo", "hetzner": settings})


def server(name: str, *, pool: str = "worker", number: int = 1, **changes: Any) -> Server:
    role = "control-plane" if pool == "control-plane" else "worker"
    values: dict[str, Any] = {
        "id": 100 + number,
        "name": name,
        "labels": {**LABELS, "kubeadm-deploys/role": role, "kubeadm-deploys/pool": pool},
        "server_type": "cx23",
        "location": "fsn1",
        "image": "debian-13",
        "status": "running",
        "networks": (1,),
        "placement_group": 31,
        **changes,
    }
    return Server(**values)


def project(description: ClusterDescription, *servers: Server, **changes: object) -> Project:
    """A project in which everything is as described, the default servers included unless others are given."""
    firewall = Firewall(
        id=2, name="demo", labels=LABELS, rules=wanted.firewall_rules(description), selectors=(SELECTOR,)
    )
    balancer = LoadBalancer(
        id=3,
        name="demo",
        labels=LABELS,
        load_balancer_type="lb11",
        location="fsn1",
        networks=(1,),
        services=(wanted.API_SERVICE,),
        selectors=(f"{SELECTOR},kubeadm-deploys/role=control-plane",),
        is_public=True,
    )
    whole = Project(
        ssh_keys=(SshKey(id=9, name="laptop", labels={}, fingerprint=wanted.fingerprint(PUBLIC_KEY)),),
        networks=(
            Network(
                id=1,
                name="demo",
                labels=LABELS,
                ip_range="10.0.0.0/16",
                subnets=(("10.0.0.0/16", "eu-central"),),
            ),
        ),
        firewalls=(firewall,),
        placement_groups=(PlacementGroup(id=31, name="demo-worker-1", labels=LABELS, servers=(101,)),),
        servers=servers
        or (server("demo-control-plane-1", pool="control-plane", number=0), server("demo-worker-1")),
        load_balancers=(balancer,) if description.has_load_balancer else (),
    )
    return dataclasses.replace(whole, **changes)  # type: ignore[arg-type]


def planned(
    description: ClusterDescription, there: Project, *, catalogue: Catalogue | None = CATALOGUE
) -> Plan:
    return make_plan(
        description=description, public_key=PUBLIC_KEY, project=there, prices=PRICES, catalogue=catalogue
    )


def doings(plan: Plan) -> list[str]:
    return [f"{step.doing} ({step.details})" for step in plan.steps]


def refused(description: ClusterDescription, there: Project, **changes: object) -> str:
    catalogue = dataclasses.replace(CATALOGUE, **changes)  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        planned(description, there, catalogue=catalogue)
    return str(caught.value)


def test_what_is_as_described_needs_nothing_not_even_the_catalogue() -> None:
    there = project(described())
    assert not needs_catalogue(described(), there)
    plan = planned(described(), there, catalogue=None)
    assert (plan.steps, plan.differences, plan.surplus) == ((), (), ())


def test_everything_is_made_from_nothing_in_an_order_that_works() -> None:
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


def test_the_firewall_lets_in_only_what_is_asked_for() -> None:
    rules = wanted.firewall_rules(described(ssh_from=["203.0.113.7/32"], api_from=["198.51.100.0/24"]))
    assert {(rule.protocol, rule.port, *rule.peers) for rule in rules} == {
        ("tcp", "22", "203.0.113.7/32"),
        ("tcp", "6443", "198.51.100.0/24"),
        ("icmp", "", "203.0.113.7/32"),
        ("icmp", "", "198.51.100.0/24"),
    }


def test_node_ports_are_opened_when_asked_for() -> None:
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


def test_free_numbers_are_used_and_enough_servers_are_enough() -> None:
    described_two = described(worker_pools={"worker": {"count": 2}})
    control_plane = server("demo-control-plane-1", pool="control-plane", number=0)
    first, third = server("demo-worker-1"), server("demo-worker-3", number=3)
    assert doings(planned(described_two, project(described_two, control_plane, first, third))) == []
    assert doings(planned(described_two, project(described_two, control_plane, third))) == [
        "create server demo-worker-1 (cx23, debian-13, fsn1)"
    ]


def test_new_servers_go_where_a_placement_group_has_room() -> None:
    big = described(worker_pools={"worker": {"count": 4}})
    full = PlacementGroup(id=31, name="demo-worker-1", labels=LABELS, servers=tuple(range(9)))
    plan = planned(big, project(big, placement_groups=(full,)))
    groups = [
        step.body["placement_group"] for step in plan.steps if step.body and "placement_group" in step.body
    ]
    assert groups == [Ref("placement_group", f"demo-worker-{number}") for number in (1, 2, 2)]
    assert "create placement group demo-worker-2 (spread)" in doings(plan)


def test_half_made_things_are_completed() -> None:
    several = described(control_plane={"count": 1}, worker_pools={})
    there = project(
        several,
        server("demo-control-plane-1", pool="control-plane", networks=()),
        networks=(Network(id=1, name="demo", labels=LABELS, ip_range="10.0.0.0/16", subnets=()),),
        firewalls=(Firewall(id=2, name="demo", labels=LABELS, rules=(), selectors=()),),
    )
    assert [(step.phase, step.path) for step in planned(several, there).steps] == [
        (1, "/networks/1/actions/add_subnet"),
        (0, "/firewalls/2/actions/set_rules"),
        (1, "/firewalls/2/actions/apply_to_resources"),
        (2, "/servers/101/actions/attach_to_network"),
    ]


def test_a_half_made_load_balancer_is_completed_in_order() -> None:
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


def test_a_users_own_rules_are_kept_and_told() -> None:
    own = Rule(description="", protocol="tcp", port="80", peers=frozenset(["0.0.0.0/0"]))
    wall = Firewall(id=2, name="demo", labels=LABELS, rules=(own,), selectors=(SELECTOR,))
    plan = planned(described(), project(described(), firewalls=(wall,)))
    [step] = plan.steps
    assert step.body is not None and wanted.rule_body(own) in step.body["rules"]
    assert plan.differences == (
        "firewall demo lets in tcp 80 besides what is described; to close it: hcloud firewall delete-rule "
        "--direction in --protocol tcp --port 80 --source-ips 0.0.0.0/0 demo",
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
def test_a_server_that_differs_is_told_with_the_command_and_left_alone(
    changes: dict[str, Any], command: str
) -> None:
    control_plane = server("demo-control-plane-1", pool="control-plane", number=0)
    plan = planned(described(), project(described(), control_plane, server("demo-worker-1", **changes)))
    assert plan.steps == ()
    [told] = plan.differences
    assert command in told


def test_other_things_that_differ_are_told_with_the_command() -> None:
    three = described(control_plane={"count": 3}, network="10.0.0.0/12", api_from=["203.0.113.0/24"])
    there = project(three)
    odd = dataclasses.replace(wanted.API_SERVICE, check_path="/livez")
    balancer = dataclasses.replace(there.load_balancers[0], load_balancer_type="lb21", services=(odd,))
    told = "\n".join(planned(three, dataclasses.replace(there, load_balancers=(balancer,))).differences)
    assert "hcloud network change-ip-range --ip-range 10.0.0.0/12 demo" in told
    assert "hcloud load-balancer change-type demo lb11" in told
    assert "hcloud load-balancer disable-public-interface demo" in told
    assert "hcloud load-balancer update-service --listen-port 6443" in told


@pytest.mark.parametrize("described_range", ["10.1.0.0/16", "10.0.0.0/17"])
def test_a_network_that_cannot_become_what_is_described(described_range: str) -> None:
    [told] = planned(described(network=described_range), project(described())).differences
    assert "it cannot be moved or made smaller, so write 10.0.0.0/16 into hetzner.network again" in told
    assert "hcloud" not in told


@pytest.mark.parametrize("changes", [{"location": "nbg1"}, {"image": "debian-12"}])
def test_nobody_is_told_to_delete_the_only_control_plane(changes: dict[str, Any]) -> None:
    only = server("demo-control-plane-1", pool="control-plane", number=0, **changes)
    [told] = planned(described(), project(described(), only, server("demo-worker-1"))).differences
    assert "it is the only control plane" in told and "hcloud" not in told


def test_servers_that_are_too_many_are_named_with_how_to_remove_them() -> None:
    fewer = described(control_plane={"count": 1}, worker_pools={"worker": {"count": 0}})
    there = project(
        fewer,
        server("demo-control-plane-1", pool="control-plane", number=1),
        server("demo-control-plane-2", pool="control-plane", number=2),
        server("demo-worker-1", number=3),
        server("demo-gone-1", pool="gone", number=4),
    )
    plan = planned(fewer, there)
    assert plan.steps == ()
    assert [text.partition(" ")[2].partition(" ")[0].rstrip(":") for text in plan.surplus] == [
        "demo-control-plane-2",
        "demo-worker-1",
        "demo-gone-1",
    ]
    assert (
        "kubectl drain demo-control-plane-2 --ignore-daemonsets --delete-emptydir-data && "
        "ssh -F .kubeadm-deploys/demo/ssh_config demo-control-plane-2 kubeadm reset --force && "
        "kubectl delete node demo-control-plane-2 && "
        "hcloud server delete demo-control-plane-2"
    ) in plan.surplus[0]
    assert "kubeadm reset" not in plan.surplus[1]


def test_a_load_balancer_that_is_no_longer_needed_is_told() -> None:
    balancer = project(described(control_plane={"count": 3})).load_balancers
    plan = planned(described(), project(described(), load_balancers=balancer))
    assert plan.steps == ()
    assert "hcloud load-balancer delete demo" in plan.surplus[0]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"location": "fsn"},
            "hetzner.location: 'fsn' is not a location; did you mean fsn1? Else choose one of",
        ),
        (
            {"control_plane": {"type": "cx33"}},
            "hetzner.control_plane.type: 'cx33' cannot be had in fsn1 now, but in nbg1; in fsn1 choose cx23, cax11",
        ),
        ({"control_plane": {"type": "cx99"}}, "hetzner.control_plane.type: 'cx99' is not a server type"),
        ({"control_plane": {"type": "cax11"}}, "hetzner.image: 'debian-13' does not exist for arm"),
    ],
)
def test_what_cannot_be_ordered_is_refused(settings: dict[str, object], words: str) -> None:
    assert words in refused(described(**settings), Project())


def test_a_type_that_is_going_is_a_warning() -> None:
    leaving = dataclasses.replace(CATALOGUE.server_types["cx23"], leaving={"fsn1": "2027-01-01"})
    catalogue = dataclasses.replace(CATALOGUE, server_types={"cx23": leaving})
    assert planned(described(), Project(), catalogue=catalogue).warnings == (
        "cx23 can be ordered in fsn1 until 2027-01-01 only; choose a newer type",
    )


def test_a_missing_image_is_refused() -> None:
    assert "'debian-13' is not an image" in refused(described(), Project(), image_architectures=frozenset())


def test_a_snapshot_is_taken_at_its_word() -> None:
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
    there = project(described(), server("demo-control-plane-1", pool="control-plane"))
    assert "'ash' is in the zone us-east, the cluster's subnet 10.0.0.0/16 in eu-central" in refused(
        described(location="ash"), there, server_types=types
    )


def test_names_without_the_label_are_not_touched() -> None:
    foreign = {"kubeadm-deploys/cluster": "other"}
    there = project(described(control_plane={"count": 3}))
    there = dataclasses.replace(
        there,
        networks=(dataclasses.replace(there.networks[0], labels={}),),
        firewalls=(dataclasses.replace(there.firewalls[0], labels=foreign),),
        load_balancers=(dataclasses.replace(there.load_balancers[0], labels={}),),
        servers=(),
        placement_groups=(dataclasses.replace(there.placement_groups[0], labels={}),),
        ssh_keys=(SshKey(id=9, name="demo", labels=LABELS, fingerprint="another"),),
    )
    told = refused(
        described(control_plane={"count": 3}), there, server_names=frozenset(["demo-worker-1", "unrelated"])
    )
    for words in (
        "network 'demo'",
        "firewall 'demo'",
        "load balancer 'demo'",
        "placement group 'demo-worker-1'",
        "server 'demo-worker-1'",
        "SSH key 'demo' is another one",
        "hcloud load-balancer add-label demo kubeadm-deploys/cluster=demo",
    ):
        assert words in told
    assert "unrelated" not in told


def test_the_cost_counts_servers_addresses_and_the_load_balancer() -> None:
    three = described(control_plane={"count": 3})
    there = project(three, server("demo-worker-1"), load_balancers=())
    cost = planned(three, there).cost
    assert (cost.now.net, cost.now.gross) == (Decimal("3.5"), Decimal(7))
    assert (cost.added.net, cost.added.gross) == (Decimal("17.5"), Decimal(35))
    [line] = [line for line in plan_lines(planned(three, there)) if line.startswith("Cost a month")]
    assert "21.00 EUR net (42.00 gross), of which this run adds 17.50 EUR net (35.00 gross)" in line


def test_a_type_without_a_price_is_told() -> None:
    odd = server("demo-worker-1", server_type="cx11")
    plan = planned(
        described(), project(described(), server("demo-control-plane-1", pool="control-plane"), odd)
    )
    assert "the API names no price for cx11" in list(plan_lines(plan))[-1]


def test_the_text_of_a_plan() -> None:
    fewer = described(control_plane={"count": 2}, worker_pools={"worker": {"count": 0}})
    there = project(
        fewer, server("demo-control-plane-1", pool="control-plane", status="off"), server("demo-worker-1")
    )
    lines = list(plan_lines(planned(fewer, there)))
    assert lines[0].startswith("Warning: control_plane.count: 2 control planes")
    assert lines[1:4] == [
        "To do:",
        "  + create placement group demo-control-plane-1 (spread)",
        "  + create server demo-control-plane-2 (cx23, debian-13, fsn1)",
    ]
    assert lines[4] == "More than described, and left alone:" and lines[5].startswith(
        "  - server demo-worker-1:"
    )
    assert lines[6] == "Otherwise than described, and left alone:"
    assert lines[7].startswith("  ! server demo-control-plane-1 is off")


def test_a_pool_knows_its_servers_by_label_and_else_by_name() -> None:
    description = described(worker_pools={"a": {}, "a-1": {}})
    a, a_1 = description.worker_pools
    bare: dict[str, Any] = {"labels": LABELS}
    assert wanted.pool_of(server("demo-a-1", **bare), description) == a
    assert wanted.pool_of(server("demo-a-1-1", **bare), description) == a_1
    assert wanted.pool_of(server("odd", pool="a"), description) == a
    assert wanted.pool_of(server("demo-a-1", pool="b"), description) is None
    assert wanted.pool_of(server("demo-b-1", **bare), description) is None


def test_pool_labels_never_replace_the_clusters() -> None:
    pool = Pool(name="w", role="worker", labels={"disk": "fast"})
    assert wanted.server_labels(described(), pool) == {
        "disk": "fast",
        "kubeadm-deploys/cluster": "demo",
        "kubeadm-deploys/role": "worker",
        "kubeadm-deploys/pool": "w",
    }


def balancer(number: int, **changes: object) -> LoadBalancer:
    values: dict[str, Any] = {
        "id": number,
        "name": f"lb-{number}",
        "labels": {},
        "load_balancer_type": "lb11",
        "location": "fsn1",
        "networks": (),
        "services": (),
        "selectors": (),
        **changes,
    }
    return LoadBalancer(**values)


def volume(number: int, **changes: object) -> Volume:
    values: dict[str, Any] = {
        "id": number,
        "name": f"v-{number}",
        "labels": {},
        "size": 10,
        "server": None,
    }
    return Volume(**{**values, **changes})


def test_deleted_is_what_is_labelled_and_what_the_cluster_made() -> None:
    made_by_controller = {"hcloud-ccm/service-uid": "x"}
    there = project(
        described(),
        load_balancers=(
            balancer(1, labels=LABELS),
            balancer(2, networks=(1,)),
            balancer(3, labels=made_by_controller, servers=(101,)),
            balancer(4, labels=made_by_controller, servers=(999,)),
            balancer(5, servers=(101,)),
        ),
    )
    found = choose_doomed(
        cluster_name="demo",
        project=there,
        volumes=(volume(1, labels=LABELS), volume(2, server=101), volume(3, server=7)),
    )
    assert [one.id for one in found.project.load_balancers] == [1, 2, 3]
    assert [one.id for one in found.volumes] == [1, 2]
    assert found.project.ssh_keys == ()


def test_users_are_deleted_before_what_they_use() -> None:
    found = choose_doomed(
        cluster_name="demo", project=project(described()), volumes=(volume(1, labels=LABELS, server=7),)
    )
    phases = {step.doing: step.phase for step in delete_steps(found)}
    assert phases["delete server demo-worker-1"] < phases["take firewall demo off its servers"]
    assert phases["take firewall demo off its servers"] < phases["delete firewall demo"]
    assert phases["delete server demo-worker-1"] < phases["delete network demo"]
    assert phases["detach volume v-1"] < phases["delete volume v-1"]
