"""The whole inventory on Hetzner, read by pyinfra and the verification suites from the API's double."""

import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys.hetzner.api.client import HetznerError
from kubeadm_deploys.hetzner.api.names import recorded_servers
from kubeadm_deploys.hetzner.inventory import groups as inventory
from kubeadm_deploys.hetzner.servers.description import ClusterDescription
from kubeadm_deploys.verification.inventory import Machine, read_machines
from tests.lab.hetzner.server import Api, running
from tests.support.hetzner_cluster import client_of, make, wait_for_actions
from tests.support.hetzner_inventory import clean_logger, described_as, ssh_says

__all__ = ["clean_logger"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Run the double, with the environment and working directory of a user."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HETZNER_INVENTORY", raising=False)
    with running() as api:
        monkeypatch.setenv("HCLOUD_TOKEN", api.token)
        monkeypatch.setenv("HCLOUD_ENDPOINT", api.url)
        yield api


def project(
    folder: Path, *, name: str = "demo", inventory: str = "hetzner", text: str = "", **settings: object
) -> ClusterDescription:
    """Write a user's inventory and description file."""
    description = described_as(folder, name=name, **settings)
    data = folder / "inventories" / "group_data"
    data.mkdir(parents=True, exist_ok=True)
    (folder / "inventories" / f"{inventory}.py").write_text((ROOT / "inventories/hetzner.py").read_text())
    variables = {"ssh_key": str(folder / "id_ed25519.pub"), **settings}
    (data / f"{inventory}.py").write_text(f"cluster_name = {name!r}\n{text}\nhetzner = {variables!r}\n")
    return description


def groups(name: str = "hetzner") -> dict[str, list[str]]:
    """Return the host names in each group of an inventory in the working directory."""
    found = inventory.hetzner_groups(f"inventories/{name}.py")
    lists = {group: hosts[0] if isinstance(hosts, tuple) else hosts for group, hosts in found.items()}
    return {
        group: [host[0] if isinstance(host, tuple) else host for host in hosts]
        for group, hosts in lists.items()
    }


def pyinfra(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyinfra", *arguments], capture_output=True, text=True, check=False
    )


def machines() -> dict[str, Machine]:
    """Return the machines that the verification suites read from the inventory."""
    return {
        machine.name: machine
        for machine in read_machines("inventories/hetzner.py", ssh_config=Path("ssh_config"))
    }


@pytest.mark.usefixtures("clean_logger")
@pytest.mark.parametrize(
    ("control_planes", "workers", "calls"),
    [(1, 1, ["/servers"]), (3, 2, ["/servers", "/load_balancers"]), (1, 49, ["/servers"])],
)
def test_number_of_calls(
    api: Api, tmp_path: Path, control_planes: int, workers: int, calls: list[str]
) -> None:
    pools = {"worker": {"count": workers}}
    make(api, project(tmp_path, control_plane={"count": control_planes}, worker_pools=pools))
    api.calls.clear()
    found = groups()
    assert [call.path for call in api.calls] == calls
    assert (len(found["control_plane"]), len(found["workers"])) == (control_planes, workers)


@pytest.mark.usefixtures("clean_logger")
def test_a_second_inventory_within_a_minute_makes_no_call_until_servers_are_created(
    api: Api, tmp_path: Path
) -> None:
    make(api, project(tmp_path))
    groups()
    api.calls.clear()
    assert groups()["workers"] == ["demo-worker-1"]
    assert not api.calls
    make(api, project(tmp_path, worker_pools={"worker": {"count": 2}}))
    assert groups()["workers"] == ["demo-worker-1", "demo-worker-2"]


@pytest.mark.usefixtures("clean_logger")
def test_the_ssh_key_files_may_be_missing(api: Api, tmp_path: Path) -> None:
    make(api, project(tmp_path))
    (tmp_path / "id_ed25519.pub").unlink()
    shared = inventory.hetzner_groups("inventories/hetzner.py")["all"][1]
    assert "ssh_key" not in shared


@pytest.mark.usefixtures("clean_logger")
def test_two_clusters_do_not_see_each_other(api: Api, tmp_path: Path) -> None:
    make(api, project(tmp_path))
    staging = project(
        tmp_path, name="demo-staging", inventory="staging", worker_pools={"worker": {"count": 2}}
    )
    with pytest.raises(InventoryError, match=r"--data description=inventories/group_data/staging.py`"):
        groups("staging")
    make(api, staging)
    assert groups()["all"] == ["demo-control-plane-1", "demo-worker-1"]
    assert groups("staging")["all"] == [
        "demo-staging-control-plane-1",
        "demo-staging-worker-1",
        "demo-staging-worker-2",
    ]


@pytest.mark.usefixtures("clean_logger")
def test_a_stopped_server_is_skipped_and_a_deleted_one_forgotten(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HETZNER_INVENTORY", "refresh")
    make(api, project(tmp_path, worker_pools={"worker": {"count": 3}}))
    ids = {server.name: server_id for server_id, server in api.state.servers.items()}
    groups()
    client = client_of(api)
    client.request("POST", f"/servers/{ids['demo-worker-1']}/actions/poweroff")
    client.request("DELETE", f"/servers/{ids['demo-worker-2']}")
    wait_for_actions(api)
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        assert groups()["workers"] == ["demo-worker-3"]
    [record] = caplog.records
    assert record.message.endswith("not running: demo-worker-1 (off)")
    kept = {ids[name] for name in ("demo-control-plane-1", "demo-worker-1", "demo-worker-3")}
    assert ids["demo-worker-2"] not in kept
    folder = tmp_path / ".kubeadm-deploys" / "demo" / "known_hosts"
    assert {int(path.name) for path in folder.iterdir()} == kept


@pytest.mark.usefixtures("clean_logger")
def test_several_control_planes_without_a_load_balancer_cause_a_warning(
    api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(api, project(tmp_path, control_plane={"count": 3}))
    (balancer,) = api.state.load_balancers
    client_of(api).request("DELETE", f"/load_balancers/{balancer}")
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        groups()
    assert "no load balancer 'demo' found for the API servers" in caplog.text


@pytest.mark.usefixtures("clean_logger")
@pytest.mark.parametrize("fault", ["500", "503", "429", "drop-before"])
def test_after_an_api_fault_the_cached_answer_is_used(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    make(api, project(tmp_path))
    groups()
    record = recorded_servers("demo")
    old = json.loads(record.read_text())
    record.write_text(json.dumps({**old, "time": "2026-01-01T00:00:00+00:00"}))
    api.faults.order(fault=fault, path="/servers", times=None, seconds=60)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        assert groups()["all"] == ["demo-control-plane-1", "demo-worker-1"]
    assert time.monotonic() - began < 30, "waited for the API's rate limit"
    assert re.search(r"using the server list of \d+ days ago", caplog.text)
    assert json.loads(record.read_text())["time"].startswith("2026-01-01")
    monkeypatch.setenv("HETZNER_INVENTORY", "refresh")
    with pytest.raises(HetznerError, match="the cluster's servers"):
        groups()


def test_pyinfra_reads_the_inventory_in_a_users_folder(api: Api, tmp_path: Path) -> None:
    (tmp_path / "id_ed25519").touch()
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text("ssh_user = 'admin'\n")
    (tmp_path / "inventories" / "group_data").mkdir(parents=True)
    (tmp_path / "inventories" / "group_data" / "gpu.py").write_text("x_disk = 'fast'\n")
    text = "cloud_provider = 'none'\nx_disk = 'slow'\ncertificate_sans = ['api.example.com']"
    pools = {"worker": {"count": 1}, "gpu": {"count": 1}}
    make(api, project(tmp_path, text=text, control_plane={"count": 3}, worker_pools=pools))
    shown = pyinfra("inventories/hetzner.py", "debug-inventory")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout + shown.stderr == (shown.stdout + shown.stderr).replace(api.token, "")
    assert api.token not in recorded_servers("demo").read_text()

    found = machines()
    assert list(found) == [*(f"demo-control-plane-{n}" for n in (1, 2, 3)), "demo-gpu-1", "demo-worker-1"]
    gpu = found["demo-gpu-1"]
    assert set(gpu.groups) == {"hetzner", "workers", "gpu"}
    # The user's data overrides the inventory's, and the pool's data that of the whole cluster.
    assert (gpu.data["ssh_user"], gpu.data["cloud_provider"], gpu.data["x_disk"]) == ("admin", "none", "fast")
    (balancer,) = api.state.load_balancers
    shape = client_of(api).request("GET", f"/load_balancers/{balancer}")["load_balancer"]
    address = shape["private_net"][0]["ip"]
    public = shape["public_net"]
    assert gpu.data["api_load_balancer_address"] == address
    assert gpu.data["certificate_sans"] == [
        "api.example.com",
        address,
        public["ipv4"]["ip"],
        public["ipv6"]["ip"],
    ]
    assert gpu.data["hcloud_endpoint"] == api.url
    assert gpu.data["ssh_key"] == str(tmp_path / "id_ed25519")
    assert Path(gpu.data["ssh_known_hosts_file"]).is_absolute()


def test_a_hundred_servers_take_two_calls(api: Api, tmp_path: Path) -> None:
    pools = {"worker": {"count": 90}, "gpu": {"count": 9}}
    make(api, project(tmp_path, worker_pools=pools))
    api.calls.clear()
    found = pyinfra("inventories/hetzner.py", "debug-inventory")
    assert found.returncode == 0, found.stderr
    names = re.findall(r"^\[(.*?)\]", found.stdout + found.stderr, flags=re.MULTILINE)
    assert names == [
        "demo-control-plane-1",
        *(f"demo-gpu-{number}" for number in range(1, 10)),
        *(f"demo-worker-{number}" for number in range(1, 91)),
    ]
    assert [call.path for call in api.calls] == ["/servers"] * 2


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "cluster 'demo' has no servers; create them with `pyinfra -y @local deploys/servers.py`"),
        ({"HCLOUD_TOKEN": ""}, "HCLOUD_TOKEN is not set"),
        ({"HCLOUD_TOKEN": "wrong"}, "the API rejects the token in HCLOUD_TOKEN"),
        ({"HETZNER_INVENTORY": "never"}, "HETZNER_INVENTORY: 'never' is neither"),
        ({"HETZNER_INVENTORY": "offline"}, "no cached answer of http://127.0.0.1:"),
        ({"HCLOUD_ENDPOINT": "http://127.0.0.1:9/v1"}, "the API cannot be reached"),
    ],
)
@pytest.mark.usefixtures("api")
def test_without_servers_pyinfra_fails_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    project(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run = pyinfra("inventories/hetzner.py", "debug-inventory")
    assert run.returncode == 1
    assert sentence in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_a_cluster_without_running_servers_is_refused(api: Api, tmp_path: Path) -> None:
    make(api, project(tmp_path))
    for number in api.state.servers:
        client_of(api).request("POST", f"/servers/{number}/actions/poweroff")
    wait_for_actions(api)
    run = pyinfra("inventories/hetzner.py", "debug-inventory")
    assert run.returncode == 1
    assert (
        "no server of cluster 'demo' is running: demo-control-plane-1 (off), demo-worker-1 (off); start them"
        in run.stdout + run.stderr
    )


@pytest.mark.usefixtures("clean_logger")
def test_a_folder_that_cannot_be_created_is_named(api: Api, tmp_path: Path) -> None:
    make(api, project(tmp_path))
    (tmp_path / ".kubeadm-deploys").write_text("a file instead of the folder\n")
    with pytest.raises(
        InventoryError, match=r"kubeadm-deploys.*: Not a directory; start pyinfra in a folder"
    ):
        groups()


def test_the_verification_reaches_the_servers_offline_through_the_jump_host(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(api, project(tmp_path, connect_by="private", jump_host="admin@bastion.example.com:2222"))
    machines()
    monkeypatch.setenv("HETZNER_INVENTORY", "offline")
    monkeypatch.delenv("HCLOUD_TOKEN")
    capsys.readouterr()
    worker = machines()["demo-worker-1"]
    assert "offline; using the server list of" in capsys.readouterr().err
    settings = ssh_says(Path("ssh_config"), "demo-worker-1")
    assert settings["hostname"] == worker.data["node_ip"]
    assert settings["userknownhostsfile"] == worker.data["ssh_known_hosts_file"]
    assert settings["proxyjump"] == "bastion.example.com"
    # The jump host has its own ssh process, started with the same file.
    hop = ssh_says(Path("ssh_config"), "bastion.example.com")
    assert (hop["user"], hop["port"], hop["batchmode"]) == ("admin", "2222", "yes")
    assert hop["stricthostkeychecking"] == "accept-new"
    assert Path(hop["userknownhostsfile"].split()[0]).name == "jump_host"
