"""The inventory of docker hosts: from docker's list of containers to pyinfra's groups."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from pyinfra.api.exceptions import InventoryError

from kubeadm_deploys.inventory import docker_hosts
from tests.lab.host import Host

FakeDocker = Callable[..., Path]


def container(
    name: str, *, group: str = "workers", state: str = "running", data: str = "{}"
) -> dict[str, str]:
    return {"name": name, "state": state, "group": group, "data": data}


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    """Put a fake docker program on the PATH, which records its arguments and prints a given answer."""

    def install(*containers: dict[str, str], stderr: str = "", exit_code: int = 0) -> Path:
        (tmp_path / "answer").write_text("".join(json.dumps(listed) + "\n" for listed in containers))
        (tmp_path / "error").write_text(stderr)
        program = tmp_path / "docker"
        program.write_text(
            f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n'
            f"/bin/cat {tmp_path}/error >&2\n/bin/cat {tmp_path}/answer\nexit {exit_code}\n"
        )
        program.chmod(0o755)
        return tmp_path / "arguments"

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CLUSTER", raising=False)
    return install


def test_hosts_are_grouped_with_their_data() -> None:
    containers = [
        container("k-worker-1", data='{"node_ip": "10.213.0.11"}'),
        container("k-control-plane-1", group="control_plane", data='{"node_ip": "10.213.0.10"}'),
    ]

    assert docker_hosts.hosts_of(containers, group="control_plane") == [
        ("@docker/k-control-plane-1", {"node_ip": "10.213.0.10"})
    ]
    assert docker_hosts.hosts_of(containers, group="workers") == [
        ("@docker/k-worker-1", {"node_ip": "10.213.0.11"})
    ]


def test_hosts_are_sorted_by_number() -> None:
    names = ["k2-worker-10", "k2-worker-2", "k10-worker-1", "k2-worker-1", "worker", "k2-worker"]

    hosts = docker_hosts.hosts_of([container(name) for name in names], group="workers")

    assert [name.removeprefix("@docker/") for name, _ in hosts] == [
        *("k2-worker", "k2-worker-1", "k2-worker-2", "k2-worker-10", "k10-worker-1", "worker"),
    ]


def test_a_host_may_have_no_data() -> None:
    assert docker_hosts.hosts_of([container("w", data="")], group="workers") == [("@docker/w", {})]


@pytest.mark.parametrize("data", ["{", "[1]", '"text"'])
def test_data_that_is_not_a_json_object_is_refused(data: str) -> None:
    with pytest.raises(InventoryError, match=r"container w: label kubeadm-deploys\.data .* JSON object"):
        docker_hosts.hosts_of([container("w", data=data)], group="workers")


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(
        InventoryError, match=r"container w: .*'worker', it must be one of control_plane, workers"
    ):
        docker_hosts.hosts_of([container("w", group="worker")], group="control_plane")


def test_the_labels_of_the_labs_hosts_are_read() -> None:
    data = {"node_name": "k-worker-1", "kubelet_configuration": {"failCgroupV1": False}}
    host = Host(
        name="k-worker-1",
        address="10.213.0.11",
        cluster="k",
        group="workers",
        debian=12,
        data=data,
        running=True,
    )
    listed = container(
        host.name, group=host.labels[docker_hosts.GROUP_LABEL], data=host.labels[docker_hosts.DATA_LABEL]
    )

    assert host.labels[docker_hosts.CLUSTER_LABEL] == "k"
    assert docker_hosts.hosts_of([listed], group="workers") == [("@docker/k-worker-1", data)]


def test_the_cluster_comes_from_the_environment(docker: FakeDocker, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = docker(container("c", group="control_plane"), container("w"))
    monkeypatch.setenv("CLUSTER", "blue")

    assert docker_hosts.docker_groups() == ([("@docker/c", {})], [("@docker/w", {})])
    assert "--filter=label=kubeadm-deploys.cluster=blue " in arguments.read_text()


def test_the_default_cluster_is_kubeadm(docker: FakeDocker) -> None:
    arguments = docker(container("c", group="control_plane"))

    docker_hosts.docker_groups()

    assert "--filter=label=kubeadm-deploys.cluster=kubeadm " in arguments.read_text()


def test_stopped_hosts_are_ignored_with_a_warning(
    docker: FakeDocker, caplog: pytest.LogCaptureFixture
) -> None:
    docker(
        container("c", group="control_plane"),
        container("w-1", state="exited"),
        container("w-2", state="created"),
    )

    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        groups = docker_hosts.docker_groups()

    assert groups == ([("@docker/c", {})], [])
    assert "not running: w-1, w-2" in caplog.text


def test_a_cluster_without_hosts_is_refused(docker: FakeDocker) -> None:
    docker()

    with pytest.raises(
        InventoryError, match=r"no docker host belongs to cluster 'kubeadm'.*`make cluster`.*CLUSTER"
    ):
        docker_hosts.docker_groups()


def test_a_cluster_of_stopped_hosts_is_refused(docker: FakeDocker) -> None:
    docker(container("c", group="control_plane", state="exited"))

    with pytest.raises(InventoryError, match=r"no docker host .* is running: .*`docker start c`"):
        docker_hosts.docker_groups()


def test_a_docker_that_does_not_answer_is_reported(docker: FakeDocker) -> None:
    docker(stderr="Cannot connect to the Docker daemon", exit_code=1)

    with pytest.raises(
        InventoryError, match=r"docker does not answer.*: Cannot connect to the Docker daemon"
    ):
        docker_hosts.docker_groups()


def test_a_missing_docker_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(InventoryError, match="docker is not installed"):
        docker_hosts.docker_groups()
