"""The edge: which data of an inventory become options."""

import pytest

from kubeadm_deploys.entry import (
    options_from_data,
    topology_from_inventory,
    typed_data,
    with_typed_texts,
)
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.options import ClusterOptions
from tests.generated_clusters import inventory

HETZNER_HOST = {
    "ssh_hostname": "203.0.113.10",
    "ssh_known_hosts_file": ".kubeadm-deploys/shop/known_hosts/42",
    "node_name": "shop-control-plane-1",
    "node_ip": "10.0.0.2",
    "node_interface_mac": "86:00:00:12:34:56",
    "provider_id": "hcloud://42",
    "hcloud_network": "shop",
    "hcloud_location": "fsn1",
    "hcloud_endpoint": "http://10.213.0.1:8443/v1",
    "hetzner": {"location": "fsn1"},
    "cluster_name": "shop",
    "cloud_provider": "hetzner",
    "load_balancer_address": "10.0.0.254",
}


def test_the_data_of_the_hetzner_inventory_are_known() -> None:
    options = options_from_data(HETZNER_HOST)
    assert (options.cluster_name, options.cloud_provider) == ("shop", "hetzner")
    assert options.load_balancer_address == "10.0.0.254"


@pytest.mark.parametrize(
    "path", ["", "/nowhere/sums", "\0", "\ud800", "~nobody-has-this-name/sums", "x" * 300, "/"]
)
def test_a_file_of_checksums_that_cannot_be_read_is_told_with_everything_else(path: str) -> None:
    with pytest.raises(InputError) as error:
        options_from_data({"checksums": path, "swap": "maybe", "runc_version": "9.9.9"})
    checksums, swap = error.value.problems
    assert checksums.startswith("checksums: ") and "cannot be read" in checksums
    assert swap.startswith("swap: 'maybe'")


def test_an_unknown_key_cannot_write_to_the_terminal() -> None:
    with pytest.raises(InputError) as error:
        options_from_data({"\x1b[2J": 1})
    assert error.value.problems[0].startswith(r"'\x1b[2J': is not an option")


def test_a_misspelt_key_is_not() -> None:
    with pytest.raises(InputError, match="hcloud_netwrk: is not an option"):
        options_from_data({**HETZNER_HOST, "hcloud_netwrk": "shop"})


@pytest.mark.parametrize(
    ("arguments", "typed"),
    [
        (["-y", "inventory.py", "deploys/reset.py"], {}),
        (["--data", "confirm=007", "deploys/reset.py", "--data=node=1e5"], {"confirm": "007", "node": "1e5"}),
        (["--data", "confirm=a=b", "--data="], {"confirm": "a=b", "": ""}),
        (["--data", "confirm=1", "--data", "confirm=true"], {"confirm": "true"}),
        (["--data-x", "a=1", "--group-data=b=2", "--data"], {"": ""}),
        (["exec", "--", "--data", "confirm=1"], {}),
    ],
)
def test_what_was_typed_is_read_from_the_command_line(arguments: list[str], typed: dict[str, str]) -> None:
    assert typed_data(arguments) == typed


def test_names_are_what_was_typed_and_nothing_else_is() -> None:
    typed = {
        **{
            "confirm": "2024",
            "node": "007",
            "node_name": "1e5",
            "cluster_name": "true",
            "dns_domain": "null",
        },
        **{"hcloud_network": "010", "certificate_sans": "1_0", "kubernetes_version": "1.36"},
        **{"pod_mtu": "1400", "force": "true", "ssh_port": "22", "checksums": "{}"},
        **{"node_roles": '["gpu"]', "mirror": '"http://a"'},
    }
    read = {
        **{"confirm": 2024, "node": 7, "node_name": 100000.0, "cluster_name": True, "dns_domain": None},
        **{"hcloud_network": 10, "certificate_sans": 10, "kubernetes_version": 1.36},
        **{"pod_mtu": 1400, "force": True, "ssh_port": 22, "checksums": {}},
        **{"node_roles": ["gpu"], "mirror": "http://a"},
    }
    names = (
        *("confirm", "node", "node_name", "cluster_name", "dns_domain"),
        *("hcloud_network", "certificate_sans", "kubernetes_version"),
    )
    assert with_typed_texts(read, typed) == {**read, **{name: typed[name] for name in names}}


def test_names_that_are_numbers_in_a_file_stay_as_they_are() -> None:
    assert with_typed_texts({"cluster_name": 2024, "confirm": 7}, {"confirm": "007"}) == {
        "cluster_name": 2024,
        "confirm": "007",
    }


def test_a_text_with_commas_is_a_list_of_taints_or_roles() -> None:
    data = {"node_ip": "10.0.0.1", "node_taints": "a:NoSchedule, b=c:NoExecute", "node_roles": "gpu"}
    (node,) = topology_from_inventory(inventory([data], workers=0), options=ClusterOptions()).nodes
    assert node.taints == ("a:NoSchedule", "b=c:NoExecute")
    assert node.roles == ("gpu",)
