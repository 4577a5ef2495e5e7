"""A cluster made by an earlier version of this package works with the current one.

It is part of `make chaos`: the earlier version never changes, and the test needs its own cluster.
"""

import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.e2e.conftest import OLDER, ROOT, docker_hosts, run_command

BEFORE = "fc27ac6"
"""The last commit before the package was split into layers; it has the releases of its time."""

CONTAINERS = "crictl --runtime-endpoint unix:///run/containerd/containerd.sock ps --quiet | sort"


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Check out the project of that commit."""
    folder = tmp_path_factory.mktemp("before")
    archive = subprocess.run(
        ["git", "archive", BEFORE, "deploys", "inventories", "templates", "config.py"],
        cwd=ROOT,
        capture_output=True,
    )
    if archive.returncode != 0:
        pytest.skip(f"this checkout has no history: {archive.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.mark.chaos
def test_a_run_of_the_current_version_makes_only_known_changes_and_restarts_no_container(
    lab: None, earlier: Path, tmp_path: Path
) -> None:
    data = {"kubernetes_version": OLDER}
    with docker_hosts("existing", folder=tmp_path, debian=(12,), data=data) as cluster:
        made = run_command(
            *cluster.command(
                "-y", deploy=earlier / "deploys/cluster.py", inventory=earlier / "inventories/docker.py"
            ),
            environment={"CLUSTER": cluster.name, "PYTHONPATH": str(earlier / "deploys")},
            folder=earlier,
        )
        assert made.exit_code == 0, made.output
        before = {host.name: cluster.shell(host.name, CONTAINERS) for host in cluster.hosts}
        # config.toml imports the drop-ins of conf.d now, and the file of docker.io names its registry's server. The record
        # gets the fields that the lab sets.
        assert cluster.converge().changed == [
            "Container runtime | Write /etc/containerd/certs.d/docker.io/hosts.toml and 1 more",
            "Container runtime | Run containerd",
            "Kubelet reconfiguration | Reconfigure the kubelets",
            "Kube-proxy reconfiguration | Reconfigure kube-proxy",
        ]
        assert cluster.converge().changed == []
        assert {host.name: cluster.shell(host.name, CONTAINERS) for host in cluster.hosts} == before
