"""The address at which each node reaches the API."""

import base64

import pytest

from kubeadm_deploys.documents import hosts_file
from kubeadm_deploys.endpoints import KINDS, kind_of
from kubeadm_deploys.facts.endpoint_name import (
    HOSTS_FILE,
    HOSTS_TEMPLATE,
    RESTART_DUE,
    ApiEndpoint,
    ApiEndpointState,
)
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections.api_endpoint import address_for, resolve_commands


def node(name: str, ip: str) -> Node:
    return Node(host=name, name=name, ip=ip, address=ip)


FIRST, SECOND, WORKER = (
    node(name, ip) for name, ip in (("a", "10.0.0.2"), ("b", "10.0.0.3"), ("c", "10.0.0.4"))
)
ONE = Topology(control_planes=(FIRST,), workers=(WORKER,))
TWO = Topology(control_planes=(FIRST, SECOND), workers=(WORKER,))
LOAD_BALANCER = "10.0.0.254"


@pytest.mark.parametrize(
    ("kind", "load_balancer", "topology", "expected"),
    [
        ("", "", ONE, "single"),
        ("", "", TWO, "local_proxy"),
        ("", LOAD_BALANCER, ONE, "load_balancer"),
        ("", LOAD_BALANCER, TWO, "load_balancer"),
        ("single", LOAD_BALANCER, TWO, "single"),
        ("local_proxy", "", ONE, "local_proxy"),
    ],
)
def test_the_kind_follows_the_option_or_suits_the_cluster(
    kind: str, load_balancer: str, topology: Topology, expected: str
) -> None:
    options = ClusterOptions(endpoint_kind=kind, api_load_balancer_address=load_balancer)
    assert kind_of(options=options, topology=topology) is KINDS[expected]


def test_a_load_balancer_without_address_is_refused() -> None:
    with pytest.raises(InputError, match="endpoint_kind: 'load_balancer' needs api_load_balancer_address"):
        ClusterOptions(endpoint_kind="load_balancer")


@pytest.mark.parametrize(
    ("options", "current", "address"),
    [
        ({"api_load_balancer_address": LOAD_BALANCER}, "10.0.0.2", LOAD_BALANCER),
        ({"endpoint_kind": "local_proxy"}, "10.0.0.2", "127.0.0.1"),
        ({"endpoint_kind": "single"}, "", "10.0.0.2"),
        # A working address is left alone, whichever control plane is first in the inventory.
        ({"endpoint_kind": "single"}, "10.0.0.3", "10.0.0.3"),
        ({"endpoint_kind": "single"}, "10.0.0.9", "10.0.0.2"),
        ({"endpoint_kind": "single"}, LOAD_BALANCER, "10.0.0.2"),
    ],
)
def test_a_worker_uses_the_address_of_its_kind_of_endpoint(
    options: dict[str, str], current: str, address: str
) -> None:
    assert (
        address_for(
            options=ClusterOptions(**options),
            topology=TWO,
            node=WORKER,
            control_planes=(FIRST, SECOND),
            current=current,
            serves_api=False,
        )
        == address
    )


@pytest.mark.parametrize(
    ("joining", "serves_api", "address"),
    [
        (FIRST, False, "10.0.0.3"),
        (FIRST, True, "10.0.0.2"),
        (SECOND, True, "10.0.0.3"),
    ],
)
def test_a_control_plane_uses_its_own_api_server_and_until_then_the_leaders(
    joining: Node, serves_api: bool, address: str
) -> None:
    assert (
        address_for(
            options=ClusterOptions(api_load_balancer_address=LOAD_BALANCER),
            topology=TWO,
            node=joining,
            control_planes=(SECOND,),
            current="",
            serves_api=serves_api,
        )
        == address
    )


def test_the_first_line_with_a_name_counts() -> None:
    text = "127.0.0.1 localhost\n# 10.0.0.1 api\n10.0.0.2 other api # 10.0.0.9\n10.0.0.3 api\n"
    assert hosts_file.address_of(text, name="api") == "10.0.0.2"
    assert hosts_file.address_of(text, name="absent") == ""


def test_the_fact_reads_both_hosts_files() -> None:
    encoded = base64.b64encode(b"127.0.0.1 localhost\n").decode()
    output = [f"hosts:{HOSTS_FILE} {encoded}", f"hosts:{HOSTS_TEMPLATE} {encoded}", "joined", "serves"]
    assert ApiEndpoint().process(output) == ApiEndpointState(
        hosts_files={HOSTS_FILE: "127.0.0.1 localhost\n", HOSTS_TEMPLATE: "127.0.0.1 localhost\n"},
        joined=True,
        serves_api=True,
    )


def test_a_bare_machine_serves_no_api() -> None:
    state = ApiEndpoint().process([f"hosts:{HOSTS_FILE} "])
    assert state == ApiEndpointState(hosts_files={HOSTS_FILE: ""})


@pytest.mark.parametrize(
    ("joined", "restart_due", "restarts"), [(True, True, 1), (True, False, 0), (False, True, 0)]
)
def test_a_restart_that_failed_is_repeated_although_the_hosts_file_is_right(
    joined: bool, restart_due: bool, restarts: int
) -> None:
    found = ApiEndpointState(
        hosts_files={HOSTS_FILE: "10.0.0.1 api.internal\n"}, joined=joined, restart_due=restart_due
    )
    commands = resolve_commands(found, endpoint="api.internal", address="10.0.0.1")
    assert ["restart-clients" in command.get_raw_value() for command in commands] == [True] * restarts


def test_the_files_are_only_written_after_the_restart_is_noted() -> None:
    found = ApiEndpointState(hosts_files={HOSTS_FILE: ""}, joined=True)
    (command,) = resolve_commands(found, endpoint="api.internal", address="10.0.0.1")
    noted, _, rest = command.get_raw_value().partition(" && ")
    assert noted.endswith(f"touch {RESTART_DUE}")
    assert rest.index("write-files") < rest.index("restart-clients")
    assert ApiEndpoint().process(["hosts:/etc/hosts", "joined", "restart-due"]).restart_due
