"""The edge: which data of an inventory become options."""

import pytest

from kubeadm_deploys.entry import options_from_data
from kubeadm_deploys.errors import InputError

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
