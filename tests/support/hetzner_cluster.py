"""A described cluster and the test double of Hetzner's API, for the tests of servers and their deletion.

A test module that uses a fixture imports it and lists it in ``__all__``.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hcloud import Client

from kubeadm_deploys.hetzner.api.client import connect
from kubeadm_deploys.hetzner.api.steps import RetryPolicy
from kubeadm_deploys.hetzner.servers.deploy import make_servers, plan_servers
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.hetzner.servers.description_file import describe
from kubeadm_deploys.hetzner.servers.destroy import delete_cluster, read_deletion_plan
from kubeadm_deploys.hetzner.servers.plan import Plan
from tests.lab.hetzner.records import Resource
from tests.lab.hetzner.server import Api, running

PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG6Di06OsPQ0bL3sRWVH+9lDJNBKcMzLwIbvXqAg9oCK operator@example"
)

IMPATIENT = RetryPolicy(
    busy=(0.02, 0.05, 0.1, 0.2, 0.4), first_poll=0.01, growth=1.2, longest_poll=0.1, deadline=20
)
PATIENT = RetryPolicy(busy=(0.05,) * 40, first_poll=0.01, growth=1.2, longest_poll=0.1, deadline=20)

FAULTS = {
    "401": "the API rejects the token in HCLOUD_TOKEN; create one",
    "403": "the token in HCLOUD_TOKEN does not permit this",
    "409": "run this again in a minute",
    "412": "try again later",
    "422": "the API rejects",
    "423": "is locked by another action",
    "429": "hourly rate limit, shared by the whole project, is reached; run this again after",
    "500": "the API failed (server_error",
    "503": "the API failed (unavailable",
    "drop-before": "the API cannot be reached",
    "drop-after": "the API cannot be reached",
    "slow": "the API did not answer in time",
    "action-error": "failed: ordered fault action-error",
}
"""The message that the user gets for each fault that the double can make."""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Run the double, for a test that works in its own folder."""
    monkeypatch.chdir(tmp_path)
    with running() as api:
        yield api


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path)


def write_key(folder: Path) -> Path:
    """Write a public key file and return its path."""
    path = folder / "id_ed25519.pub"
    path.write_text(f"{PUBLIC_KEY}\n")
    return path


def described(key: Path, *, name: str = "demo", **settings: object) -> ClusterDescription:
    """Return a description; without settings the default cluster of one control plane and one worker."""
    return describe({"cluster_name": name, "hetzner": {"ssh_key": str(key), **settings}})


def client_of(api: Api, *, read_timeout: float = 10) -> Client:
    """Return the product's own client, connected to the double."""
    return connect(
        {"HCLOUD_TOKEN": api.token, "HCLOUD_ENDPOINT": api.url}, read_timeout=read_timeout, backoff=0
    )


def make(
    api: Api,
    description: ClusterDescription,
    *,
    retry_policy: RetryPolicy = PATIENT,
    read_timeout: float = 10,
) -> Plan:
    """Run the servers deploy once, without pyinfra."""
    client = client_of(api, read_timeout=read_timeout)
    plan = plan_servers(client, description)
    make_servers(client, plan, report=lambda _: None, retry_policy=retry_policy)
    return plan


def destroy(
    api: Api, name: str = "demo", *, retry_policy: RetryPolicy = PATIENT, read_timeout: float = 10
) -> None:
    """Run the destroy deploy once, without pyinfra and confirmation."""
    client = client_of(api, read_timeout=read_timeout)
    delete_cluster(
        client,
        read_deletion_plan(client, cluster_name=name),
        report=lambda _: None,
        retry_policy=retry_policy,
    )


def order(api: Api, path: str, **body: object) -> None:
    """Make a writing call, as anybody with the token can, and wait for its actions to end."""
    client_of(api).request("POST", path, json=body)
    wait_for_actions(api)


def id_of(things: Mapping[int, Resource], name: str) -> int:
    """Return the ID of the only resource with this name."""
    [resource_id] = [thing.id for thing in things.values() if thing.name == name]
    return resource_id


def order_load_balancer(
    api: Api, name: str, *, labels: Mapping[str, str], cluster: str = "demo", target: int | None = None
) -> None:
    """Order a load balancer in a cluster's network, with the server ``target`` behind it if one is given."""
    private = {"type": "server", "server": {"id": target}, "use_private_ip": True}
    order(
        api,
        "/load_balancers",
        name=name,
        load_balancer_type="lb11",
        location="fsn1",
        network=id_of(api.state.networks, cluster),
        targets=[] if target is None else [private],
        labels=labels,
    )


def attach_by_hand(api: Api) -> None:
    """Attach what a person makes by hand: a volume to a worker of demo, a load balancer to its network."""
    order(api, "/volumes", name="customers", size=500, server=id_of(api.state.servers, "demo-worker-1"))
    order_load_balancer(api, "shop", labels={"team": "shop"})


def writes(api: Api) -> list[tuple[str, str]]:
    """Return the writing calls so far, IDs replaced by a star, in alphabetical order."""
    return sorted((call.method, starred(call.path)) for call in api.calls if call.write)


def starred(path: str) -> str:
    """Return a path with every ID replaced by a star."""
    return "/".join("*" if part.isdigit() else part for part in path.split("/"))


def cripple(api: Api) -> None:
    """Detach and clear everything possible, without deleting servers, load balancer, network and firewall."""
    for wall in api.state.firewalls.values():
        order(api, f"/firewalls/{wall.id}/actions/set_rules", rules=[])
        order(api, f"/firewalls/{wall.id}/actions/remove_from_resources", remove_from=list(wall.applied_to))
    for network in api.state.networks.values():
        for balancer in api.state.load_balancers.values():
            path = f"/load_balancers/{balancer.id}/actions"
            selector = balancer.targets[0]["label_selector"]
            order(api, f"{path}/remove_target", type="label_selector", label_selector=selector)
            order(api, f"{path}/delete_service", listen_port=6443)
            order(api, f"{path}/detach_from_network", network=network.id)
        for server in api.state.servers.values():
            order(api, f"/servers/{server.id}/actions/detach_from_network", network=network.id)
        order(api, f"/networks/{network.id}/actions/delete_subnet", ip_range=network.subnets[0]["ip_range"])
    api.calls.clear()


def order_fault(api: Api, fault: str, *, method: str, path: str, number: int) -> None:
    """Have the ``number``-th call of this method and path fail with this fault."""
    # The client retries 409, 423 and 429, so they must persist; a slow answer comes after the client's
    # timeout.
    api.faults.order(
        fault=fault,
        method=method,
        path=path,
        after=number,
        times=None if fault in ("409", "423", "429") else 1,
        seconds=1.5 if fault == "slow" else 0,
    )


def wait_for_calls(api: Api, *, method: str, path: str, count: int) -> None:
    """Wait until ``count`` calls of a path are answered, including those whose client gave up."""
    wait_until(
        lambda: (
            sum(call.method == method and fnmatchcase(call.path, path) for call in list(api.calls)) >= count
        ),
        f"{count} calls {method} {path}",
    )


def wait_for_actions(api: Api) -> None:
    """Wait until no action runs."""
    wait_until(
        lambda: all(action.status != "running" for action in list(api.state.actions.all.values())),
        "end of all actions",
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait at most ten seconds for a condition."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within 10 s"
        time.sleep(0.02)


def shape(api: Api) -> dict[str, Any]:
    """Return everything in the project, by names instead of IDs, so that two projects can be compared."""
    state = api.state
    networks = {network.id: network.name for network in state.networks.values()}
    groups = {group.id: group.name for group in state.placement_groups.values()}
    servers = {server.id: server.name for server in state.servers.values()}
    return {
        "ssh_keys": sorted((key.name, key.fingerprint, key.labels) for key in state.ssh_keys.values()),
        "networks": [(net.name, net.ip_range, net.subnets, net.labels) for net in state.networks.values()],
        "firewalls": [
            (wall.name, _sorted(wall.rules), wall.applied_to, wall.labels)
            for wall in state.firewalls.values()
        ],
        "placement_groups": _sorted([{"name": g.name, **g.labels} for g in state.placement_groups.values()]),
        "servers": _sorted(
            [
                {
                    "name": server.name,
                    "type": server.server_type,
                    "status": server.status,
                    "labels": server.labels,
                    "networks": [networks[network] for network in server.networks],
                    "group": groups.get(server.placement_group or 0),
                    "keys": server.ssh_keys,
                }
                for server in state.servers.values()
            ]
        ),
        "load_balancers": [
            {
                "name": balancer.name,
                "type": balancer.load_balancer_type,
                "public": balancer.public_enabled,
                "networks": [networks[network] for network in balancer.networks],
                "services": balancer.services,
                "targets": balancer.targets,
                "labels": balancer.labels,
            }
            for balancer in state.load_balancers.values()
        ],
        "primary_ips": sorted(
            (servers.get(address.assignee_id or 0, "nobody"), address.type)
            for address in state.primary_ips.values()
        ),
    }


def _sorted(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(items, key=lambda item: str(item.get("name", item)))
