"""Topology: which inventories can become a cluster."""

import dataclasses
from typing import Any

import pytest

from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions


def node(number: int, *, name: str | None = None, ip: str | None = None) -> Node:
    ip = f"10.0.0.{number}" if ip is None else ip
    return Node(host=f"host-{number}", name=name or f"node-{number}", ip=ip, address=ip)


def problems_of(topology: Topology, options: ClusterOptions | None = None) -> tuple[str, ...]:
    with pytest.raises(InputError) as error:
        topology.check(options or ClusterOptions())
    return error.value.problems


def test_one_control_plane_and_workers_are_a_cluster() -> None:
    topology = Topology(control_planes=(node(1),), workers=(node(2), node(3)))
    topology.check(ClusterOptions())
    assert [n.name for n in topology.nodes] == ["node-1", "node-2", "node-3"]
    assert list(topology.warnings()) == []


def test_no_control_plane_is_refused() -> None:
    (problem,) = problems_of(Topology(control_planes=(), workers=(node(1),)))
    assert problem.startswith("control_plane: ") and "at least one" in problem


def test_an_even_number_of_control_planes_is_a_warning() -> None:
    topology = Topology(control_planes=(node(1), node(2)), workers=())
    topology.check(ClusterOptions())
    (warning,) = topology.warnings()
    assert "use 1, 3 or 5" in warning


def test_invalid_and_duplicate_names_are_refused_together() -> None:
    topology = Topology(control_planes=(node(1, name="Node_1"),), workers=(node(2), node(3, name="node-2")))
    invalid, duplicate = problems_of(topology)
    assert "node_name: 'Node_1' of host host-1" in invalid
    assert "node_name: 'node-2' is used by 2 hosts" in duplicate


def test_a_machine_in_both_groups_is_refused() -> None:
    problems = problems_of(Topology(control_planes=(node(1),), workers=(node(1),)))
    assert any("node_name: 'node-1' is used by 2 hosts" in problem for problem in problems)


def test_a_missing_address_is_refused() -> None:
    (problem,) = problems_of(Topology(control_planes=(node(1, ip=""),), workers=()))
    assert problem.startswith("node_ip: '' of host host-1 is not an IPv4 address")


@pytest.mark.parametrize("ip", ["127.0.0.1", "0.0.0.0", "169.254.1.1", "224.0.0.1", "255.255.255.255"])
def test_an_address_that_cannot_be_reached_is_refused(ip: str) -> None:
    (problem,) = problems_of(Topology(control_planes=(node(1, ip=ip),), workers=()))
    assert problem.startswith(f"node_ip: '{ip}' of host host-1 is an address that no other machine can reach")


def test_a_name_that_is_too_long_for_the_hostname_label_is_refused() -> None:
    name = f"{'a' * 40}.{'b' * 40}"
    (problem,) = problems_of(Topology(control_planes=(node(1, name=name),), workers=()))
    assert problem.startswith(f"node_name: '{name}' of host host-1 is too long") and "63" in problem


@pytest.mark.parametrize(
    ("ip", "field"),
    [
        ("10.244.3.4", "pod_subnet"),
        ("10.96.0.20", "service_subnet"),
        ("10.0.9.20", "service_load_balancer_cidr"),
    ],
)
def test_a_node_inside_a_cluster_network_is_refused(ip: str, field: str) -> None:
    options = ClusterOptions(service_load_balancer_cidr="10.0.9.0/24")
    (problem,) = problems_of(Topology(control_planes=(node(1, ip=ip),), workers=()), options)
    assert problem.startswith(f"{field}: ") and ip in problem


def test_too_many_nodes_for_the_pod_subnet_are_refused() -> None:
    topology = Topology(control_planes=(node(1),), workers=tuple(node(number) for number in range(2, 6)))
    (problem,) = problems_of(topology, ClusterOptions(pod_subnet="10.244.0.0/22"))
    assert "room for 4 nodes" in problem and "5" in problem


def test_a_nodes_cloud_data_is_checked() -> None:
    invalid = dataclasses.replace(node(1), interface_mac="86:00:00", provider_id="42")
    mac, provider_id = problems_of(Topology(control_planes=(invalid,), workers=()))
    assert mac.startswith("node_interface_mac: '86:00:00' of host host-1") and "86:00:00:12:34:56" in mac
    assert provider_id.startswith("provider_id: '42' of host host-1") and "aws:///" in provider_id


@pytest.mark.parametrize(
    ("fields", "name", "fix"),
    [
        ("maxPods", "'maxPods'", "not a mapping"),
        ({"kind": "Pod"}, "kind", "leave it out"),
        ({"cgroupDriver": "cgroupfs"}, "cgroupDriver", "leave it out"),
        ({"staticPodPath": "/x"}, "staticPodPath", "leave it out"),
        ({"rotateCertificates": False}, "rotateCertificates", "leave it out"),
        ({"healthzPort": 10249}, "healthzPort", "set it in kubelet_configuration"),
        ({"healthzBindAddress": "0.0.0.0"}, "healthzBindAddress", "set it in kubelet_configuration"),
        ({"rotateCertificates": None}, "rotateCertificates", "write the value"),
        ({"evictionHard": {"memory.available": None}}, "evictionHard/memory.available", "write the value"),
        ({"reservedMemory": [{"limits": None}]}, "reservedMemory/0/limits", "write the value"),
    ],
)
def test_wrong_fields_of_a_nodes_kubelet_are_refused(fields: Any, name: str, fix: str) -> None:
    wrong = dataclasses.replace(node(1), kubelet_configuration=fields)
    (problem,) = problems_of(Topology(control_planes=(wrong,), workers=()))
    assert problem.startswith("node_kubelet_configuration: ") and "host host-1" in problem
    assert name in problem and fix in problem


def test_two_nodes_with_the_same_provider_id_are_refused() -> None:
    twins = tuple(dataclasses.replace(node(number), provider_id="hcloud://42") for number in (1, 2))
    (problem,) = problems_of(Topology(control_planes=twins[:1], workers=twins[1:]))
    assert problem.startswith("provider_id: 'hcloud://42' is used by 2 hosts")


def test_a_node_is_found_by_its_host() -> None:
    topology = Topology(control_planes=(node(1),), workers=(node(2),))
    assert topology.node("host-2").name == "node-2"
