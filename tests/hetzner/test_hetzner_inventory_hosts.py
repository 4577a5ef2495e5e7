"""The inventory on Hetzner: how servers and a load balancer become the hosts' data and groups."""

import re
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys.hetzner.inventory.hosts import (
    cluster_data,
    groups_of,
    hosts_of,
    idle_servers,
    load_balancer_addresses,
    running_servers,
)
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from tests.support.hetzner_cluster import described, write_key
from tests.support.hetzner_inventory import described_as, private, server

STATE = Path("/project/.kubeadm-deploys/demo")


def load_balancer(**changes: Any) -> dict[str, Any]:
    return {
        "id": 6,
        "name": "demo",
        "labels": {"kubeadm-deploys/cluster": "demo"},
        "private_net": [{"network": 5, "ip": "10.0.0.9"}],
        "public_net": {
            "enabled": True,
            "ipv4": {"ip": "203.0.113.9", "dns_ptr": "lb.example"},
            "ipv6": {"ip": "2001:db8:0:40f::1", "dns_ptr": None},
        },
        **changes,
    }


@pytest.fixture
def demo(tmp_path: Path) -> ClusterDescription:
    return described(write_key(tmp_path))


def data_of(machine: dict[str, Any], description: ClusterDescription, **variables: Any) -> dict[str, Any]:
    hosts = hosts_of([machine], description=description, variables=variables, balancer=None, state=STATE)
    return hosts[machine["name"]]


def test_a_server_becomes_a_host_with_its_own_data(demo: ClusterDescription) -> None:
    assert data_of(server(), demo) == {
        "ssh_hostname": "203.0.113.7",
        "ssh_known_hosts_file": "/project/.kubeadm-deploys/demo/known_hosts/42",
        "node_name": "demo-worker-1",
        "node_ip": "10.0.0.3",
        "node_interface_mac": "86:00:00:9e:43:53",
        "provider_id": "hcloud://42",
        "hcloud_location": "fsn1",
    }


def test_the_node_ip_is_the_one_in_the_clusters_network(demo: ClusterDescription) -> None:
    interfaces = [
        private("192.168.7.2", network=8, mac="86:00:00:00:00:01"),
        private("10.0.1.4", mac="86:00:00:00:00:02"),
        private("10.1.0.2", network=9, mac="86:00:00:00:00:03"),
    ]
    data = data_of(server(private_net=interfaces), demo)
    assert (data["node_ip"], data["node_interface_mac"]) == ("10.0.1.4", "86:00:00:00:00:02")


@pytest.mark.parametrize(
    ("connect_by", "address"),
    [("public_ipv4", "203.0.113.7"), ("public_ipv6", "2001:db8:0:3f3::1"), ("private", "10.0.0.3")],
)
def test_the_user_chooses_the_address_that_ssh_uses(tmp_path: Path, connect_by: str, address: str) -> None:
    description = described_as(tmp_path, connect_by=connect_by)
    assert data_of(server(), description)["ssh_hostname"] == address


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_server_only_needs_the_wanted_address(tmp_path: Path, family: str) -> None:
    description = described_as(tmp_path, connect_by=f"public_{family}")
    other = {"ipv4": "ipv6", "ipv6": "ipv4"}[family]
    assert data_of(server(public_net={**server()["public_net"], other: None}), description)
    without = server("demo-worker-7", public_net={**server()["public_net"], family: None})
    with pytest.raises(InventoryError, match=f"server demo-worker-7 has no public_{family} address"):
        data_of(without, description)


def test_all_servers_outside_the_network_are_named_at_once(demo: ClusterDescription) -> None:
    servers = [
        server("demo-worker-1", private_net=[]),
        server("demo-worker-2", private_net=[private("10.9.0.2")]),
    ]
    with pytest.raises(InventoryError) as error:
        hosts_of(servers, description=demo, variables={}, balancer=None, state=STATE)
    assert "server demo-worker-1 has no private address in hetzner.network 10.0.0.0/16 (it has: none)" in str(
        error.value
    )
    assert "`hcloud server attach-to-network demo-worker-2 --network demo`" in str(error.value)


def test_servers_that_are_not_running_are_skipped_and_named() -> None:
    servers = [
        server("demo-worker-10"),
        server("demo-worker-3", status="off"),
        server("demo-worker-2"),
        server("demo-worker-1", status="deleting"),
    ]
    assert [running["name"] for running in running_servers(servers)] == ["demo-worker-2", "demo-worker-10"]
    assert idle_servers(servers) == "demo-worker-1 (deleting), demo-worker-3 (off)"


def test_groups_are_the_roles_and_the_pools_of_workers() -> None:
    servers = [
        server("demo-control-plane-1"),
        server("demo-worker-1"),
        server("demo-gpu-1"),
        server("demo-gpu-2"),
    ]
    hosts = {member["name"]: {"node_name": member["name"]} for member in servers}
    groups = groups_of(servers, inventory="staging", shared={"ssh_user": "root"}, hosts=hosts)
    names = list(hosts)
    assert groups == {
        "all": (names, {"ssh_user": "root"}),
        "staging": names,
        "control_plane": [("demo-control-plane-1", {"node_name": "demo-control-plane-1"})],
        "workers": [(name, {"node_name": name}) for name in names[1:]],
        "worker": ["demo-worker-1"],
        "gpu": ["demo-gpu-1", "demo-gpu-2"],
    }


@pytest.mark.parametrize(
    ("label", "value", "sentence"),
    [
        ("role", "master", "label kubeadm-deploys/role is 'master', it must be one of control-plane, worker"),
        ("role", None, "label kubeadm-deploys/role is None"),
        ("pool", "workers", "label kubeadm-deploys/pool is 'workers', which is another group's name"),
        ("pool", "staging", "label kubeadm-deploys/pool is 'staging', which is another group's name"),
    ],
)
def test_labels_that_name_no_group_are_refused(label: str, value: str | None, sentence: str) -> None:
    labels = {**server()["labels"], f"kubeadm-deploys/{label}": value}
    strange = server("demo-worker-5", labels={key: text for key, text in labels.items() if text})
    with pytest.raises(InventoryError, match=f"server demo-worker-5: {re.escape(sentence)}"):
        groups_of([strange], inventory="staging", shared={}, hosts={"demo-worker-5": {}})


@pytest.mark.parametrize("names", [("api.example.com",), "api.example.com"])
def test_the_load_balancers_addresses_are_added_to_the_users_names(
    demo: ClusterDescription, names: object
) -> None:
    hosts = hosts_of(
        [server()],
        description=demo,
        variables={"certificate_sans": names},
        balancer=load_balancer(),
        state=STATE,
    )
    shared = cluster_data(demo, endpoint="", balancer=load_balancer())
    assert shared["api_load_balancer_address"] == "10.0.0.9"
    assert hosts["demo-worker-1"]["certificate_sans"] == [
        "api.example.com",
        "10.0.0.9",
        "203.0.113.9",
        "2001:db8:0:40f::1",
    ]


def test_a_private_load_balancer_has_one_address(demo: ClusterDescription) -> None:
    hidden = load_balancer(public_net={"enabled": False, "ipv4": {"ip": None}, "ipv6": {"ip": None}})
    assert load_balancer_addresses(hidden, description=demo) == ["10.0.0.9"]


def test_a_load_balancer_outside_the_network_is_named(demo: ClusterDescription) -> None:
    with pytest.raises(InventoryError, match="`hcloud load-balancer attach-to-network demo --network demo`"):
        load_balancer_addresses(load_balancer(private_net=[]), description=demo)


def test_ssh_settings_in_the_description_are_not_overridden(demo: ClusterDescription) -> None:
    assert "ssh_known_hosts_file" not in data_of(server(), demo, ssh_known_hosts_file="/mine")


def test_the_private_key_is_only_set_if_it_exists(tmp_path: Path) -> None:
    description = described_as(tmp_path)
    assert "ssh_key" not in cluster_data(description, endpoint="", balancer=None)
    (tmp_path / "id_ed25519").touch()
    assert cluster_data(description, endpoint="", balancer=None)["ssh_key"] == str(tmp_path / "id_ed25519")
