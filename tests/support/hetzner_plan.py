"""A described cluster, a project and a plan for it, without any API."""

import dataclasses
from decimal import Decimal
from typing import Any

from kubeadm_deploys.hetzner.api.project import (
    Catalogue,
    Firewall,
    LoadBalancer,
    Network,
    PlacementGroup,
    Price,
    Prices,
    Project,
    Server,
    ServerType,
    SshKey,
)
from kubeadm_deploys.hetzner.servers import wanted
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.hetzner.servers.description_file import describe
from kubeadm_deploys.hetzner.servers.plan import Plan, make_plan
from tests.support.hetzner_cluster import PUBLIC_KEY

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
    """Return a project that matches the description, with the default servers unless others are given."""
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
    description: ClusterDescription, current: Project, *, catalogue: Catalogue | None = CATALOGUE
) -> Plan:
    return make_plan(
        description=description, public_key=PUBLIC_KEY, project=current, prices=PRICES, catalogue=catalogue
    )


def doings(plan: Plan) -> list[str]:
    return [f"{step.doing} ({step.details})" for step in plan.steps]
