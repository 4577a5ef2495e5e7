"""Wrong configuration on pyinfra's command line: one sentence, exit code 1, not one remote command."""

import subprocess
from pathlib import Path

import pytest

from tests.support.fake_answers import ROOT
from tests.support.pyinfra_command import pyinfra

Host = tuple[str, dict[str, object]]


def fake(name: str, **data: object) -> Host:
    """Return a host of pyinfra's fake connector, which answers every command at once with no output."""
    return (f"@fake/{name}", {"fake_delay": 0, "fake_delay_jitter": 0, "node_name": name, **data})


CONTROL_PLANE = fake("cp-1", node_ip="10.0.0.1")
WORKER = fake("w-1", node_ip="10.0.0.2")


def run_cluster(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    # At this verbosity, pyinfra prints ">>>" before each command that it sends to a host.
    return pyinfra(
        *("-y", "-vv", *arguments, "deploys/cluster.py"),
        folder=ROOT,
        environment={"PATH": "/usr/bin:/bin", "CLUSTER": "there-is-no-such-cluster"},
    )


def run(
    tmp_path: Path,
    *arguments: str,
    control_plane: list[Host] | None = None,
    workers: list[Host] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run cluster.py on an inventory of fake hosts, by default one control plane and one worker."""
    inventory = tmp_path / "inventory.py"
    inventory.write_text(
        f"control_plane = {[CONTROL_PLANE] if control_plane is None else control_plane!r}\n"
        f"workers = {[WORKER] if workers is None else workers!r}\n"
    )
    return run_cluster(*arguments, inventory)


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Return pyinfra's error, after checking that no command was sent."""
    output = done.stdout + done.stderr
    assert done.returncode == 1, output
    assert "Traceback" not in output
    assert ">>>" not in output
    assert output.count("pyinfra error") == 1
    return output.partition("pyinfra error")[2]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (
            "kubernets_version=1.36.3",
            ["kubernets_version: is not an option; did you mean kubernetes_version?"],
        ),
        ("colour=green", ["colour: is not an option;", "x_"]),
        ("kubernetes_version=latest", ["kubernetes_version: 'latest' is not a version"]),
        ("containerd_version=2.3.99", ["containerd_version: 2.3.99 has no known checksum", "checksums"]),
        ("pod_subnet=10.244.0.0/99", ["pod_subnet: '10.244.0.0/99' is not an IPv4 network"]),
        ("pod_subnet=10.244.0.0/28", ["pod_subnet: '10.244.0.0/28' is too small"]),
        ("service_subnet=10.244.0.0/20", ["service_subnet: 10.244.0.0/20 overlaps pod_subnet"]),
        ("pod_subnet=10.0.0.0/16", ["pod_subnet: 10.0.0.0/16 contains node_ip 10.0.0.1"]),
        ("checksums=/nowhere/sums", ["checksums: '/nowhere/sums' cannot be read"]),
    ],
)
def test_a_wrong_option_is_refused(tmp_path: Path, data: str, words: list[str]) -> None:
    error = refused(run(tmp_path, f"--data={data}"))
    assert [word for word in words if word not in error] == []


def test_all_wrong_options_are_reported_at_once(tmp_path: Path) -> None:
    error = refused(run(tmp_path, "--data=swap=maybe", "--data=colour=green", "--data=pod_mtu=1"))
    assert "3 problems" in error
    assert all(field in error for field in ("swap: 'maybe'", "colour: is not an option", "pod_mtu: 1"))


def test_duplicate_node_names_are_refused(tmp_path: Path) -> None:
    twin = fake("w-2", node_name="w-1", node_ip="10.0.0.3")
    assert "node_name: 'w-1' is used by 2 hosts" in refused(run(tmp_path, workers=[WORKER, twin]))


def test_an_invalid_node_name_is_refused(tmp_path: Path) -> None:
    bad = fake("w-2", node_name="W_2", node_ip="10.0.0.3")
    assert "node_name: 'W_2' of host @fake/w-2 is not a DNS name" in refused(run(tmp_path, workers=[bad]))


def test_an_inventory_without_control_plane_is_refused(tmp_path: Path) -> None:
    assert "control_plane: the group has no hosts" in refused(run(tmp_path, control_plane=[]))


def test_hosts_that_differ_in_an_option_are_refused_also_with_limit(tmp_path: Path) -> None:
    other = fake("w-2", node_ip="10.0.0.3", pod_subnet="10.32.0.0/16")
    for arguments in ((), ("--limit", "@fake/cp-1")):
        error = refused(run(tmp_path, *arguments, workers=[WORKER, other]))
        assert "pod_subnet: is '10.244.0.0/16' on @fake/cp-1, @fake/w-1, '10.32.0.0/16' on @fake/w-2" in error
    done = run(tmp_path, "--dry", "--data=pod_subnet=10.32.0.0/16", workers=[WORKER, other])
    assert "set the same value for all hosts" not in done.stdout + done.stderr


def test_a_host_in_neither_group_is_refused(tmp_path: Path) -> None:
    inventory = tmp_path / "inventory.py"
    inventory.write_text(f"control_plane = {[CONTROL_PLANE]!r}\nothers = ['@fake/stray']\n")
    error = refused(run_cluster(inventory))
    assert "@fake/stray" in error and "control_plane" in error and "workers" in error


@pytest.mark.parametrize("inventory", ["inventories/missing.py", "/nowhere/missing.py"])
def test_a_missing_inventory_file_is_refused(inventory: str) -> None:
    assert f"{inventory}: the file does not exist" in refused(run_cluster(inventory))


def test_an_inventory_without_docker_hosts_is_an_error() -> None:
    done = run_cluster("inventories/docker.py")
    assert done.returncode == 1
    assert "docker" in done.stderr and "make cluster" in done.stderr


def test_an_even_number_of_control_planes_is_a_warning(tmp_path: Path) -> None:
    second = fake("cp-2", node_ip="10.0.0.3")
    done = run(tmp_path, "--dry", control_plane=[CONTROL_PLANE, second])
    assert (done.stdout + done.stderr).count("use 1, 3 or 5") == 1
