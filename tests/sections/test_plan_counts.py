"""What the choice of operations depends on: everything else may change until the lock is taken."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from kubeadm_deploys.endpoints import local_proxy
from kubeadm_deploys.endpoints.local_proxy import LocalProxyState
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.sections import container_runtime, kube_packages, kubelet_dns
from kubeadm_deploys.sections.container_runtime import ContainerRuntimeState
from kubeadm_deploys.sections.kube_packages import KubePackagesState
from kubeadm_deploys.sections.kubelet_dns import KubeletDnsState

OPTIONS = ClusterOptions()
RUNTIME = ContainerRuntimeState(
    has_curl=True,
    versions={
        **dict.fromkeys(("containerd", "containerd-shim-runc-v2", "ctr"), OPTIONS.release("containerd")),
        "runc": OPTIONS.release("runc"),
    },
    plugins=dict.fromkeys(artifacts.CNI_PLUGINS, OPTIONS.release("cni_plugins")),
    files={"/etc/containerd/config.toml": "1f"},
    active=True,
)
PACKAGES = KubePackagesState(
    versions=dict.fromkeys(kube_packages.HELD_PACKAGES, f"{OPTIONS.kubernetes_version}-1.1")
    | dict.fromkeys(kube_packages.TOOLS, "1.0"),
    held=frozenset(kube_packages.HELD_PACKAGES),
    kubelet=frozenset({"enabled"}),
    files={"/etc/apt/preferences.d/kubernetes": "1f"},
)
RESOLVER = KubeletDnsState(sources={"/etc/resolv.conf": "nameserver 9.9.9.9\n"}, files={"/x": "1f"})
PROXY = LocalProxyState(installed=True, running=True, files={local_proxy.CONFIG_FILE: "1f"})


def runtime(found: ContainerRuntimeState) -> object:
    return container_runtime.what_counts(found, options=OPTIONS)


def packages(found: KubePackagesState) -> object:
    return kube_packages.what_counts(found, options=OPTIONS)


@pytest.mark.parametrize(
    ("counts", "before", "changes"),
    [
        # Calico's installer, whose pod has started meanwhile.
        (runtime, RUNTIME, {"plugins": {**RUNTIME.plugins, "calico": "", "calico-ipam": ""}}),
        (runtime, RUNTIME, {"active": False, "up_to_date": True, "systemd_cgroup": "true"}),
        # An update of one of Debian's tools.
        (packages, PACKAGES, {"versions": {**PACKAGES.versions, kube_packages.TOOLS[0]: "1.1"}}),
        # A kubelet without a node restarts every few seconds.
        (packages, PACKAGES, {"kubelet": frozenset({"enabled", "active"})}),
        (packages, PACKAGES, {"held": PACKAGES.held | {"linux-image-amd64"}}),
        (
            kubelet_dns.what_counts,
            RESOLVER,
            {"sources": {"/etc/resolv.conf": "# dhcp\nnameserver 9.9.9.9\n"}},
        ),
        (local_proxy.what_counts, PROXY, {"running": False}),
        (local_proxy.what_counts, PROXY, {"files": {**PROXY.files, local_proxy.LOADED_FILE: "1f"}}),
    ],
)
def test_changes_that_happen_by_themselves_keep_a_plan_valid(
    counts: Callable[[Any], object], before: Any, changes: dict[str, Any]
) -> None:
    after = replace(before, **changes)
    assert after != before
    assert counts(after) == counts(before)


@pytest.mark.parametrize(
    ("counts", "before", "changes"),
    [
        (runtime, RUNTIME, {"versions": {**RUNTIME.versions, "runc": "1.1.1"}}),
        (runtime, RUNTIME, {"plugins": {**RUNTIME.plugins, "bridge": "1.1.1"}}),
        (runtime, RUNTIME, {"files": {"/etc/containerd/config.toml": "2e"}}),
        (packages, PACKAGES, {"versions": {**PACKAGES.versions, "kubelet": "1.30.0-1.1"}}),
        (packages, PACKAGES, {"versions": {}}),
        (packages, PACKAGES, {"held": frozenset()}),
        (packages, PACKAGES, {"files": {}}),
        (kubelet_dns.what_counts, RESOLVER, {"sources": {"/etc/resolv.conf": "nameserver 8.8.8.8\n"}}),
        (kubelet_dns.what_counts, RESOLVER, {"files": {}}),
        (local_proxy.what_counts, PROXY, {"installed": False}),
        (local_proxy.what_counts, PROXY, {"files": {}}),
    ],
)
def test_changes_that_another_run_may_make_invalidate_a_plan(
    counts: Callable[[Any], object], before: Any, changes: dict[str, Any]
) -> None:
    assert counts(replace(before, **changes)) != counts(before)
