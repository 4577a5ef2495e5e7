"""The destroy deploy against the double of Hetzner's API: exactly what belongs to the cluster, once confirmed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hcloud.networks import Network
from hcloud.servers import Server

from kubeadm_deploys.errors import InputError
from kubeadm_deploys.hetzner.destroy import read_doomed, refuse_protected, refuse_unconfirmed
from kubeadm_deploys.hetzner.names import state_folder
from tests.hetzner_cluster import (
    api,
    client_of,
    described,
    destroy,
    key,
    make,
    shape,
    wait_for_actions,
    writes,
)
from tests.lab.hetzner.server import Api

__all__ = ["api", "key"]

ROOT = Path(__file__).parents[1]


def own_things(api: Api, *, cluster: str = "demo") -> None:
    """What a cluster makes by itself: a volume at one of its servers, a load balancer in its network."""
    client = client_of(api)
    server = next(server for server in api.state.servers.values() if server.name == f"{cluster}-worker-1")
    network = next(network for network in api.state.networks.values() if network.name == cluster)
    client.volumes.create(size=10, name=f"pvc-{cluster}", server=Server(id=server.id))
    client.load_balancers.create(
        name=f"svc-{cluster}",
        load_balancer_type=client.load_balancer_types.get_by_name("lb11"),  # type: ignore[arg-type]
        location=client.locations.get_by_name("fsn1"),
        network=Network(id=network.id),
    )
    wait_for_actions(api)


def test_everything_of_the_cluster_goes_and_nothing_else(api: Api, key: Path) -> None:
    make(api, described(key, name="other", network="10.1.0.0/16"))
    own_things(api, cluster="other")
    client_of(api).volumes.create(size=10, name="mine", location=client_of(api).locations.get_by_name("fsn1"))
    wait_for_actions(api)
    before = shape(api)
    make(api, described(key, control_plane={"count": 3}))
    own_things(api)
    state_folder("demo").mkdir(parents=True)

    destroy(api)
    assert shape(api) == before
    assert {volume.name for volume in api.state.volumes.values()} == {"mine", "pvc-other"}
    assert not state_folder("demo").exists()


def test_nothing_is_left_to_delete_after_it(api: Api, key: Path) -> None:
    make(api, described(key))
    destroy(api)
    api.calls.clear()
    destroy(api)
    assert writes(api) == []


@pytest.mark.parametrize("path", ["/firewalls/*", "/placement_groups/*"])
def test_what_is_in_use_for_a_moment_still_is_asked_again(api: Api, key: Path, path: str) -> None:
    make(api, described(key))
    api.faults.order(fault=422, code="resource_in_use", method="DELETE", path=path, times=2)
    destroy(api)
    assert not any(shape(api).values())


def test_an_ssh_key_of_the_user_stays(api: Api, key: Path) -> None:
    client_of(api).ssh_keys.create(name="laptop", public_key=key.read_text())
    make(api, described(key))
    destroy(api)
    assert [name for name, *_ in shape(api)["ssh_keys"]] == ["laptop"]


def test_the_list_names_what_the_cluster_made(api: Api, key: Path) -> None:
    make(api, described(key))
    own_things(api)
    lines = read_doomed(client_of(api), cluster_name="demo").lines
    assert "volume pvc-demo (10 GB, with its data, made by the cluster)" in lines
    assert "load balancer svc-demo (made by the cluster)" in lines
    assert "server demo-worker-1 (cx23)" in lines


def test_protected_things_stop_it_before_anything_is_deleted(api: Api, key: Path) -> None:
    make(api, described(key))
    client = client_of(api)
    [server] = [one for one in client.servers.get_all() if one.name == "demo-worker-1"]
    server.change_protection(delete=True, rebuild=True)
    with pytest.raises(InputError, match="hcloud server disable-protection demo-worker-1 delete"):
        refuse_protected(read_doomed(client, cluster_name="demo"))


@pytest.mark.parametrize("confirmation", [None, "other", "demo2", 7])
def test_without_the_clusters_name_nothing_is_deleted(api: Api, key: Path, confirmation: object) -> None:
    make(api, described(key))
    found = read_doomed(client_of(api), cluster_name="demo")
    with pytest.raises(InputError, match="add: --data confirm=demo"):
        refuse_unconfirmed(found, confirmation=confirmation)


def test_many_servers_are_awaited_together(api: Api, key: Path) -> None:
    make(api, described(key, worker_pools={"worker": {"count": 60}}))
    api.calls.clear()
    destroy(api)
    assert not any(shape(api).values())
    assert len(api.calls) < 2 * 61


def test_on_the_command_line(tmp_path: Path, api: Api, key: Path) -> None:
    (tmp_path / "demo.py").write_text(f"cluster_name = 'demo'\nhetzner = {{'ssh_key': {str(key)!r}}}\n")
    make(api, described(key))
    # A lost key must not keep anybody from deleting.
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
    assert len(shape(api)["servers"]) == 2

    done = pyinfra("--data", "confirm=demo")
    assert done.returncode == 0, done.stderr
    assert "Nothing of cluster demo is left." in done.stderr
    assert not any(shape(api).values())

    again = pyinfra("--data", "confirm=demo")
    assert again.returncode == 0 and "nothing of it is there" in again.stderr
