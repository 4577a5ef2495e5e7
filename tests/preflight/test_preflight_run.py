"""Preflight on pyinfra's command line: it reads once, prints once, and stops the run before any change."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from tests.support.cluster_settings import CLUSTER, answer, record
from tests.support.fake_answers import ENVIRONMENT, FRAMED, ROOT
from tests.support.pyinfra_command import pyinfra

MEMBERS = [
    'etcd {"members": [{"ID": 1, "name": "cp-1", "peerURLs": ["https://10.0.0.1:2380"]}]}',
    "node:cp-1 machine=1 ready=True control-plane",
]
"""The members of the cluster, if it exists."""

MEMBER = [
    *("have:kubelet.conf", "have:etcd", "rotating", "ca b3Vycw==", "api ok"),
    *(f"have:manifests/{name}.yaml" for name in MANIFESTS),
]


def good(name: str, number: int) -> list[str]:
    """Return the lines that a Debian server prints; its clock is this machine's."""
    return [
        f"started {time.time():.9f}",
        "os debian 12",
        "architecture amd64",
        "kernel 6.1.0",
        "systemd yes",
        "cgroup 2 cpuset cpu memory pids",
        "memory 8000000",
        "cpus 4",
        "disk:/ 50000000 /",
        f"hostname {name}",
        f"machine-id {number}",
        f"address:10.0.0.{number} eth0",
    ]


def run_deploy(
    tmp_path: Path,
    deploy: str,
    *arguments: str,
    cp: list[str] | None = None,
    worker: list[str] | None = None,
    cluster: list[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a deploy on a control plane and two workers.

    ``cp`` and ``worker`` are additional lines of the control plane and the first worker, ``cluster`` the
    settings of an existing cluster.
    """
    hosts = []
    for number, (name, more) in enumerate((("cp-1", cp), ("w-1", worker), ("w-2", None)), start=1):
        joined = MEMBER if cluster and name == "cp-1" else []
        responses = {
            "<<< Machine": [*good(name, number), *(more or [])],
            "<<< KubeadmNode": [f"machine-id {number}", *joined],
            "<<< ClusterSettings": cluster or [],
            "<<< ClusterMembers": MEMBERS,
        }
        data = {"node_name": name, "node_ip": f"10.0.0.{number}", "fake_responses": responses}
        hosts.append((f"@fake/{name}", {**data, "fake_delay": 0, "fake_delay_jitter": 0}))
    inventory = tmp_path / "inventory.py"
    inventory.write_text(f"{FRAMED}control_plane = {hosts[:1]!r}\nworkers = {hosts[1:]!r}\n")
    return pyinfra("-vv", *arguments, inventory, f"deploys/{deploy}.py", folder=ROOT, environment=ENVIRONMENT)


def commands(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return the number of commands that each host received."""
    output = done.stdout + done.stderr
    return {name: len(re.findall(rf"\[@fake/{name}\] +>>>", output)) for name in ("cp-1", "w-1", "w-2")}


def test_good_machines_pass_with_two_commands_each(tmp_path: Path) -> None:
    done = run_deploy(tmp_path, "preflight", "-y")
    assert done.returncode == 0, done.stderr
    assert commands(done) == {"cp-1": 2, "w-1": 2, "w-2": 2}
    assert "Preflight: " not in done.stderr


def test_warnings_are_printed_once_and_stop_no_run(tmp_path: Path) -> None:
    done = run_deploy(tmp_path, "preflight", "-y", worker=["docker 0", "os debian 11"])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("--> Preflight: 2 warnings") == 1
    assert done.stderr.count("warning: ") == 2


@pytest.mark.parametrize("deploy", ["preflight", "cluster"])
@pytest.mark.parametrize("mode", ["-y", "--dry"])
def test_every_machines_errors_are_printed_before_anything_is_changed(
    tmp_path: Path, deploy: str, mode: str
) -> None:
    done = run_deploy(tmp_path, deploy, mode, cp=["cpus 1"], worker=["docker 3", "listener 10250 nginx"])
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in output and "Beginning operation run" not in output
    assert output.count("--> Preflight failed: 3 errors") == 1
    for words in (
        "error: has 1 CPU, and a control plane needs 2",
        "error: has 3 containers of Docker",
        "error: port 10250 is taken by nginx",
    ):
        assert output.count(words) == 1
    assert "3 errors; no changes were made:" in output


@pytest.mark.parametrize("deploy", ["preflight", "cluster"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("pod_subnet=10.32.0.0/16", "set pod_subnet to 10.244.0.0/16"),
        ("kubernetes_version=1.37.1", "set kubernetes_version to 1.37.2, or leave it out"),
        ("containerd_version=2.3.3", "set containerd_version to 2.3.4, or leave it out"),
    ],
)
def test_options_that_differ_from_the_clusters_stop_a_run(
    tmp_path: Path, deploy: str, data: str, words: str
) -> None:
    done = run_deploy(tmp_path, deploy, "-y", f"--data={data}", cluster=answer(record=record()))
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in output and "Beginning operation run" not in output
    assert output.count(f"fix: {words}") == 1


def test_the_clusters_own_options_and_options_not_set_stop_no_run(tmp_path: Path) -> None:
    older = {**CLUSTER, "kubernetesVersion": "v1.35.4"}
    settings = answer(record=record(containerd="2.2.3"), cluster=older)
    done = run_deploy(tmp_path, "preflight", "-y", "--data=pod_subnet=10.244.0.0/16", cluster=settings)
    assert done.returncode == 0, done.stderr
    assert "Preflight: " not in done.stderr
    # The downloads are those of the cluster's releases.
    assert "/v1.35/" in done.stderr and "/v1.36/" not in done.stderr


def test_a_skipped_error_stops_no_run(tmp_path: Path) -> None:
    skip = '--data=skip_preflight_checks=["cpus","ports"]'
    done = run_deploy(tmp_path, "preflight", "-y", skip, cp=["cpus 1", "listener 6443 nginx"])
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("foreign", "words"),
    [
        ("docker 1", "has 1 container of Docker"),
        ("process:k3s-server", "runs k3s"),
        ("etcd-entry:default", "has etcd data in /var/lib/etcd"),
        ("listener 6443 nginx", "port 6443 is taken by nginx"),
    ],
)
def test_a_foreign_machine_is_not_reset(tmp_path: Path, foreign: str, words: str) -> None:
    confirmed = "--data=confirm=kubernetes"
    done = run_deploy(tmp_path, "reset", "-y", confirmed, cp=[foreign])
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert f"@fake/cp-1: {words}" in output and "no changes were made" in output
    assert "Beginning operation run" not in output


def test_a_machine_is_reset_regardless_of_its_size(tmp_path: Path) -> None:
    done = run_deploy(tmp_path, "reset", "--dry", "--data=confirm=kubernetes", cp=["cpus 1"])
    assert done.returncode == 0, done.stderr
