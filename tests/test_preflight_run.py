"""Preflight on pyinfra's command line: read once, told once, refused before anything is changed."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kubeadm_deploys.facts.kubeadm_node import MANIFESTS
from tests.cluster_settings import CLUSTER, answer, record
from tests.fake_answers import ENVIRONMENT, FRAMED, ROOT

MEMBERS = [
    'etcd {"members": [{"ID": 1, "name": "cp-1", "peerURLs": ["https://10.0.0.1:2380"]}]}',
    "node:cp-1 machine=1 ready=True control-plane",
]
"""Who belongs to the cluster when there is one."""

MEMBER = [
    *("have:kubelet.conf", "have:etcd", "rotating", "ca b3Vycw==", "api ok"),
    *(f"have:manifests/{name}.yaml" for name in MANIFESTS),
]


def good(name: str, number: int) -> list[str]:
    """What a Debian server prints, beginning with its clock, which is this machine's."""
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


def pyinfra(
    tmp_path: Path,
    deploy: str,
    *arguments: str,
    cp: list[str] | None = None,
    worker: list[str] | None = None,
    cluster: list[str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a deploy on a control plane and two workers; ``cp`` and ``worker`` are what the first of each says besides,
    ``cluster`` what that of the control plane was made with.
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
    return subprocess.run(
        [Path(sys.executable).with_name("pyinfra"), "-vv", *arguments, inventory, f"deploys/{deploy}.py"],
        cwd=ROOT,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def commands(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """How many commands each host got."""
    output = done.stdout + done.stderr
    return {name: len(re.findall(rf"\[@fake/{name}\] +>>>", output)) for name in ("cp-1", "w-1", "w-2")}


def test_good_machines_pass_with_two_commands_each(tmp_path: Path) -> None:
    done = pyinfra(tmp_path, "preflight", "-y")
    assert done.returncode == 0, done.stderr
    assert commands(done) == {"cp-1": 2, "w-1": 2, "w-2": 2}
    assert "Preflight: " not in done.stderr


def test_doubts_are_told_once_and_stop_nothing(tmp_path: Path) -> None:
    done = pyinfra(tmp_path, "preflight", "-y", worker=["docker 0", "os debian 11"])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("--> Preflight: doubts that do not: 2") == 1
    assert done.stderr.count("doubt: ") == 2


@pytest.mark.parametrize("deploy", ["preflight", "cluster"])
@pytest.mark.parametrize("mode", ["-y", "--dry"])
def test_every_machines_dangers_are_told_before_anything_is_changed(
    tmp_path: Path, deploy: str, mode: str
) -> None:
    done = pyinfra(tmp_path, deploy, mode, cp=["cpus 1"], worker=["docker 3", "listener 10250 nginx"])
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in output and "Beginning operation run" not in output
    assert output.count("--> Preflight: dangers that stop the run: 3") == 1
    for words in (
        "danger: has 1 CPU, and a control plane needs 2",
        "danger: has 3 containers of Docker",
        "danger: port 10250 is taken by nginx",
    ):
        assert output.count(words) == 1
    assert "3 dangers; no changes were made:" in output


@pytest.mark.parametrize("deploy", ["preflight", "cluster"])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("pod_subnet=10.32.0.0/16", "set pod_subnet to 10.244.0.0/16"),
        ("kubernetes_version=1.36.2", "set kubernetes_version to 1.36.3, or leave it out"),
        ("containerd_version=2.3.3", "set containerd_version to 2.3.4, or leave it out"),
    ],
)
def test_options_that_are_not_the_clusters_stop_a_run(
    tmp_path: Path, deploy: str, data: str, words: str
) -> None:
    done = pyinfra(tmp_path, deploy, "-y", f"--data={data}", cluster=answer(record=record()))
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in output and "Beginning operation run" not in output
    assert output.count(f"cure: {words}") == 1


def test_options_of_the_cluster_and_those_that_nobody_set_stop_nothing(tmp_path: Path) -> None:
    older = {**CLUSTER, "kubernetesVersion": "v1.35.4"}
    settings = answer(record=record(containerd="2.2.3"), cluster=older)
    done = pyinfra(tmp_path, "preflight", "-y", "--data=pod_subnet=10.244.0.0/16", cluster=settings)
    assert done.returncode == 0, done.stderr
    assert "Preflight: " not in done.stderr
    # What has to be fetched is that of the cluster's releases.
    assert "/v1.35/" in done.stderr and "/v1.36/" not in done.stderr


def test_a_waived_danger_stops_nothing(tmp_path: Path) -> None:
    waive = '--data=waive_checks=["cpus","ports"]'
    done = pyinfra(tmp_path, "preflight", "-y", waive, cp=["cpus 1", "listener 6443 nginx"])
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
    done = pyinfra(tmp_path, "reset", "-y", confirmed, cp=[foreign])
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert f"@fake/cp-1: {words}" in output and "no changes were made" in output
    assert "Beginning operation run" not in output


def test_a_machine_is_reset_whatever_its_size(tmp_path: Path) -> None:
    done = pyinfra(tmp_path, "reset", "--dry", "--data=confirm=kubernetes", cp=["cpus 1"])
    assert done.returncode == 0, done.stderr
