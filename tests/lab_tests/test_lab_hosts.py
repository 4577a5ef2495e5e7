"""The lab's docker hosts, as far as they can be tested without a docker daemon."""

import argparse
import dataclasses
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lab import daemon, images, machine
from tests.lab.docker import LabError, docker
from tests.lab.host import (
    Host,
    crowding,
    free_addresses,
    from_container,
    lab_data,
    missing_hosts,
    order,
    refuse_other_data,
)
from tests.lab.hosts import cluster_name, setting
from tests.lab.images import Recipe
from tests.lab.probe import Machine

MODERN = Machine(cgroup_v1=False, kernel_config=True, inotify_instances=128, nameservers=("192.0.2.53",))


def host(name: str, *, address: str = "10.213.0.10", cluster: str = "k", **data: Any) -> Host:
    group = "control_plane" if "control-plane" in name else "workers"
    return Host(name=name, address=address, cluster=cluster, group=group, debian=12, data=data)


def plan(*, control_planes: int, workers: int, everyone: tuple[Host, ...] = (), **options: Any) -> list[Host]:
    counts = {"control_plane": control_planes, "workers": workers}
    return missing_hosts(
        **{"cluster": "k", "counts": counts, "debian": (12,), "everyone": everyone, **options}
    )


def test_hosts_are_named_after_cluster_and_role() -> None:
    planned = plan(control_planes=2, workers=1)

    assert [(planned_host.name, planned_host.group, planned_host.address) for planned_host in planned] == [
        ("k-control-plane-1", "control_plane", "10.213.0.10"),
        ("k-control-plane-2", "control_plane", "10.213.0.11"),
        ("k-worker-1", "workers", "10.213.0.12"),
    ]
    assert planned[2].data == {"node_name": "k-worker-1", "node_ip": "10.213.0.12"}


def test_only_missing_hosts_are_planned_with_free_addresses() -> None:
    everyone = (
        host("k-control-plane-1", address="10.213.0.10"),
        host("k-worker-1", address="10.213.0.12"),
        host("other-worker-1", address="10.213.0.11", cluster="other"),
    )

    planned = plan(control_planes=1, workers=3, everyone=everyone)

    assert [(planned_host.name, planned_host.address) for planned_host in planned] == [
        ("k-worker-2", "10.213.0.13"),
        ("k-worker-3", "10.213.0.14"),
    ]


def test_releases_alternate_and_stay_when_a_host_is_added() -> None:
    first = plan(control_planes=1, workers=2, debian=(12, 13))
    added = plan(control_planes=1, workers=3, debian=(12, 13), everyone=tuple(first))

    assert [planned_host.debian for planned_host in first + added] == [12, 13, 12, 13]


def test_full_network_is_an_error() -> None:
    taken = tuple(
        host(f"x-worker-{number}", address=address)
        for number, address in enumerate(free_addresses(taken=set()))
    )

    with pytest.raises(LabError, match=r"10\.213\.0\.0/24 has no free address for k-worker-1"):
        plan(control_planes=0, workers=1, everyone=taken)


def test_addresses_of_gateway_and_mirror_are_not_used() -> None:
    addresses = list(free_addresses(taken={"10.213.0.11"}))

    assert addresses[:2] == ["10.213.0.10", "10.213.0.12"]
    assert addresses[-1] == "10.213.0.254"


def test_host_is_read_back_from_its_container() -> None:
    made = dataclasses.replace(host("k-worker-1", swap="keep"), running=False)
    inspected = {
        "Name": "/k-worker-1",
        "State": {"Running": False},
        "Config": {"Labels": made.labels},
        # A stopped container has only its configured address.
        "NetworkSettings": {
            "Networks": {"kubeadm-deploys": {"IPAMConfig": {"IPv4Address": "10.213.0.10"}, "IPAddress": ""}}
        },
    }

    assert from_container(inspected) == made


def test_hosts_are_ordered_by_role_and_number() -> None:
    names = ["k-worker-10", "k-worker-2", "k-control-plane-1"]

    assert [ordered.name for ordered in sorted(map(host, names), key=order)] == [
        *("k-control-plane-1", "k-worker-2", "k-worker-10"),
    ]


def test_modern_machine_needs_no_skipped_checks() -> None:
    data = lab_data(cluster="k", machine=MODERN)

    assert data["swap"] == "keep"
    assert data["cluster_name"] == "k"
    assert "failCgroupV1" not in data["kubelet_configuration"]
    assert set(data["kubelet_configuration"]["evictionHard"].values()) == {"0%"}
    assert "ignore_preflight_errors" not in data


def test_cgroup_v1_is_allowed_on_a_machine_with_it() -> None:
    data = lab_data(cluster="k", machine=dataclasses.replace(MODERN, cgroup_v1=True))

    assert data["kubelet_configuration"]["failCgroupV1"] is False
    assert data["ignore_preflight_errors"] == ["SystemVerification"]


def test_kernel_without_config_gz_is_not_verified() -> None:
    data = lab_data(cluster="k", machine=dataclasses.replace(MODERN, kernel_config=False))

    assert data["ignore_preflight_errors"] == ["SystemVerification"]


def test_data_that_differs_from_an_existing_hosts_is_refused() -> None:
    made = host("k-worker-1", kubernetes_version="1.36.3", swap="keep")

    refuse_other_data(hosts=[made], data={"kubernetes_version": "1.36.3"})
    with pytest.raises(
        LabError, match=r"k-worker-1 .* kubernetes_version='1\.36\.3', not '1\.35\.4'.*down --cluster k"
    ):
        refuse_other_data(hosts=[made], data={"kubernetes_version": "1.35.4"})


def test_too_many_clusters_for_the_machine_are_reported() -> None:
    cluster = [host("a-control-plane-1"), host("a-worker-1")]

    assert crowding(hosts=cluster * 2, machine=MODERN) == ""
    warning = crowding(hosts=cluster * 3, machine=MODERN)
    assert "141 inotify instances" in warning and "allows 128" in warning


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("x=1.36.3", "1.36.3"),
        ("x=1.36", "1.36"),
        ("x=60", 60),
        ("x=true", True),
        ('x={"a": [1]}', {"a": [1]}),
        ("x=a=b", "a=b"),
        ("x=", ""),
    ],
)
def test_settings_are_json_or_text(text: str, value: object) -> None:
    assert setting(text) == ("x", value)


@pytest.mark.parametrize("text", ["x", "=1", "a b=1"])
def test_setting_without_key_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="KEY=VALUE"):
        setting(text)


@pytest.mark.parametrize("name", ["K", "k_1", "1k", "k-", "a,b", "", "k" * 41])
def test_invalid_cluster_name_is_refused(name: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="not a cluster name"):
        cluster_name(name)


def test_debian_sources_are_converted_to_another_release() -> None:
    targets = """\
Debian bookworm http://mirror.test/debian/ main
Debian bookworm-updates http://mirror.test/debian/ main
Debian bookworm-backports http://mirror.test/debian/ main
Debian bookworm http://mirror.test/debian/ contrib
Debian bookworm-security http://security.test/ main
Vendor nodistro http://vendor.test/ main
$(ORIGIN) $(CODENAME) http://never-updated.test/ main
"""

    assert [source.line() for source in machine.turned_to(codename="trixie", targets=targets)] == [
        "deb http://mirror.test/debian/ trixie main",
        "deb http://mirror.test/debian/ trixie-updates main",
        "deb http://security.test/ trixie-security main",
    ]


def test_tag_of_an_image_depends_on_its_inputs() -> None:
    tags = {
        Recipe(kind="host", debian=12).tag,
        Recipe(kind="host", debian=13).tag,
        Recipe(kind="host", debian=12, base="kubeadm-deploys/host:other").tag,
        Recipe(kind="host", debian=12, mirror_key="one key").tag,
        Recipe(kind="host", debian=12, mirror_key="another key").tag,
    }

    assert len(tags) == 5
    assert Recipe(kind="host", debian=12, mirror_key="one key").tag in tags
    assert all(tag.startswith("kubeadm-deploys/host:debian-1") for tag in tags)


def test_entrypoint_is_a_valid_shell_script() -> None:
    subprocess.run(["sh", "-n", str(Path(images.__file__).parent / "image" / "entrypoint")], check=True)


def test_missing_docker_is_an_error_with_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LabError, match=r"docker is not installed: .*docker.io"):
        docker("info")


def test_failed_docker_command_is_reported_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho no such thing >&2\nexit 1\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(LabError, match="`docker volume inspect` failed: no such thing"):
        docker("volume", "inspect", "x")


def test_pid_files_of_killed_daemons_are_removed(tmp_path: Path) -> None:
    (tmp_path / "docker/containerd").mkdir(parents=True)
    docker_pid = tmp_path / "docker.pid"
    containerd_pid = tmp_path / "docker/containerd/containerd.pid"
    # A running process that is neither dockerd nor containerd, and one that does not exist.
    docker_pid.write_text(f"{os.getpid()}\n")
    containerd_pid.write_text("999999999")

    daemon.remove_stale_pid_files(run=tmp_path)

    assert not docker_pid.exists()
    assert not containerd_pid.exists()


def test_pid_file_of_a_running_daemon_is_kept(tmp_path: Path) -> None:
    program = tmp_path / "dockerd"
    program.symlink_to("/bin/cat")
    with subprocess.Popen([str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdin and running.stdout
        running.stdin.write(b"echo\n")
        running.stdin.flush()
        # Once it has answered, exec is over and /proc shows the program's name.
        assert running.stdout.readline() == b"echo\n"
        (tmp_path / "docker.pid").write_text(str(running.pid))

        daemon.remove_stale_pid_files(run=tmp_path)

        running.kill()
    assert (tmp_path / "docker.pid").exists()


def test_daemon_that_does_not_start_is_reported_with_its_log(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "silence", lambda: "no answer")

    with pytest.raises(LabError, match=r"(?s)exit code 3.*no cgroup mounted"):
        daemon.spawn(command=("sh", "-c", "echo no cgroup mounted; exit 3"))
    assert not (cache / "kubeadm-deploys/dockerd.pid").exists()


def test_stop_ends_what_start_started(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "silence", lambda: "")
    monkeypatch.setattr(daemon, "foreign_containers", list)
    daemon.spawn(command=("sleep", "60"))
    pid = int((cache / "kubeadm-deploys/dockerd.pid").read_text().split()[0])
    assert daemon.started_at(pid=pid)

    daemon.stop()

    assert not daemon.started_at(pid=pid)
    assert not (cache / "kubeadm-deploys/dockerd.pid").exists()


def test_stop_keeps_a_daemon_with_other_containers(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "silence", lambda: "")
    monkeypatch.setattr(daemon, "foreign_containers", lambda: ["other-database"])
    daemon.spawn(command=("sleep", "60"))
    pid = int((cache / "kubeadm-deploys/dockerd.pid").read_text().split()[0])

    daemon.stop()

    assert daemon.started_at(pid=pid)
    monkeypatch.setattr(daemon, "foreign_containers", list)
    daemon.stop()


def test_stop_does_not_kill_a_process_that_reused_the_pid(cache: Path) -> None:
    (cache / "kubeadm-deploys").mkdir()
    record = cache / "kubeadm-deploys/dockerd.pid"
    record.write_text(f"{os.getpid()} {int(daemon.started_at(pid=os.getpid())) - 1}")

    daemon.stop()

    assert not record.exists()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path
