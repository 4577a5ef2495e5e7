"""Reading packages: the script with a database of dpkg in a folder."""

import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.sections.kube_packages import KubePackages, KubePackagesState
from tests.support.remote_scripts import with_programs

PACKAGE = """\
Package: {name}
Status: {status}
Architecture: all
Version: 1.37.2-1.1
Maintainer: Nobody <nobody@example.com>
Description: nothing

"""


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KubePackagesState:
    """Run the script on a machine with packages in several states."""
    database = tmp_path / "dpkg"
    (database / "info").mkdir(parents=True)
    states = {
        "kubelet": "hold ok installed",
        "kubeadm": "install ok installed",
        "kubectl": "hold ok config-files",
        "socat": "deinstall ok config-files",
        "other": "hold ok installed",
    }
    packages = [PACKAGE.format(name=name, status=status) for name, status in states.items()]
    (database / "status").write_text("".join(packages))
    monkeypatch.setenv("DPKG_ADMINDIR", str(database))
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexit 3\n")
    (tmp_path / "systemctl").chmod(0o755)
    names = ("kubelet", "kubeadm", "kubectl", "socat", "missing")
    command = KubePackages().command(packages=names, keyring="/nowhere", paths=())
    done = subprocess.run(
        ["sh", "-c", with_programs(command, tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return KubePackages().process(done.stdout.splitlines())


def test_installed_packages_are_read_with_their_versions(found: KubePackagesState) -> None:
    assert found.versions == {"kubelet": "1.37.2-1.1", "kubeadm": "1.37.2-1.1"}


def test_a_package_is_held_if_apt_says_so(found: KubePackagesState) -> None:
    """As `apt-mark showhold` prints, also if only the package's configuration is left."""
    assert found.held == {"kubelet", "kubectl"}
