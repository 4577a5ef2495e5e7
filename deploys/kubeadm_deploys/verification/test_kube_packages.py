"""kubelet, kubeadm and kubectl have one version, are held, and come from the repository of that minor."""

import json
import re

import pytest

from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.remote import Answers, ask

PACKAGES = ("kubelet", "kubeadm", "kubectl")

COMMANDS = {
    "packages": f"dpkg-query --show --showformat '${{Package}} ${{Version}}\\n' {' '.join(PACKAGES)}",
    "kubelet": "kubelet --version",
    "kubeadm": "kubeadm version --output=short",
    "kubectl": "kubectl version --client --output=json",
    "held": "apt-mark showhold",
    # apt's own reading of its source files, including those not fetched yet.
    "sources": "apt-get indextargets --no-release-info --format '$(REPO_URI) $(SOURCESENTRY)' 'Created-By: Packages'",
    "kubelet unit": "systemctl is-enabled kubelet.service",
}

_REPOSITORY = re.compile(r"core:/stable:/v(?P<minor>\d+\.\d+)/deb")
_SIGNED_BY = re.compile(r"signed-by[=:]\s*(?P<path>/etc/apt/keyrings/[^\s\],]+)", re.IGNORECASE)


def test_programs_have_one_version(answers: Answers, machine: Machine) -> None:
    """If the inventory sets ``kubernetes_version``, it must be that one."""
    versions = _versions(answers)
    assert set(versions.values()) == {machine.data.get("kubernetes_version", versions["kubelet"])}


def test_programs_have_the_versions_of_the_packages(answers: Answers) -> None:
    packages = dict(line.split() for line in answers["packages"].lines)
    assert {name: version.partition("-")[0] for name, version in packages.items()} == _versions(answers)


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_held(answers: Answers, package: str) -> None:
    assert package in answers["held"].lines


def test_only_the_repository_of_the_minor_is_configured(answers: Answers) -> None:
    assert {minor for minor, _ in _sources(answers)} == {_versions(answers)["kubelet"].rpartition(".")[0]}


def test_repository_is_signed_by_its_own_dearmored_key(answers: Answers, machine: Machine) -> None:
    """The key is binary, as ``gpg --dearmor`` writes it: apt accepts armour only in ``.asc`` files."""
    files = {file for _, file in _sources(answers)}
    assert files, "apt has no Kubernetes repository"
    for source in ask(machine, {file: f"cat {file}" for file in files}).values():
        keyring = _SIGNED_BY.search(source.text)
        assert keyring, f"source without signed-by, so any trusted key is accepted: {source.text}"
        first_byte = ask(machine, {"key": f"od -A n -t x1 -N 1 {keyring['path']}"})["key"].text
        # RFC 9580, 4.2: an OpenPGP packet starts with a set bit; armour is ASCII.
        assert int(first_byte, base=16) & 0x80, f"{keyring['path']} is not a binary keyring"


def test_kubelet_starts_at_boot(answers: Answers) -> None:
    assert answers["kubelet unit"].text == "enabled"


def _versions(answers: Answers) -> dict[str, str]:
    """Return the version that each program prints."""
    return {
        "kubelet": answers["kubelet"].text.removeprefix("Kubernetes v"),
        "kubeadm": answers["kubeadm"].text.removeprefix("v"),
        "kubectl": json.loads(answers["kubectl"].text)["clientVersion"]["gitVersion"].removeprefix("v"),
    }


def _sources(answers: Answers) -> list[tuple[str, str]]:
    """Return the minor of every Kubernetes repository in apt's sources, and the file that configures it."""
    found = []
    for line in answers["sources"].lines:
        uri, entry = line.split()
        match = _REPOSITORY.search(uri)
        if match:
            found.append((match["minor"], entry.rpartition(":")[0]))
    return found
