"""The edge: which data of an inventory become options."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from pyinfra.api.inventory import Inventory

from kubeadm_deploys import entry
from kubeadm_deploys.entry import (
    options_from_data,
    refuse_differing_options,
    topology_from_inventory,
    typed_data,
    with_typed_texts,
)
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.options import ClusterOptions
from tests.generated_clusters import inventory as generated_inventory

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
    (node,) = topology_from_inventory(generated_inventory([data], workers=0), options=ClusterOptions()).nodes
    assert node.taints == ("a:NoSchedule", "b=c:NoExecute")
    assert node.roles == ("gpu",)


def inventory(hosts: dict[str, dict[str, Any]], *, override: dict[str, Any] | None = None) -> Inventory:
    """Hosts of one group each with its data; ``override`` is what --data gives."""
    return Inventory((list(hosts.items()), {}), override, workers=(list(hosts), {}))


def differing(hosts: dict[str, dict[str, Any]], **arguments: Any) -> tuple[str, ...]:
    try:
        refuse_differing_options(inventory(hosts, **arguments))
    except InputError as error:
        return error.problems
    return ()


def test_hosts_that_differ_in_an_option_of_the_cluster_are_named_with_their_values() -> None:
    hosts = {"cp": {"pod_subnet": "10.32.0.0/16"}, "w-1": {}, "w-2": {"pod_subnet": "10.48.0.0/16"}}
    assert differing(hosts) == (
        "pod_subnet: is '10.32.0.0/16' on cp, '10.244.0.0/16' on w-1, '10.48.0.0/16' on w-2; every host needs the "
        "same, so set it once, in group_data/all.py",
    )


def test_every_option_that_differs_is_named_at_once() -> None:
    problems = differing({"cp": {"swap": "keep", "mirror": "http://a"}, "w-1": {"mirror": "http://b"}})
    assert [problem.partition(":")[0] for problem in problems] == ["swap", "mirror"]


@pytest.mark.parametrize(
    ("cp", "worker"),
    [
        ({"node_name": "cp", "node_ip": "10.0.0.1", "node_labels": {"a": "b"}, "provider_id": "a://1"}, {}),
        (
            {"nameservers": ["9.9.9.9"], "provisioning_timeout": 9},
            {"containerd_restrict_oom_score_adj": True},
        ),
        ({"swap": "off"}, {}),
        ({"kubernetes_version": "v1.35.4"}, {"kubernetes_version": "1.35.4"}),
        ({"certificate_sans": ["a.example.com"]}, {"certificate_sans": ("a.example.com",)}),
        ({"kubelet_configuration": {"a": [1]}}, {"kubelet_configuration": {"a": (1,)}}),
        ({"mirror": "http://a/"}, {"mirror": "http://a"}),
        ({"ssh_user": "root", "x_mine": 1}, {"ssh_user": "admin"}),
    ],
)
def test_data_of_single_hosts_and_what_means_the_same_are_no_difference(
    cp: dict[str, Any], worker: dict[str, Any]
) -> None:
    assert differing({"cp": cp, "w": worker}) == ()


def test_a_release_that_only_some_hosts_set_is_a_difference_whatever_it_is() -> None:
    # The others would follow the cluster.
    default = ClusterOptions().runc_version
    assert differing({"cp": {"runc_version": default}, "w": {}}) == (
        f"runc_version: is '{default}' on cp, not set on w; every host needs the same, so set it once, in "
        "group_data/all.py",
    )


def test_values_that_only_differ_where_a_message_does_not_show_it_differ() -> None:
    long = ["a.example.com"] * 50
    assert len(differing({"cp": {"certificate_sans": long}, "w": {"certificate_sans": [*long, "b"]}})) == 1


def test_what_the_command_line_says_counts_for_all() -> None:
    hosts = {"cp": {"swap": "keep"}, "w": {"swap": "off"}}
    assert len(differing(hosts)) == 1
    assert differing(hosts, override={"swap": "keep"}) == ()


def test_hosts_are_compared_once_and_not_once_for_each_host(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts: dict[str, dict[str, Any]] = {f"w-{number}": {"swap": "keep"} for number in range(199)}
    made = inventory({"cp": {"swap": "off"}, **hosts})
    calls: list[int] = []
    compare = entry.differing_options

    def counted(data: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
        calls.append(len(data))
        return compare(data)

    monkeypatch.setattr(entry, "differing_options", counted)
    for _ in range(200):
        with pytest.raises(InputError, match="swap: is 'off' on cp, 'keep' on w-0, w-1, w-2 and 196 more"):
            refuse_differing_options(made)
    assert calls == [200]
