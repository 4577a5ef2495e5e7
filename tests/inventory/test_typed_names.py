"""Names that pyinfra reads as numbers, booleans or null, on its real command line: they are used as typed."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.lab.hetzner.server import Api
from tests.support.fake_answers import ROOT
from tests.support.hetzner_cluster import api, described, key, make
from tests.support.pyinfra_command import pyinfra

__all__ = ["api", "key"]

NAMES = ["2024", "007", "1e5", "true", "null"]

DEPLOY = """
import json
from pyinfra import host
from kubeadm_deploys.inventory.data import host_data, node_of, options_from_data
data = host_data(host)
print("DATA", json.dumps([data["confirm"], node_of(host).name, options_from_data(data, also=("confirm",)).cluster_name]))
"""


def run(*arguments: str, api: Api | None = None) -> subprocess.CompletedProcess[str]:
    """Run pyinfra in the folder of the test."""
    token = {"HCLOUD_ENDPOINT": api.url, "HCLOUD_TOKEN": api.token} if api else {}
    return pyinfra("-y", *arguments, folder=Path.cwd(), environment={"PATH": os.environ["PATH"], **token})


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write an inventory with a control plane that answers with no output."""
    monkeypatch.chdir(tmp_path)
    data = {"fake_delay": 0, "fake_delay_jitter": 0, "node_ip": "10.0.0.1"}
    Path("inventory.py").write_text(f"control_plane = [('@fake/cp-1', {data!r})]\n")
    return "inventory.py"


@pytest.mark.parametrize("name", NAMES)
def test_deploys_get_names_as_typed(inventory: str, name: str) -> None:
    Path("deploy.py").write_text(DEPLOY)
    given = [
        "--data",
        f"confirm={name}",
        *(f"--data={key}={name}" for key in ("node_name", "cluster_name")),
    ]
    done = run(*given, inventory, "deploy.py")
    assert done.returncode == 0, done.stderr
    assert f"DATA {json.dumps([name, name, name])}" in done.stdout


@pytest.mark.parametrize(
    ("name", "confirm"), [("2024", "2024"), ("true", "true"), ("7", "007"), ("007", "7"), ("100000", "1e5")]
)
def test_only_the_clusters_exact_name_confirms_a_reset(inventory: str, name: str, confirm: str) -> None:
    given = ["--data", f"cluster_name={name}", "--data", f"confirm={confirm}"]
    done = run(*given, inventory, str(ROOT / "deploys/reset.py"))
    refusal = f"confirm: {confirm!r} is not the name of the cluster"
    assert (refusal in done.stderr) == (confirm != name), done.stderr
    assert "cluster_name: " not in done.stderr


@pytest.mark.parametrize("name", ["007", "true"])
def test_a_removal_is_for_the_node_as_typed(inventory: str, name: str) -> None:
    done = run("--data", f"node={name}", inventory, str(ROOT / "deploys/remove_node.py"))
    assert done.returncode == 1
    assert f" {name}: no control plane that answers has a cluster" in done.stderr


@pytest.mark.parametrize("name", ["1e5", "true"])
def test_the_clusters_name_confirms_the_deletion_of_servers(api: Api, key: Path, name: str) -> None:
    Path("2024").write_text(f"cluster_name = {name!r}\nhetzner = {{'ssh_key': {str(key)!r}}}\n")
    make(api, described(key, name=name))
    given = ["--data", "description=2024", "--data", f"confirm={name}"]
    done = run(*given, "@local", str(ROOT / "deploys/destroy_servers.py"), api=api)
    assert done.returncode == 0, done.stderr
    assert not api.state.servers
