"""The verification suites select the right machines, and fail if there are none."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kubeadm_deploys.model.options import RENAMED
from kubeadm_deploys.verification import inventory
from kubeadm_deploys.verification.inventory import (
    InventoryProblem,
    Machine,
    cluster_machines,
    connection,
    read_machines,
    select,
    ssh_settings,
)
from kubeadm_deploys.verification.options import forget_connections

SOURCE_ROOT = Path(__file__).parents[2] / "deploys"
SUITES = "kubeadm_deploys.verification"
USAGE_ERROR = 4

TWO_GROUPS = """\
control_plane = ([("@docker/cp-1", {"node_ip": "10.0.0.10"})], {"swap": "keep"})
workers = ["@docker/worker-1", "worker-2"]
load_balancers = ["@docker/balancer"]
"""


def host(name: str = "node-1", connector: str = "ssh", **data: Any) -> dict[str, Any]:
    return {"name": name, "connector": connector, "groups": ["all"], "data": data, "sudo": False}


def machine(name: str, *groups: str) -> Machine:
    return Machine(name=name, connection=f"docker://{name}", groups=groups, data={})


@pytest.mark.parametrize(
    ("value", "found"),
    [(None, []), ((), []), ("", []), (("a", "b"), ["a", "b"]), ("a", ["a"]), ("a, b,c", ["a", "b", "c"])],
)
def test_list_may_be_text_with_commas(value: object, found: list[str]) -> None:
    assert replace(machine("node-1"), data={"nameservers": value}).listed("nameservers") == found
    assert machine("node-1").listed("nameservers") == []


def read(folder: Path, inventory: str = TWO_GROUPS) -> tuple[Machine, ...]:
    (folder / "inventory.py").write_text(inventory)
    return read_machines(str(folder / "inventory.py"), ssh_config=folder / "ssh_config")


def test_groups_and_data_are_those_of_pyinfra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text("kubernetes_version = '1.36.3'\nswap = 'off'\n")
    (tmp_path / "group_data" / "workers.py").write_text("node_ip = '10.0.0.11'\n")
    monkeypatch.chdir(tmp_path)
    machines = {found.name: found for found in read(tmp_path)}
    assert list(machines) == ["cp-1", "worker-1", "worker-2", "balancer"]
    assert "control_plane" in machines["cp-1"].groups
    data = {key: machines["cp-1"].data[key] for key in ("node_ip", "swap", "kubernetes_version")}
    assert data == {"node_ip": "10.0.0.10", "swap": "keep", "kubernetes_version": "1.36.3"}
    assert machines["worker-1"].data["node_ip"] == "10.0.0.11"


def test_an_inventory_may_print_and_import_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "machine_names.py").write_text("NAMES = ('a', 'b')\n")
    monkeypatch.chdir(tmp_path)
    machines = read(
        tmp_path, "from machine_names import NAMES as _names\nprint('{}')\nworkers = list(_names)\n"
    )
    assert [found.name for found in machines] == ["a", "b"]


def test_sudo_may_come_from_the_data_or_from_config_py(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "sudo=true" in read(tmp_path, "nodes = [('a', {'_sudo': True})]")[0].connection
    assert "sudo=true" not in read(tmp_path, "nodes = ['a']")[0].connection
    (tmp_path / "config.py").write_text("from pyinfra import config\nconfig.SUDO = True\n")
    assert "sudo=true" not in read(tmp_path, "nodes = [('a', {'_sudo': False})]")[0].connection
    assert "sudo=true" in read(tmp_path, "nodes = ['a']")[0].connection


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (host("@docker/node-1", "docker", docker_identifier="node-1"), "docker://node-1"),
        (host("@podman/node-1", "podman", docker_identifier="node-1"), "podman://node-1"),
        (host("@local", "local"), "local://"),
        (host("node-1"), "ssh://node-1?ssh_config=%2Ftmp%2Fx"),
        (host("@ssh/node-1"), "ssh://node-1?ssh_config=%2Ftmp%2Fx"),
        (host("fe80::1"), "ssh://fe80%3A%3A1?ssh_config=%2Ftmp%2Fx"),
        ({**host(), "sudo": True}, "ssh://node-1?ssh_config=%2Ftmp%2Fx&sudo=true"),
    ],
)
def test_each_connector_becomes_the_backend_of_testinfra(given: Mapping[str, Any], wanted: str) -> None:
    assert connection(given, ssh_config=Path("/tmp/x")) == wanted


@pytest.mark.parametrize(
    "given", [host("@chroot/x", "chroot"), host(ssh_password="secret"), host(ssh_key_password="secret")]
)
def test_unsupported_host_is_rejected_by_name(given: Mapping[str, Any]) -> None:
    with pytest.raises(InventoryProblem, match=given["name"]) as refusal:
        connection(given, ssh_config=Path("/tmp/x"))
    assert "secret" not in str(refusal.value)


def test_ssh_uses_the_settings_of_the_inventory(tmp_path: Path) -> None:
    """``ssh -G`` prints the settings that ssh reads from the file."""
    node = host(
        ssh_hostname="192.0.2.7",
        ssh_port=2222,
        ssh_user="admin",
        ssh_key="/keys/id ed25519",
        ssh_known_hosts_file="/keys/known hosts",
    )
    settings = effective_ssh_settings(tmp_path, node)
    assert settings["hostname"] == "192.0.2.7"
    assert settings["port"] == "2222"
    assert settings["user"] == "admin"
    assert settings["identityfile"] == "/keys/id ed25519"
    assert settings["identitiesonly"] == "yes"
    assert settings["userknownhostsfile"] == "/keys/known hosts"
    assert settings["stricthostkeychecking"] == "accept-new"
    assert settings["batchmode"] == "yes"


def test_ssh_takes_settings_that_the_inventory_lacks_from_the_users_configuration(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("Host node-*\n    User from-own\n    Port 2200\n")
    settings = effective_ssh_settings(tmp_path, host(ssh_user="admin", ssh_config_file=str(tmp_path / "own")))
    assert (settings["user"], settings["port"]) == ("admin", "2200")


def effective_ssh_settings(folder: Path, node: Mapping[str, Any]) -> dict[str, str]:
    (folder / "config").write_text(ssh_settings([node, host("node-2")], control_folder=folder))
    shown = subprocess.run(
        ["ssh", "-G", "-F", str(folder / "config"), node["name"]], capture_output=True, text=True, check=True
    )
    return dict(line.partition(" ")[::2] for line in shown.stdout.splitlines())


def test_connection_that_ends_by_itself_is_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ssh may remove its socket at any moment: here after the check and before the removal."""
    folder = tmp_path / "ssh"
    folder.mkdir()
    (folder / "ssh_config").touch()
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(folder / "0"))
    unlink = os.unlink

    def unlink_after_ssh(path: Any, *, dir_fd: int | None = None) -> None:
        if Path(path).name == "0":
            unlink(path, dir_fd=dir_fd)
        unlink(path, dir_fd=dir_fd)

    with bound, monkeypatch.context() as patch:
        patch.setattr(os, "unlink", unlink_after_ssh)
        forget_connections(folder)
    assert not folder.exists()


def test_limit_takes_names_globs_and_groups() -> None:
    machines = [machine("cp-1", "control_plane"), machine("w-1", "workers"), machine("w-2", "workers")]
    assert [each.name for each in select(machines, limit=["w-2"])] == ["w-2"]
    assert [each.name for each in select(machines, limit=["@docker/w-2"])] == ["w-2"]
    assert [each.name for each in select(machines, limit=["w-*"])] == ["w-1", "w-2"]
    assert [each.name for each in select(machines, limit=["workers", "cp-1"])] == ["cp-1", "w-1", "w-2"]
    assert len(select(machines, limit=[])) == 3
    with pytest.raises(
        InventoryProblem, match="--limit w-3 matches no host or group; the hosts are cp-1, w-1, w-2"
    ):
        select(machines, limit=["w-1", "w-3"])


def test_machines_outside_the_cluster_groups_are_not_nodes() -> None:
    balancer, node = machine("lb", "load_balancers"), machine("cp-1", "control_plane")
    assert cluster_machines([balancer, node]) == (node,)
    assert cluster_machines([balancer]) == (balancer,)


def run_suites(folder: Path, *arguments: str, suites: str = SUITES) -> subprocess.CompletedProcess[str]:
    """Run pytest as a user of the checkout does, in the user's own folder."""
    command = [sys.executable, "-m", "pytest", "-p", f"{SUITES}.plugin", "-p", "no:cacheprovider"]
    return subprocess.run(
        [*command, "--pyargs", suites, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SOURCE_ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("inventory", "sentence"),
    [
        ("", "has no host"),
        ("control_plane = []\nworkers = []\n", "has no host"),
        (
            "control_plane = [missing]\n",
            "cannot be read: NameError: name 'missing' is not defined",
        ),
        ("control_plane = [\n", "cannot be read: SyntaxError"),
        ("import sys\nsys.exit('no token')\n", "cannot be read: no token"),
        (
            "from pyinfra.api.exceptions import InventoryError\nraise InventoryError('no token')\n",
            "cannot be read: no token",
        ),
        ("workers = ['@local']\n", "has no host in the group control_plane"),
    ],
)
def test_inventory_without_machines_is_an_error(tmp_path: Path, inventory: str, sentence: str) -> None:
    (tmp_path / "nodes.py").write_text(inventory)
    run = run_suites(tmp_path, "--inventory", "nodes.py")
    assert run.returncode == USAGE_ERROR
    assert "ERROR: inventory nodes.py" in run.stderr
    assert sentence in run.stderr
    assert "Traceback" not in run.stdout + run.stderr
    assert "passed" not in run.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "--inventory is missing"),
        (("--inventory", "absent.py"), "inventory absent.py does not exist"),
        (("--inventory", "nodes.py", "--limit", "other"), "--limit other matches no host or group"),
    ],
)
def test_options_that_select_no_machine_are_an_error(
    tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "nodes.py").write_text("control_plane = ['@local']\n")
    run = run_suites(tmp_path, *arguments)
    assert run.returncode == USAGE_ERROR
    assert f"ERROR: {sentence}" in run.stderr


def test_one_section_runs_on_a_machine_outside_a_cluster(tmp_path: Path) -> None:
    (tmp_path / "nodes.py").write_text("machines = ['@local']\n")
    run = run_suites(tmp_path, "--inventory", "nodes.py", "-k", "in_use", suites=f"{SUITES}.test_swap")
    swap_is_used = len(Path("/proc/swaps").read_text().splitlines()) > 1
    assert run.returncode == int(swap_is_used), run.stdout
    assert ("1 failed" if swap_is_used else "1 passed") in run.stdout


SECRETS = {"_sudo_password": "S3cretOfSudo", "x_registry_password": "S3cretOfTheRegistry"}

TEST_WITH_DATA = f"""
from pathlib import Path
from {SUITES}.inventory import read_machines

def test_data(tmp_path: Path) -> None:
    (machine,) = machines = read_machines("nodes.py", ssh_config=tmp_path / "config")
    data = machine.data
    assert data.get("node_ip") == machine.data.get("swap", machines)
"""


def test_failed_suite_shows_no_inventory_values_that_it_does_not_check(tmp_path: Path) -> None:
    data = {"node_ip": "10.0.0.1", "kubernetes_version": "0.0.1", **SECRETS}
    (tmp_path / "nodes.py").write_text(f"control_plane = [('@local', {data!r})]\n")
    (tmp_path / "test_own.py").write_text(TEST_WITH_DATA)
    runs = (
        run_suites(tmp_path, "-vv", "--inventory", "nodes.py", suites=f"{SUITES}.test_kube_packages"),
        run_suites(tmp_path, "-vv", "--showlocals", suites="test_own.py"),
    )
    for run in runs:
        assert run.returncode == 1, run.stdout + run.stderr
        # Proves that pytest prints the machine.
        assert "Machine(name='local'" in run.stdout
        assert [secret for secret in SECRETS.values() if secret in run.stdout + run.stderr] == []


def test_help_shows_the_options(tmp_path: Path) -> None:
    run = run_suites(tmp_path, "--help")
    assert run.returncode == 0
    for option in ("--inventory", "--limit", "--agnhost-image", "--external-name"):
        assert option in run.stdout


def test_plugin_does_not_affect_other_test_runs(tmp_path: Path) -> None:
    """Other plugins, such as Ansible's, have their own option --inventory."""
    (tmp_path / "conftest.py").write_text(
        "def pytest_addoption(parser):\n    parser.addoption('--inventory')\n    parser.addoption('--limit')\n"
    )
    (tmp_path / "test_own.py").write_text(
        "import sys\n\n"
        "def test_own(pytestconfig):\n"
        "    assert pytestconfig.getoption('--inventory') == 'mine'\n"
        f"    assert '{SUITES}.options' not in sys.modules\n"
    )
    run = run_suites(tmp_path, "--inventory", "mine", suites="test_own.py")
    assert run.returncode == 0, run.stdout + run.stderr


def test_installed_wheel_provides_the_options(tmp_path: Path) -> None:
    """Works in any folder with the command line of the README."""
    build = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        str(tmp_path / "dist"),
    ]
    subprocess.run(build, cwd=SOURCE_ROOT.parent, check=True, capture_output=True)
    (wheel,) = (tmp_path / "dist").iterdir()
    shutil.unpack_archive(wheel, tmp_path / "installed", format="zip")
    (tmp_path / "nodes.py").write_text("machines = ['@local']\n")
    suite = ["--pyargs", f"{SUITES}.test_swap", "--inventory", "nodes.py", "--collect-only"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--quiet", *suite],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "installed/kubeadm_deploys/verification/test_swap.py::test_no_swap_is_in_use[local]" in run.stdout


def test_printed_inventory_is_one_json_document(tmp_path: Path) -> None:
    (tmp_path / "nodes.py").write_text(
        "import datetime\nnodes = [('a', {'x_made': datetime.date(2026, 1, 2)})]\n"
    )
    script = SOURCE_ROOT / "kubeadm_deploys" / "verification" / "read_inventory.py"
    run = subprocess.run(
        [sys.executable, str(script), "nodes.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    (only,) = json.loads(run.stdout)["hosts"]
    assert (only["name"], only["connector"], only["data"]["x_made"]) == ("a", "ssh", "2026-01-02")


def test_the_suites_know_the_old_names_of_the_options_that_they_read() -> None:
    assert inventory._NEW_NAMES.items() <= RENAMED.items()
