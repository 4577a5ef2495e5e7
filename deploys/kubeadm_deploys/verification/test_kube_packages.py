"""kubelet, kubeadm and kubectl: one version, held, from the one repository of its minor."""

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
    # What apt itself makes of all its source files, also of those that it has not fetched yet.
    "sources": "apt-get indextargets --no-release-info --format '$(REPO_URI) $(SOURCESENTRY)' 'Created-By: Packages'",
    "kubelet unit": "systemctl is-enabled kubelet.service",
}

_REPOSITORY = re.compile(r"core:/stable:/v(?P<minor>\d+\.\d+)/deb")
_SIGNED_BY = re.compile(r"signed-by[=:]\s*(?P<path>/etc/apt/keyrings/[^\s\],]+)", re.IGNORECASE)


def test_programs_are_of_one_version(answers: Answers, machine: Machine) -> None:
    """Of that which the inventory's data name, if they do."""
    versions = _versions(answers)
    assert set(versions.values()) == {machine.data.get("kubernetes_version", versions["kubelet"])}


def test_programs_are_those_of_the_packages(answers: Answers) -> None:
    packages = dict(line.split() for line in answers["packages"].lines)
    assert {name: version.partition("-")[0] for name, version in packages.items()} == _versions(answers)


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_held(answers: Answers, package: str) -> None:
    assert package in answers["held"].lines


def test_repository_is_that_of_the_minor_only(answers: Answers) -> None:
    assert {minor for minor, _ in _sources(answers)} == {_versions(answers)["kubelet"].rpartition(".")[0]}


def test_repository_is_trusted_by_its_own_dearmored_key(answers: Answers, machine: Machine) -> None:
    """Binary, as ``gpg --dearmor`` leaves it: apt takes armour only by the name ``.asc``."""
    files = {file for _, file in _sources(answers)}
    assert files, "apt knows no Kubernetes repository"
    for text in ask(machine, {file: f"cat {file}" for file in files}).values():
        keyring = _SIGNED_BY.search(text.text)
        assert keyring, f"any key that apt trusts may sign for {text.text}"
        first_byte = ask(machine, {"key": f"od -A n -t x1 -N 1 {keyring['path']}"})["key"].text
        # RFC 9580, 4.2: the first bit of an OpenPGP packet is set; armour is ASCII.
        assert int(first_byte, base=16) & 0x80, f"{keyring['path']} is not a binary keyring"


def test_kubelet_starts_at_boot(answers: Answers) -> None:
    assert answers["kubelet unit"].text == "enabled"


def _versions(answers: Answers) -> dict[str, str]:
    """The version of each program, as it says itself."""
    return {
        "kubelet": answers["kubelet"].text.removeprefix("Kubernetes v"),
        "kubeadm": answers["kubeadm"].text.removeprefix("v"),
        "kubectl": json.loads(answers["kubectl"].text)["clientVersion"]["gitVersion"].removeprefix("v"),
    }


def _sources(answers: Answers) -> list[tuple[str, str]]:
    """The minor of every Kubernetes repository that apt knows, and the file that names it."""
    found = []
    for line in answers["sources"].lines:
        uri, entry = line.split()
        match = _REPOSITORY.search(uri)
        if match:
            found.append((match["minor"], entry.rpartition(":")[0]))
    return found
