"""Deletion plans: what is deleted, detached or kept, and in which order; without any API."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from kubeadm_deploys.hetzner.api.project import (
    Address,
    Firewall,
    LoadBalancer,
    Network,
    PlacementGroup,
    Project,
    Server,
    Volume,
)
from kubeadm_deploys.hetzner.servers.destroy import (
    DeletionPlan,
    delete_steps,
    plan_deletion,
    refuse_protected,
)
from kubeadm_deploys.model.errors import InputError
from tests.support.hetzner_plan import LABELS, SELECTOR, described, project, server

OTHER = {"kubeadm-deploys/cluster": "other"}
SERVICE = {"hcloud-ccm/service-uid": "x"}
BY_CSI = {"managed-by": "csi-driver", "pvc-name": "data", "pvc-namespace": "shop", "pv-name": "pvc-1"}
LACKS = "it lacks this cluster's label"
OUTSIDE = "server shop-1 outside this cluster"


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


def stranger(**changes: Any) -> Server:
    """Return a server in the project that does not belong to the cluster."""
    return server("shop-1", number=900, **{"labels": {}, "networks": (), "placement_group": None, **changes})


def firewall(**changes: Any) -> Firewall:
    values: dict[str, Any] = {
        "id": 2,
        "name": "demo",
        "labels": LABELS,
        "rules": (),
        "selectors": (SELECTOR,),
    }
    return Firewall(**{**values, **changes})


def chosen(
    *others: Server,
    volumes: Sequence[Volume] = (),
    addresses: Sequence[Address] = (),
    **changes: object,
) -> DeletionPlan:
    """Plan the deletion in a project with servers 100 and 101, network 1, firewall and placement group."""
    current = project(described(), **changes)
    return plan_deletion(
        cluster_name="demo",
        project=current,
        servers=[*current.servers, *others],
        volumes=volumes,
        addresses=addresses,
    )


def detached(found: DeletionPlan) -> list[str]:
    return [detachment.line for detachment in found.detached]


def test_resources_with_the_label_are_deleted() -> None:
    found = chosen(
        volumes=[volume(1, labels=LABELS), volume(2), volume(3, labels={**LABELS, **BY_CSI}, server=101)],
        load_balancers=(balancer(1, labels=LABELS), balancer(2)),
    )
    assert found.lines == (
        "server demo-control-plane-1 (cx23)",
        "server demo-worker-1 (cx23)",
        "load balancer lb-1 (lb11)",
        "volume v-1 (10 GB, with its data)",
        "volume v-3 (10 GB, with its data)",
        "network demo (10.0.0.0/16)",
        "firewall demo",
        "placement group demo-worker-1",
    )
    assert (found.detached, found.kept) == ((), ())


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"team": "shop"}, LACKS),
        (OTHER, "it carries the label of cluster other"),
        ({**BY_CSI, **OTHER}, "it carries the label of cluster other"),
        # This cluster's CSI driver labels its volumes; another cluster's may be attached to rescue its data.
        (BY_CSI, f"a CSI driver created it, but {LACKS}"),
    ],
)
def test_a_foreign_volume_on_a_server_of_the_cluster_is_detached_and_kept(
    labels: dict[str, str], reason: str
) -> None:
    found = chosen(volumes=[volume(8, name="customers", size=500, labels=labels, server=101)])
    assert detached(found) == [f"volume customers (500 GB) from server demo-worker-1: {reason}"]
    assert (found.volumes, found.kept) == ((), ())
    doings = [step.doing for step in delete_steps(found)]
    assert "detach volume customers" in doings and "delete volume customers" not in doings


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, ()),
        ({"labels": BY_CSI, "server": 1000}, ()),
        ({"labels": {**BY_CSI, **OTHER}}, ()),
        ({"labels": BY_CSI}, (f"volume v-8 (10 GB): a CSI driver created it, but {LACKS}",)),
        ({"labels": LABELS, "server": 1000}, (f"volume v-8 (10 GB): it is attached to {OUTSIDE}",)),
    ],
)
def test_a_volume_that_is_not_attached_to_the_cluster_stays(
    changes: dict[str, Any], kept: tuple[str, ...]
) -> None:
    found = chosen(stranger(), volumes=[volume(8, **changes)])
    assert (found.volumes, found.detached, found.kept) == ((), (), kept)


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": SERVICE, "servers": (101,)},
        {"labels": SERVICE, "servers": (100, 101), "networks": (1,)},
        # A cluster whose only node is a control plane has no targets.
        {"labels": SERVICE, "networks": (1,)},
        {"labels": LABELS, "selectors": (f"{SELECTOR},kubeadm-deploys/role=control-plane",)},
    ],
)
def test_a_load_balancer_of_the_cluster_or_its_controller_is_deleted(changes: dict[str, Any]) -> None:
    found = chosen(stranger(), load_balancers=(balancer(7, **changes),))
    assert [deleted.id for deleted in found.project.load_balancers] == [7]
    assert (found.detached, found.kept) == ((), ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, LACKS),
        ({"servers": (101,)}, LACKS),
        ({"labels": {**SERVICE, **OTHER}}, "it carries the label of cluster other"),
        ({"labels": SERVICE, "servers": (1000,)}, f"it forwards to {OUTSIDE}"),
        ({"labels": SERVICE, "servers": (101, 1000)}, f"it forwards to {OUTSIDE}"),
        ({"labels": SERVICE, "servers": (4711,)}, "it forwards to server 4711 outside this cluster"),
        (
            {"labels": SERVICE, "addresses": ("203.0.113.9",)},
            "it forwards to address 203.0.113.9 outside this cluster",
        ),
        (
            {"labels": SERVICE, "public_selectors": ("app=shop",)},
            "it forwards to servers with the label app=shop outside this cluster",
        ),
        ({"labels": LABELS, "servers": (101, 1000)}, f"it forwards to {OUTSIDE}"),
    ],
)
def test_any_other_load_balancer_is_detached_from_the_network_and_kept(
    changes: dict[str, Any], reason: str
) -> None:
    found = chosen(stranger(), load_balancers=(balancer(7, networks=(1,), **changes),))
    assert detached(found) == [f"load balancer lb-7 from network demo: {reason}"]
    assert (found.project.load_balancers, found.kept) == ((), ())


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ({}, ()),
        ({"labels": SERVICE, "servers": (1000,)}, ()),
        ({"labels": SERVICE, "networks": (9,)}, ()),
        ({"servers": (101,)}, (f"load balancer lb-7: {LACKS}",)),
        ({"labels": SERVICE, "servers": (101, 1000)}, (f"load balancer lb-7: it forwards to {OUTSIDE}",)),
        ({"labels": LABELS, "servers": (1000,)}, (f"load balancer lb-7: it forwards to {OUTSIDE}",)),
        (
            {"labels": SERVICE},
            (
                "load balancer lb-7: a cloud controller created it, but neither its targets nor its networks "
                "show for which cluster",
            ),
        ),
    ],
)
def test_a_load_balancer_outside_the_network_stays(changes: dict[str, Any], kept: tuple[str, ...]) -> None:
    found = chosen(stranger(), load_balancers=(balancer(7, **changes),))
    assert (found.project.load_balancers, found.detached, found.kept) == ((), (), kept)


def test_a_network_with_foreign_servers_stays_with_everything_in_it() -> None:
    found = chosen(
        stranger(networks=(1,)), load_balancers=(balancer(7, networks=(1,)), balancer(8, labels=SERVICE))
    )
    assert (found.project.networks, found.project.load_balancers, found.detached) == ((), (), ())
    assert f"network demo (10.0.0.0/16): it connects {OUTSIDE}" in found.kept
    # Then it does not show which cluster a load balancer without targets belongs to.
    shared = chosen(stranger(networks=(1,)), load_balancers=(balancer(8, labels=SERVICE, networks=(1,)),))
    assert shared.project.load_balancers == ()


def test_a_network_with_dedicated_servers_stays() -> None:
    [network] = project(described()).networks
    found = chosen(networks=(replace(network, has_dedicated_servers=True),))
    assert found.kept == ("network demo (10.0.0.0/16): it connects dedicated servers by a vSwitch",)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"servers": (100, 101)}, ""),
        ({"selectors": (SELECTOR, f"role=x, {SELECTOR}")}, ""),
        ({"servers": (100, 1000)}, OUTSIDE),
        # Servers created later would be without it.
        ({"selectors": (SELECTOR, "env=prod")}, "servers with the label env=prod outside this cluster"),
        (
            {"selectors": (f"{SELECTOR}-2",)},
            f"servers with the label {SELECTOR}-2 outside this cluster",
        ),
    ],
)
def test_a_firewall_that_protects_foreign_servers_stays(changes: dict[str, Any], reason: str) -> None:
    found = chosen(stranger(), firewalls=(firewall(**changes),))
    assert found.kept == ((f"firewall demo: it protects {reason}",) if reason else ())
    assert len(found.project.firewalls) == (0 if reason else 1)
    assert any("firewall" in step.path for step in delete_steps(found)) == (not reason)


def test_a_placement_group_with_foreign_servers_stays() -> None:
    group = PlacementGroup(id=31, name="demo-worker-1", labels=LABELS, servers=(101, 1000))
    found = chosen(stranger(), placement_groups=(group,))
    assert found.kept == (f"placement group demo-worker-1: it has {OUTSIDE}",)
    assert found.project.placement_groups == ()


def test_of_many_foreign_servers_three_are_named() -> None:
    others = [server(f"shop-{number}", number=900 + number, labels={}) for number in range(1, 6)]
    assert chosen(*others).kept == (
        "network demo (10.0.0.0/16): it connects server shop-1, shop-2, shop-3 (and 2 more) "
        "outside this cluster",
    )


def test_addresses_of_deleted_resources_are_listed_as_kept() -> None:
    found = chosen(
        addresses=[
            Address(kind="Primary IP", name="office", ip="203.0.113.1", holder=("server", 101)),
            Address(kind="Floating IP", name="shop", ip="203.0.113.2", holder=("server", 1000)),
            Address(kind="Floating IP", name="spare", ip="203.0.113.3", holder=None),
            Address(kind="Primary IP", name="www", ip="203.0.113.4", holder=("load balancer", 7)),
        ],
        load_balancers=(balancer(7, labels=LABELS),),
    )
    assert detached(found) == [
        "Primary IP office (203.0.113.1) from server demo-worker-1: it stays when the server is deleted",
        "Primary IP www (203.0.113.4) from load balancer lb-7: it stays when the load balancer is deleted",
    ]


def test_the_plan_lists_every_resource_once() -> None:
    found = chosen(
        stranger(),
        volumes=[volume(1, labels=LABELS, server=101), volume(2, server=101), volume(3, labels=BY_CSI)],
        load_balancers=(
            balancer(5, labels=SERVICE, servers=(101,)),
            balancer(6, networks=(1,), servers=(101,)),
        ),
    )
    assert found.plan == (
        "To be deleted:",
        "  server demo-control-plane-1 (cx23)",
        "  server demo-worker-1 (cx23)",
        "  load balancer lb-5 (lb11, of a Service in the cluster)",
        "  volume v-1 (10 GB, with its data)",
        "  network demo (10.0.0.0/16)",
        "  firewall demo",
        "  placement group demo-worker-1",
        "To be detached and kept:",
        f"  volume v-2 (10 GB) from server demo-worker-1: {LACKS}",
        f"  load balancer lb-6 from network demo: {LACKS}",
        "Kept unchanged:",
        f"  volume v-3 (10 GB): a CSI driver created it, but {LACKS}",
    )


def test_a_plan_without_deletions_says_so() -> None:
    assert plan_deletion(cluster_name="demo", project=Project(), volumes=()).plan == (
        "To be deleted:",
        "  (nothing to delete)",
    )


def test_protection_is_only_checked_on_deleted_resources() -> None:
    shared = Network(id=1, name="demo", labels=LABELS, ip_range="10.0.0.0/16", subnets=(), is_protected=True)
    kept: dict[str, Any] = {
        "volumes": [volume(8, server=101, is_protected=True)],
        "load_balancers": (balancer(7, servers=(101,), is_protected=True),),
        "networks": (shared,),
    }
    refuse_protected(chosen(stranger(networks=(1,)), **kept))
    with pytest.raises(InputError, match="network demo: is protected"):
        refuse_protected(chosen(**kept))
    with pytest.raises(InputError, match="volume v-9: is protected"):
        refuse_protected(chosen(volumes=[volume(9, labels=LABELS, is_protected=True)]))


def test_resources_are_deleted_before_those_that_they_use() -> None:
    found = chosen(
        volumes=[volume(1, labels=LABELS, server=101), volume(2, server=101), volume(3, server=101)],
        load_balancers=(balancer(5, labels=SERVICE, servers=(101,)), balancer(6, networks=(1,))),
    )
    phases = {step.doing: step.phase for step in delete_steps(found)}
    last_server = phases["delete server demo-worker-1"]
    assert max(phases["detach volume v-2"], phases["detach volume v-3"]) < last_server
    # The API locks the server while it detaches a volume.
    assert phases["detach volume v-2"] != phases["detach volume v-3"]
    # Without targets its cluster would be unknown.
    assert phases["delete load balancer lb-5"] < last_server
    assert last_server < phases["remove firewall demo from its servers"] < phases["delete firewall demo"]
    assert last_server < phases["delete volume v-1"]
    assert last_server < phases["detach load balancer lb-6 from network demo"] < phases["delete network demo"]
