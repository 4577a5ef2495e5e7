"""The destroy deploy against the double of Hetzner's API: it deletes exactly the confirmed cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubeadm_deploys.hetzner.api.client import HetznerError
from kubeadm_deploys.hetzner.api.names import state_folder
from kubeadm_deploys.hetzner.servers.destroy import (
    delete_cluster,
    read_deletion_plan,
    refuse_protected,
    refuse_unconfirmed,
)
from kubeadm_deploys.model.errors import InputError
from tests.lab.hetzner.server import Api
from tests.support.hetzner_cluster import (
    PATIENT,
    api,
    attach_by_hand,
    client_of,
    described,
    destroy,
    id_of,
    key,
    make,
    order,
    order_load_balancer,
    shape,
    writes,
)

__all__ = ["api", "key"]

ROOT = Path(__file__).parents[2]


def order_controller_resources(api: Api, *, cluster: str = "demo") -> None:
    """Create what a cluster's controllers would: a volume on a server, and a load balancer for it."""
    worker = id_of(api.state.servers, f"{cluster}-worker-1")
    labels = {"managed-by": "csi-driver", "kubeadm-deploys/cluster": cluster, "pv-name": f"pvc-{cluster}"}
    order(api, "/volumes", name=f"pvc-{cluster}", size=10, server=worker, labels=labels)
    order_load_balancer(
        api,
        f"svc-{cluster}",
        target=worker,
        cluster=cluster,
        labels={"hcloud-ccm/service-uid": f"uid-{cluster}"},
    )


def order_foreign_server(api: Api) -> None:
    """Create a foreign server in the cluster's network and placement group, behind its firewall."""
    order(
        api,
        "/servers",
        name="shop-1",
        server_type="cx23",
        image="debian-13",
        location="fsn1",
        networks=[id_of(api.state.networks, "demo")],
        placement_group=id_of(api.state.placement_groups, "demo-worker-1"),
    )
    shop = {"type": "server", "server": {"id": id_of(api.state.servers, "shop-1")}}
    wall = id_of(api.state.firewalls, "demo")
    order(api, f"/firewalls/{wall}/actions/apply_to_resources", apply_to=[shop])


def test_everything_of_the_cluster_is_deleted_and_nothing_else(api: Api, key: Path) -> None:
    make(api, described(key, name="other", network="10.1.0.0/16"))
    order_controller_resources(api, cluster="other")
    order(api, "/volumes", name="mine", size=10, location="fsn1")
    before = shape(api)
    make(api, described(key, control_plane={"count": 3}))
    order_controller_resources(api)
    state_folder("demo").mkdir(parents=True)

    destroy(api)
    assert shape(api) == before
    assert {volume.name for volume in api.state.volumes.values()} == {"mine", "pvc-other"}
    assert not state_folder("demo").exists()


def test_resources_attached_by_hand_are_detached_and_kept(api: Api, key: Path) -> None:
    make(api, described(key))
    order_controller_resources(api)
    attach_by_hand(api)
    destroy(api)
    [volume] = api.state.volumes.values()
    assert (volume.name, volume.server) == ("customers", None)
    [balancer] = api.state.load_balancers.values()
    assert (balancer.name, balancer.networks) == ("shop", {})
    assert not api.state.servers and not api.state.networks
    api.calls.clear()
    destroy(api)
    assert writes(api) == []


def test_resources_used_by_foreign_servers_are_kept_unchanged(api: Api, key: Path) -> None:
    make(api, described(key))
    order_controller_resources(api)
    order_foreign_server(api)
    attachment = dict(api.state.servers[id_of(api.state.servers, "shop-1")].networks)
    reported: list[str] = []
    client = client_of(api)
    found = read_deletion_plan(client, cluster_name="demo")
    assert [line.partition(":")[0] for line in found.kept] == [
        "network demo (10.0.0.0/16)",
        "firewall demo",
        "placement group demo-worker-1",
    ]
    delete_cluster(client, found, report=reported.append, retry_policy=PATIENT)

    [server] = api.state.servers.values()
    assert (server.name, server.networks) == ("shop-1", attachment)
    assert server.networks and server.placement_group in api.state.placement_groups
    assert server.firewalls_in_force[0] == tuple(api.state.firewalls)
    assert len(api.state.networks) == len(api.state.firewalls) == len(api.state.placement_groups) == 1
    assert not api.state.load_balancers and not api.state.volumes and not api.state.ssh_keys
    assert reported[-1] == "Nothing of cluster demo is left except what is kept."

    again = read_deletion_plan(client, cluster_name="demo")
    assert again.kept == found.kept
    refuse_unconfirmed(again, confirmation=None)
    api.calls.clear()
    delete_cluster(client, again, report=reported.append, retry_policy=PATIENT)
    assert writes(api) == []


def test_uses_outside_the_cluster_are_read_from_the_api(api: Api, key: Path) -> None:
    make(api, described(key))
    network, wall = id_of(api.state.networks, "demo"), id_of(api.state.firewalls, "demo")
    subnet = {"type": "vswitch", "vswitch_id": 7, "ip_range": "10.1.0.0/24", "network_zone": "eu-central"}
    order(api, f"/networks/{network}/actions/change_ip_range", ip_range="10.0.0.0/15")
    order(api, f"/networks/{network}/actions/add_subnet", **subnet)
    prod = {"type": "label_selector", "label_selector": {"selector": "env=prod"}}
    order(api, f"/firewalls/{wall}/actions/apply_to_resources", apply_to=[prod])
    order_load_balancer(
        api, "svc", target=id_of(api.state.servers, "demo-worker-1"), labels={"hcloud-ccm/service-uid": "x"}
    )
    balancer = id_of(api.state.load_balancers, "svc")
    dedicated = {"type": "ip", "ip": {"ip": "203.0.113.9"}}
    for target in (prod, dedicated, {**prod, "label_selector": {"selector": "a=b"}, "use_private_ip": True}):
        order(api, f"/load_balancers/{balancer}/actions/add_target", **target)
    assert read_deletion_plan(client_of(api), cluster_name="demo").kept == (
        "network demo (10.0.0.0/15): it connects dedicated servers by a vSwitch",
        "load balancer svc: it forwards to servers with the label a=b and servers with the label env=prod "
        "and address 203.0.113.9 outside this cluster",
        "firewall demo: it protects servers with the label env=prod outside this cluster",
    )


def test_another_clusters_load_balancer_in_the_network_is_kept(api: Api, key: Path) -> None:
    make(api, described(key))
    make(api, described(key, name="other", network="10.1.0.0/16"))
    worker = id_of(api.state.servers, "other-worker-1")
    network = id_of(api.state.networks, "demo")
    order(api, f"/servers/{worker}/actions/attach_to_network", network=network)
    order_load_balancer(api, "svc-other", target=worker, labels={"hcloud-ccm/service-uid": "uid-other"})
    destroy(api)
    [balancer] = api.state.load_balancers.values()
    assert [target["server"]["id"] for target in balancer.targets] == [worker]
    assert list(balancer.networks) == [network]


def test_addresses_that_outlive_their_server_are_kept(api: Api, key: Path) -> None:
    make(api, described(key))
    worker = id_of(api.state.servers, "demo-worker-1")
    order(api, "/floating_ips", type="ipv4", name="www", server=worker)
    for address in api.state.primary_ips.values():
        if address.assignee_id == worker and address.type == "ipv4":
            address.name, address.auto_delete = "office", False
    lines = [
        detachment.line for detachment in read_deletion_plan(client_of(api), cluster_name="demo").detached
    ]
    assert [line.partition(" (")[0] for line in lines] == ["Primary IP office", "Floating IP www"]
    destroy(api)
    assert [(ip.name, ip.assignee_id) for ip in api.state.primary_ips.values()] == [("office", None)]
    assert [(ip.name, ip.server) for ip in api.state.floating_ips.values()] == [("www", None)]


def test_only_what_was_listed_is_deleted(api: Api, key: Path) -> None:
    make(api, described(key))
    listed = read_deletion_plan(client_of(api), cluster_name="demo")
    order_foreign_server(api)
    api.calls.clear()
    with pytest.raises(HetznerError, match="has changed since this was listed, so nothing was deleted"):
        delete_cluster(client_of(api), listed, report=lambda _: None, retry_policy=PATIENT)
    assert writes(api) == []


def test_a_second_run_deletes_nothing(api: Api, key: Path) -> None:
    make(api, described(key))
    destroy(api)
    api.calls.clear()
    destroy(api)
    assert writes(api) == []


@pytest.mark.parametrize("path", ["/firewalls/*", "/placement_groups/*"])
def test_deleting_a_resource_that_is_still_in_use_is_retried(api: Api, key: Path, path: str) -> None:
    make(api, described(key))
    api.faults.order(fault=422, code="resource_in_use", method="DELETE", path=path, times=2)
    destroy(api)
    assert not any(shape(api).values())


def test_the_users_own_ssh_key_stays(api: Api, key: Path) -> None:
    client_of(api).ssh_keys.create(name="laptop", public_key=key.read_text())
    make(api, described(key))
    destroy(api)
    assert [name for name, *_ in shape(api)["ssh_keys"]] == ["laptop"]


def test_resources_created_by_the_cluster_are_listed(api: Api, key: Path) -> None:
    make(api, described(key))
    order_controller_resources(api)
    lines = read_deletion_plan(client_of(api), cluster_name="demo").lines
    assert "volume pvc-demo (10 GB, with its data)" in lines
    assert "load balancer svc-demo (lb11, of a Service in the cluster)" in lines
    assert "server demo-worker-1 (cx23)" in lines


def test_protected_resources_are_refused_before_anything_is_deleted(api: Api, key: Path) -> None:
    make(api, described(key))
    client = client_of(api)
    [server] = [server for server in client.servers.get_all() if server.name == "demo-worker-1"]
    server.change_protection(delete=True, rebuild=True)
    with pytest.raises(InputError, match="hcloud server disable-protection demo-worker-1 delete"):
        refuse_protected(read_deletion_plan(client, cluster_name="demo"))


@pytest.mark.parametrize("confirmation", [None, "other", "demo2", 7])
def test_deletion_without_the_clusters_name_is_refused(api: Api, key: Path, confirmation: object) -> None:
    make(api, described(key))
    found = read_deletion_plan(client_of(api), cluster_name="demo")
    with pytest.raises(InputError, match="add: --data confirm=demo"):
        refuse_unconfirmed(found, confirmation=confirmation)


def test_actions_of_many_servers_are_polled_together(api: Api, key: Path) -> None:
    make(api, described(key, worker_pools={"worker": {"count": 60}}))
    api.calls.clear()
    destroy(api)
    assert not any(shape(api).values())
    assert len(api.calls) < 2 * 61


def test_listing_deleting_and_a_second_run_on_the_command_line(tmp_path: Path, api: Api, key: Path) -> None:
    (tmp_path / "demo.py").write_text(f"cluster_name = 'demo'\nhetzner = {{'ssh_key': {str(key)!r}}}\n")
    make(api, described(key))
    attach_by_hand(api)
    # A missing key must not prevent deletion.
    key.unlink()

    def pyinfra(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                Path(sys.executable).with_name("pyinfra"),
                *("-y", "@local", str(ROOT / "deploys/destroy_servers.py"), "--data", "description=demo.py"),
                *arguments,
            ],
            env={"PATH": os.environ["PATH"], "HCLOUD_ENDPOINT": api.url, "HCLOUD_TOKEN": api.token},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    listed = pyinfra()
    assert listed.returncode == 1
    assert "server demo-worker-1 (cx23)" in listed.stderr
    assert "add: --data confirm=demo" in listed.stderr and "Traceback" not in listed.stderr
    assert "To be detached and kept:" in listed.stderr
    assert (
        "volume customers (500 GB) from server demo-worker-1: it lacks this cluster's label" in listed.stderr
    )
    assert len(shape(api)["servers"]) == 2

    done = pyinfra("--data", "confirm=demo")
    assert done.returncode == 0, done.stderr
    assert "Nothing of cluster demo is left." in done.stderr
    assert [balancer.name for balancer in api.state.load_balancers.values()] == ["shop"]
    assert not api.state.servers and not api.state.networks

    again = pyinfra()
    assert again.returncode == 0 and "(nothing to delete)" in again.stderr
