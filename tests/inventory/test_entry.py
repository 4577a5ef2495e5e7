"""How an inventory's data becomes options."""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from pyinfra.api.inventory import Inventory

from kubeadm_deploys.inventory import data as inventory_data
from kubeadm_deploys.inventory.data import (
    options_from_data,
    refuse_differing_options,
    topology_from_inventory,
    typed_data,
    with_typed_texts,
)
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.options import RENAMED, ClusterOptions, with_new_names
from tests.support.generated_clusters import inventory as generated_inventory

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
    "api_load_balancer_address": "10.0.0.254",
}


def test_the_data_of_the_hetzner_inventory_is_accepted() -> None:
    options = options_from_data(HETZNER_HOST)
    assert (options.cluster_name, options.cloud_provider) == ("shop", "hetzner")
    assert str(options.api_load_balancer_address) == "10.0.0.254"


@pytest.mark.parametrize(
    "path", ["", "/nowhere/sums", "\0", "\ud800", "~nobody-has-this-name/sums", "x" * 300, "/"]
)
def test_an_unreadable_checksums_file_is_reported_with_all_other_problems(path: str) -> None:
    with pytest.raises(InputError) as error:
        options_from_data({"checksums": path, "swap": "maybe", "runc_version": "9.9.9"})
    checksums, swap = error.value.problems
    assert checksums.startswith("checksums: ") and "cannot be read" in checksums
    assert swap.startswith("swap: 'maybe'")


def test_an_unknown_key_cannot_write_to_the_terminal() -> None:
    with pytest.raises(InputError) as error:
        options_from_data({"\x1b[2J": 1})
    assert error.value.problems[0].startswith(r"'\x1b[2J': is not an option")


def test_a_misspelt_key_is_refused() -> None:
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
def test_typed_data_is_read_from_the_command_line(arguments: list[str], typed: dict[str, str]) -> None:
    assert typed_data(arguments) == typed


def test_only_text_options_are_taken_as_typed() -> None:
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


def test_numbers_in_an_inventory_file_are_not_changed() -> None:
    assert with_typed_texts({"cluster_name": 2024, "confirm": 7}, {"confirm": "007"}) == {
        "cluster_name": 2024,
        "confirm": "007",
    }


def test_comma_separated_text_is_a_list_of_taints_or_roles() -> None:
    data = {"node_ip": "10.0.0.1", "node_taints": "a:NoSchedule, b=c:NoExecute", "node_roles": "gpu"}
    (node,) = topology_from_inventory(generated_inventory([data], workers=0), options=ClusterOptions()).nodes
    assert node.taints == ("a:NoSchedule", "b=c:NoExecute")
    assert node.roles == ("gpu",)


def inventory(hosts: dict[str, dict[str, Any]], *, override: dict[str, Any] | None = None) -> Inventory:
    """Return an inventory of hosts with their data; ``override`` is the data from ``--data``."""
    return Inventory((list(hosts.items()), {}), override, workers=(list(hosts), {}))


def differing(hosts: dict[str, dict[str, Any]], **arguments: Any) -> tuple[str, ...]:
    try:
        refuse_differing_options(inventory(hosts, **arguments))
    except InputError as error:
        return error.problems
    return ()


def test_hosts_that_differ_in_an_option_of_the_cluster_are_named_with_their_values() -> None:
    hosts = {"cp": {"pod_subnet": "10.32.0.0/16"}, "w-1": {}, "w-2": {"pod_subnet": "10.48.0.0/16"}}
    (problem,) = differing(hosts)
    assert problem.startswith(
        "pod_subnet: is '10.32.0.0/16' on cp, '10.244.0.0/16' on w-1, '10.48.0.0/16' on w-2; "
    )


def test_kubelets_that_differ_are_told_of_the_data_of_single_hosts() -> None:
    (problem,) = differing({"cp": {"kubelet_configuration": {"maxPods": 9}}, "w": {}})
    assert problem.startswith("kubelet_configuration: ") and problem.endswith("node_kubelet_configuration")


def test_every_option_that_differs_is_named_at_once() -> None:
    problems = differing({"cp": {"swap": "keep", "mirror": "http://a"}, "w-1": {"mirror": "http://b"}})
    assert [problem.partition(":")[0] for problem in problems] == ["swap", "mirror"]


@pytest.mark.parametrize(
    ("cp", "worker"),
    [
        ({"node_name": "cp", "node_ip": "10.0.0.1", "node_labels": {"a": "b"}, "provider_id": "a://1"}, {}),
        (
            {"nameservers": ["9.9.9.9"], "cloud_init_timeout": 9},
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
def test_host_data_and_equivalent_values_are_not_a_difference(
    cp: dict[str, Any], worker: dict[str, Any]
) -> None:
    assert differing({"cp": cp, "w": worker}) == ()


def test_a_release_that_only_some_hosts_set_is_a_difference() -> None:
    # The others would follow the cluster.
    default = ClusterOptions().runc_version
    (problem,) = differing({"cp": {"runc_version": default}, "w": {}})
    assert problem.startswith(f"runc_version: is '{default}' on cp, not set on w; ")


def test_values_that_differ_in_a_part_that_messages_cut_are_a_difference() -> None:
    long = ["a.example.com"] * 50
    assert len(differing({"cp": {"certificate_sans": long}, "w": {"certificate_sans": [*long, "b"]}})) == 1


def test_data_from_the_command_line_applies_to_all_hosts() -> None:
    hosts = {"cp": {"swap": "keep"}, "w": {"swap": "off"}}
    assert len(differing(hosts)) == 1
    assert differing(hosts, override={"swap": "keep"}) == ()


def test_hosts_are_compared_once_per_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts: dict[str, dict[str, Any]] = {f"w-{number}": {"swap": "keep"} for number in range(199)}
    made = inventory({"cp": {"swap": "off"}, **hosts})
    calls: list[int] = []
    compare = inventory_data.differing_options

    def counted(data: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
        calls.append(len(data))
        return compare(data)

    monkeypatch.setattr(inventory_data, "differing_options", counted)
    for _ in range(200):
        with pytest.raises(InputError, match="swap: is 'off' on cp, 'keep' on w-0, w-1, w-2 and 196 more"):
            refuse_differing_options(made)
    assert calls == [200]


def test_an_option_works_under_its_old_name(caplog: pytest.LogCaptureFixture) -> None:
    inventory_data._warned.clear()
    options = options_from_data({"load_balancer_range": "10.9.0.0/28", "provisioning_timeout": 20})
    assert str(options.service_load_balancer_cidr) == "10.9.0.0/28"
    assert options.cloud_init_timeout == 20
    warnings = "\n".join(caplog.messages)
    for old, new in (
        ("load_balancer_range", "service_load_balancer_cidr"),
        ("provisioning_timeout", "cloud_init_timeout"),
    ):
        assert f"{old} was renamed to {new}" in warnings
    with pytest.warns(FutureWarning, match="waive_checks was renamed to skip_preflight_checks"):
        assert ClusterOptions(waive_checks="clock") == ClusterOptions(skip_preflight_checks="clock")


def test_an_option_under_both_names_is_refused_with_everything_else_that_is_wrong() -> None:
    data = {"waive_checks": "clock", "skip_preflight_checks": "clock", "foo": 1, "swap": "x"}
    with pytest.raises(InputError) as caught:
        options_from_data(data)
    fields = [problem.partition(":")[0] for problem in caught.value.problems]
    assert fields == ["waive_checks", "foo", "swap"]


OLD_NAMES: list[tuple[str, str, object, object]] = [
    ("provisioning_timeout", "600", 600, 600),
    ("waive_checks", "clock", "clock", ("clock",)),
    ("load_balancer_range", "10.9.0.0/28", "10.9.0.0/28", IPv4Network("10.9.0.0/28")),
    ("load_balancer_address", "10.0.0.9", "10.0.0.9", IPv4Address("10.0.0.9")),
]


@pytest.mark.parametrize(("old", "typed", "parsed", "value"), OLD_NAMES)
def test_an_old_name_works_on_the_command_line(old: str, typed: str, parsed: object, value: object) -> None:
    assert {name for name, *_ in OLD_NAMES} == RENAMED.keys()
    options = options_from_data(with_typed_texts({old: parsed}, {old: typed}))
    assert getattr(options, RENAMED[old]) == value


def test_a_value_is_compared_whatever_the_other_options_are() -> None:
    data = {"a": {"containerd_version": "1.7.28"}, "b": {"containerd_version": "v1.7.28"}}
    assert list(inventory_data.differing_options(data)) == []


def test_an_option_under_its_old_and_new_name_is_not_a_difference() -> None:
    differing = inventory_data.differing_options(
        {
            "a": with_new_names({"load_balancer_address": "10.0.0.9"}),
            "b": with_new_names({"api_load_balancer_address": "10.0.0.9"}),
        }
    )
    assert list(differing) == []
