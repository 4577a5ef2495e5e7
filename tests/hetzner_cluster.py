"""A described cluster and the double of Hetzner's API, for the tests of servers and their deletion.

Who takes a fixture imports it and lists it in ``__all__``.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hcloud import Client

from kubeadm_deploys.hetzner.client import connect
from kubeadm_deploys.hetzner.description import ClusterDescription
from kubeadm_deploys.hetzner.description_file import describe
from kubeadm_deploys.hetzner.destroy import delete_cluster, read_doomed
from kubeadm_deploys.hetzner.plan import Plan
from kubeadm_deploys.hetzner.servers import make_servers, plan_servers
from kubeadm_deploys.hetzner.steps import Pace
from tests.lab.hetzner.records import Resource
from tests.lab.hetzner.server import Api, running

PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG6Di06OsPQ0bL3sRWVH+9lDJNBKcMzLwIbvXqAg9oCK operator@example"
)

IMPATIENT = Pace(busy=(0.02, 0.05, 0.1, 0.2, 0.4), first_poll=0.01, growth=1.2, longest_poll=0.1, deadline=20)
PATIENT = Pace(busy=(0.05,) * 40, first_poll=0.01, growth=1.2, longest_poll=0.1, deadline=20)

FAULTS = {
    "401": "the API does not know the token in HCLOUD_TOKEN; make one",
    "403": "the token in HCLOUD_TOKEN may not",
    "409": "run this again in a minute",
    "412": "try again later",
    "422": "the API refuses",
    "423": "is locked by another action",
    "429": "limit of calls an hour, which everything in the project shares, is reached; run this again after",
    "500": "the API fails (server_error",
    "503": "the API fails (unavailable",
    "drop-before": "the API cannot be reached",
    "drop-after": "the API cannot be reached",
    "slow": "the API did not answer in time",
    "action-error": "failed: ordered fault action-error",
}
"""What the user is told of each fault that the double can be ordered to make."""


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The double, for a test that works in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    with running() as api:
        yield api


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path)


def write_key(folder: Path) -> Path:
    """A public key's file."""
    path = folder / "id_ed25519.pub"
    path.write_text(f"{PUBLIC_KEY}\n")
    return path


def described(key: Path, *, name: str = "demo", **settings: object) -> ClusterDescription:
    """A description; without settings the default cluster of one control plane and one worker."""
    return describe({"cluster_name": name, "hetzner": {"ssh_key": str(key), **settings}})


def client_of(api: Api, *, read_timeout: float = 10) -> Client:
    """The product's own client, for the double."""
    return connect(
        {"HCLOUD_TOKEN": api.token, "HCLOUD_ENDPOINT": api.url}, read_timeout=read_timeout, backoff=0
    )


def make(
    api: Api, description: ClusterDescription, *, pace: Pace = PATIENT, read_timeout: float = 10
) -> Plan:
    """One run of the servers deploy, without pyinfra."""
    client = client_of(api, read_timeout=read_timeout)
    plan = plan_servers(client, description)
    make_servers(client, plan, report=lambda _: None, pace=pace)
    return plan


def destroy(api: Api, name: str = "demo", *, pace: Pace = PATIENT, read_timeout: float = 10) -> None:
    """One run of the destroy deploy, without pyinfra and confirmation."""
    client = client_of(api, read_timeout=read_timeout)
    delete_cluster(client, read_doomed(client, cluster_name=name), report=lambda _: None, pace=pace)


def order(api: Api, path: str, **body: object) -> None:
    """One call that makes or changes something, as anybody with the token can make it, and its actions' end."""
    client_of(api).request("POST", path, json=body)
    wait_for_actions(api)


def id_of(things: Mapping[int, Resource], name: str) -> int:
    """The ID of the only thing with this name."""
    [found] = [thing.id for thing in things.values() if thing.name == name]
    return found


def order_load_balancer(
    api: Api, name: str, *, labels: Mapping[str, str], cluster: str = "demo", target: int | None = None
) -> None:
    """A load balancer in a cluster's network, perhaps with a server behind it."""
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
    """What a person does by hand: a volume at a worker of cluster demo, a load balancer in its network."""
    order(api, "/volumes", name="customers", size=500, server=id_of(api.state.servers, "demo-worker-1"))
    order_load_balancer(api, "shop", labels={"team": "shop"})


def writes(api: Api) -> list[tuple[str, str]]:
    """The writing calls so far, ids replaced by a star, in alphabetical order."""
    return sorted((call.method, starred(call.path)) for call in api.calls if call.write)


def starred(path: str) -> str:
    """A path with every id replaced by a star."""
    return "/".join("*" if part.isdigit() else part for part in path.split("/"))


def cripple(api: Api) -> None:
    """Take away everything that can be, short of deleting servers, load balancer, network and firewall."""
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
    """Order that the call with this number, of those with this path, ends badly."""
    # These are tried again, so that they must go on; a slow answer comes when nobody waits for it any more.
    api.faults.order(
        fault=fault,
        method=method,
        path=path,
        after=number,
        times=None if fault in ("409", "423", "429") else 1,
        seconds=3 if fault == "slow" else 0,
    )


def wait_for_calls(api: Api, *, method: str, path: str, count: int) -> None:
    """Wait until so many calls of a path have been answered, those included that nobody waits for."""
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
        "the end of all actions",
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait at most ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come within 10 s"
        time.sleep(0.02)


def shape(api: Api) -> dict[str, Any]:
    """Everything in the project, by names instead of ids, so that two projects can be compared."""
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
