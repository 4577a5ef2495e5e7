"""Kubernetes packages: which are wanted, and when the kubelet must run."""

import dataclasses

import pytest

from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections import kube_packages
from kubeadm_deploys.sections.kube_packages import KubePackagesState

OPTIONS = ClusterOptions()


def installed(**versions: str) -> KubePackagesState:
    tools = {tool: "1.0" for tool in kube_packages.TOOLS}
    return KubePackagesState(versions=tools | versions)


def test_packages_of_another_release_are_wanted_by_version() -> None:
    found = installed(kubelet="1.37.2-1.1", kubeadm="1.37.20-1.1", kubectl="1.36.5-1.1")
    assert kube_packages.wanted_packages(found=found, options=OPTIONS) == [
        "kubeadm=1.37.2-*",
        "kubectl=1.37.2-*",
    ]


def test_missing_tools_are_wanted() -> None:
    found = installed(kubelet="1.37.2-1.1", kubeadm="1.37.2-2.1", kubectl="1.37.2-1.1")
    assert kube_packages.wanted_packages(found=found, options=OPTIONS) == []
    del found.versions["conntrack"]
    assert kube_packages.wanted_packages(found=found, options=OPTIONS) == ["conntrack"]


@pytest.mark.parametrize(
    ("kubelet", "fails"),
    [
        ({"has-node", "enabled", "active"}, False),
        ({"has-node", "enabled"}, True),
        ({"has-node", "active"}, True),
        ({"enabled", "active"}, False),
        ({"enabled"}, False),
        (set(), True),
    ],
)
def test_the_kubelet_must_run_where_kubeadm_made_a_node(kubelet: set[str], fails: bool) -> None:
    found = dataclasses.replace(installed(kubelet="1.36.3-1.1"), kubelet=frozenset(kubelet))
    assert kube_packages.kubelet_fails(found=found) is fails


def test_a_kubelet_that_is_not_installed_need_not_run() -> None:
    assert not kube_packages.kubelet_fails(found=installed())


def test_apt_knows_only_the_wanted_minor_release() -> None:
    files = kube_packages.apt_files(ClusterOptions(kubernetes_version="1.35.4"))
    assert files[kube_packages.SOURCES_FILE] == (
        "deb [signed-by=/etc/apt/keyrings/kubernetes-apt-keyring.gpg]"
        " https://pkgs.k8s.io/core:/stable:/v1.35/deb/ /\n"
    )
    assert "Pin: version 1.35.4-*\n" in files[kube_packages.PREFERENCES_FILE]
