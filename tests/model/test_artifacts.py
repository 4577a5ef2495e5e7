"""The artifact table, compared with the official checksums, and the rule for mirrors."""

import json
from pathlib import Path

import pytest
from packaging.version import Version

from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.checksums import SHA256

FACTS = Path(__file__).parents[3] / "shared" / "facts" / "artifact-checksums.json"


@pytest.mark.skipif(not FACTS.is_file(), reason="the official checksums are not next to this checkout")
@pytest.mark.parametrize("component", ["containerd", "runc", "cni_plugins"])
def test_checksums_are_the_official_ones(component: str) -> None:
    official = json.loads(FACTS.read_text())[component.replace("_", "-")]
    for version, sums in SHA256[component].items():
        assert sums == {architecture: official[architecture][version] for architecture in sums}


@pytest.mark.parametrize(
    ("component", "version"),
    [
        ("containerd", artifacts.CONTAINERD_VERSION),
        ("runc", artifacts.RUNC_VERSION),
        ("cni_plugins", artifacts.CNI_PLUGINS_VERSION),
        # The release in the guide.
        ("runc", "1.1.10"),
    ],
)
@pytest.mark.parametrize("architecture", artifacts.ARCHITECTURES)
def test_default_releases_and_those_of_the_guide_have_checksums(
    component: str, version: str, architecture: str
) -> None:
    file = artifacts.release_file(component=component, version=version, variant=architecture)
    assert len(file.sha256) == 64
    assert version in file.url and architecture in file.url


@pytest.mark.parametrize("encapsulation", ["VXLAN", "IPIP", "None"])
def test_the_default_calico_has_a_manifest_for_every_encapsulation(encapsulation: str) -> None:
    manifest = artifacts.calico_manifest(encapsulation)
    file = artifacts.release_file(component="calico", version=artifacts.CALICO_VERSION, variant=manifest)
    assert len(file.sha256) == 64


def test_the_users_checksum_overrides_the_table() -> None:
    file = artifacts.release_file(component="runc", version="1.4.3", variant="amd64")
    assert artifacts.expected_sha256(file=file, checksums={file.url: "f" * 64}) == "f" * 64
    assert artifacts.expected_sha256(file=file, checksums={}) == file.sha256


def test_a_mirror_serves_urls_by_host_and_path() -> None:
    url = artifacts.kubernetes_apt_repository("1.36")
    assert url == "https://pkgs.k8s.io/core:/stable:/v1.36/deb/"
    assert (
        artifacts.mirrored(url=url, mirror="http://10.0.0.9:8080")
        == "http://10.0.0.9:8080/pkgs.k8s.io/core:/stable:/v1.36/deb/"
    )
    assert artifacts.mirrored(url=url, mirror="") == url


@pytest.mark.parametrize(
    ("release", "schema"),
    [("1.6.9", None), ("1.7.34", 2), ("2.0.0", 3), ("2.2.7", 3), ("2.3.4", 4), ("3.0.0", 4)],
)
def test_containerd_config_version_follows_the_release(release: str, schema: int | None) -> None:
    assert artifacts.containerd_config_version(Version(release)) == schema
