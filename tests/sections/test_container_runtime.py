"""The container runtime: what is outdated, its configuration, and registries."""

import dataclasses
import tomllib
from typing import Any

import pytest
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections import container_runtime
from kubeadm_deploys.sections.container_runtime import ContainerRuntime, ContainerRuntimeState

OPTIONS = ClusterOptions()


RUNTIME = ContainerRuntimeState(
    architecture="amd64",
    versions={"containerd": "2.3.4", "containerd-shim-runc-v2": "2.3.4", "ctr": "2.3.4", "runc": "1.4.3"},
    plugins={plugin: "1.9.1" for plugin in artifacts.CNI_PLUGINS} | {"calico": ""},
    active=True,
    enabled=True,
    up_to_date=True,
)


@pytest.mark.parametrize(
    ("change", "outdated"),
    [
        ({}, set()),
        ({"versions": {}}, {"containerd", "runc"}),
        ({"versions": RUNTIME.versions | {"runc": "1.4.2"}}, {"runc"}),
        ({"versions": RUNTIME.versions | {"runc": ""}}, {"runc"}),
        ({"versions": RUNTIME.versions | {"ctr": "2.3.3"}}, {"containerd"}),
        ({"plugins": RUNTIME.plugins | {"portmap": "1.8.0"}}, {"cni_plugins"}),
        ({"plugins": {"calico": ""}}, {"cni_plugins"}),
    ],
)
def test_components_of_another_release_are_outdated(change: dict[str, Any], outdated: set[str]) -> None:
    found = dataclasses.replace(RUNTIME, **change)
    assert container_runtime.outdated_components(found=found, options=OPTIONS) == outdated


@pytest.mark.parametrize(
    ("change", "releases"),
    [
        ({}, {"containerd": "2.3.4", "runc": "1.4.3", "cni-plugins": "1.9.1"}),
        ({"versions": {"runc": "1.4.2", "containerd": ""}}, {"runc": "1.4.2", "cni-plugins": "1.9.1"}),
        (
            {"versions": {}, "plugins": RUNTIME.plugins | {"portmap": "1.8.0"}},
            {},
        ),
        (
            {"versions": {}, "plugins": {"portmap": "1.8.0", "calico": "", "flannel": "1.7.1"}},
            {"cni-plugins": "1.8.0"},
        ),
        ({"versions": {}, "plugins": {"portmap": ""}}, {}),
    ],
)
def test_installed_releases_are_those_that_programs_report(
    change: dict[str, Any], releases: dict[str, str]
) -> None:
    assert container_runtime.installed_releases(dataclasses.replace(RUNTIME, **change)) == releases


@pytest.mark.parametrize(
    ("change", "outdated", "differing", "restart"),
    [
        ({}, set(), set(), False),
        ({}, {"runc", "cni_plugins"}, {container_runtime.DPKG_FILE}, False),
        ({}, {"containerd"}, set(), True),
        ({}, set(), {container_runtime.CONFIG_FILE}, True),
        ({}, set(), {container_runtime.UNIT_FILE}, True),
        ({"active": False}, set(), set(), True),
        ({"enabled": False}, set(), set(), True),
        ({"up_to_date": False}, set(), set(), True),
        ({"systemd_cgroup": "false"}, set(), set(), True),
        ({"systemd_cgroup": "true"}, set(), set(), False),
    ],
)
def test_containerd_is_restarted_only_for_what_it_reads_at_start(
    change: dict[str, Any], outdated: set[str], differing: set[str], restart: bool
) -> None:
    found = dataclasses.replace(RUNTIME, **change)
    assert container_runtime.needs_restart(found=found, outdated=outdated, differing=differing) is restart


def test_a_replaced_program_or_newer_file_means_the_daemon_is_not_up_to_date() -> None:
    running = ["active active", "enabled enabled", "running /usr/local/bin/containerd"]
    assert ContainerRuntime().process(running).up_to_date
    assert not ContainerRuntime().process([*running, "stale /etc/containerd/config.toml"]).up_to_date
    assert (
        not ContainerRuntime()
        .process([*running[:2], "running /usr/local/bin/containerd (deleted)"])
        .up_to_date
    )


@pytest.mark.parametrize(
    ("containerd", "kubernetes", "lines"),
    [
        ("1.7.34", "1.36.3", ["version = 2", 'sandbox_image = "registry.k8s.io/pause:3.10.2"']),
        ("2.2.7", "1.35.4", ["version = 3", 'sandbox = "registry.k8s.io/pause:3.10.1"']),
        ("2.3.4", "1.36.3", ["version = 4", 'sandbox = "registry.k8s.io/pause:3.10.2"']),
    ],
)
def test_the_configuration_has_the_releases_schema_and_kubeadms_sandbox_image(
    containerd: str, kubernetes: str, lines: list[str]
) -> None:
    options = ClusterOptions(containerd_version=containerd, kubernetes_version=kubernetes)
    written = container_runtime.configuration_files(options)[container_runtime.CONFIG_FILE]
    found = [line.strip() for line in written.splitlines()]
    assert [line for line in [*lines, "SystemdCgroup = true"] if line not in found] == []


def test_a_mirror_gets_a_file_for_every_registry() -> None:
    written = container_runtime.configuration_files(ClusterOptions(mirror="http://10.0.0.9:8080"))
    path = "/etc/containerd/certs.d/quay.io/hosts.toml"
    assert 'server = "https://quay.io"' in written[path]
    assert '[host."http://10.0.0.9:8080/v2/quay.io"]' in written[path]
    assert not any("certs.d" in path for path in container_runtime.configuration_files(OPTIONS))


QUAY = "/etc/containerd/certs.d/quay.io/hosts.toml"


def test_a_registrys_mirrors_replace_the_mirror() -> None:
    options = ClusterOptions(
        mirror="http://10.0.0.9:8080",
        registries={"quay.io": {"mirrors": ["http://b.example.com:5000", "https://a.example.com/v2/quay"]}},
    )
    written = container_runtime.configuration_files(options)
    document = tomllib.loads(written[QUAY])
    assert document["server"] == "https://quay.io"
    # containerd tries them in the order of the file.
    assert list(document["host"]) == ["http://b.example.com:5000", "https://a.example.com/v2/quay"]
    assert [host.get("override_path", False) for host in document["host"].values()] == [False, True]
    assert "http://10.0.0.9:8080/v2/docker.io" in written[QUAY.replace("quay.io", "docker.io")]


@pytest.mark.parametrize(
    ("release", "plugin"),
    [
        ("1.7.34", "io.containerd.grpc.v1.cri"),
        ("2.0.11", "io.containerd.cri.v1.images"),
        ("2.2.7", "io.containerd.cri.v1.images"),
        ("2.3.4", "io.containerd.cri.v1.images"),
    ],
)
def test_credentials_are_in_the_configuration_by_server(
    monkeypatch: pytest.MonkeyPatch, release: str, plugin: str
) -> None:
    password = """"'\\ <é> 😀 #"""
    monkeypatch.setenv("E2E_PASSWORD", password)
    entry = {"username": "robot$a", "password_env": "E2E_PASSWORD"}
    options = ClusterOptions(
        containerd_version=release,
        kubernetes_version="1.35.4",
        registries={"docker.io": entry, "10.0.0.9:5000": entry},
    )
    written = container_runtime.configuration_files(options)
    configs = tomllib.loads(written[container_runtime.CONFIG_FILE])["plugins"][plugin]["registry"]["configs"]
    auth = {"auth": {"username": "robot$a", "password": password}}
    assert configs == {"registry-1.docker.io": auth, "10.0.0.9:5000": auth}
    assert not any("certs.d" in path for path in written)


def test_only_files_of_this_project_are_removed_and_only_those_of_others_refused() -> None:
    theirs = QUAY.replace("quay.io", "registry.example.com")
    found = ContainerRuntime().process([f"registry:{QUAY} ours", f"registry:{theirs} theirs"])
    assert container_runtime.unwanted_registry_files(found=found, wanted={QUAY: ""}) == []
    assert container_runtime.unwanted_registry_files(found=found, wanted={}) == [QUAY]
    container_runtime.refuse_files_of_others(found=found, wanted={QUAY: ""})
    with pytest.raises(DeployError, match=f"^{theirs}: was not written by this project"):
        container_runtime.refuse_files_of_others(found=found, wanted={theirs: ""})
