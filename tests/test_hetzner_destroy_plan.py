"""What is deleted with a cluster, and in which order: pure, without any API."""

from typing import Any

from kubeadm_deploys.hetzner.destroy import choose_doomed, delete_steps
from kubeadm_deploys.hetzner.project import LoadBalancer, Volume
from tests.hetzner_plan import LABELS, described, project


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
