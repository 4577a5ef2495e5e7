"""Options that differ from the cluster: some follow it, some are refused, some have no effect."""

import dataclasses
from typing import Any

import pytest

from kubeadm_deploys.cluster.document_differences import differences
from kubeadm_deploys.cluster.live_options import (
    Following,
    changed_meanwhile,
    identity_findings,
    option_releases,
)
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.documents.kubeadm_documents import kubelet_configuration
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.model.findings import CHECKS, errors_of
from kubeadm_deploys.model.options import ClusterOptions
from tests.support.cluster_settings import KUBE_PROXY, KUBELET, RELEASES, record
from tests.support.live_options import BEFORE, ERROR, MACHINE, SETTINGS, WARNING, findings, following, having


def test_options_that_equal_the_clusters_have_no_findings() -> None:
    assert following() == Following(options=ClusterOptions())
    assert option_releases(ClusterOptions()) == RELEASES
    assert findings(kubernetes_version="1.37.2", containerd_version="2.3.4", pod_subnet="10.244.0.0/16") == ()


@pytest.mark.parametrize(
    ("option", "wanted", "actual"),
    [
        ("pod_subnet", "10.32.0.0/16", {"pod_subnet": "10.244.0.0/16"}),
        ("service_subnet", "10.112.0.0/12", {"service_subnet": "10.96.0.0/12"}),
        ("dns_domain", "example.org", {"dns_domain": "cluster.local"}),
        ("encapsulation", "IPIP", {"encapsulation": "VXLAN"}),
        ("encapsulation", "VXLAN", {"encapsulation": "None"}),
        ("cluster_name", "blue", {"cluster_name": "kubernetes"}),
        (
            "control_plane_endpoint",
            "api.example.org",
            {"control_plane_endpoint": "api.kubernetes.internal:6443"},
        ),
    ],
)
def test_an_unchangeable_option_is_refused_with_both_values_and_the_fix(
    option: str, wanted: str, actual: dict[str, str]
) -> None:
    (value,) = actual.values()
    (finding,) = findings(having(**actual), **{option: wanted})
    assert (finding.check, finding.severity) == ("cluster-options", ERROR)
    assert f"{option} is " in finding.found
    assert wanted in finding.found and value in finding.found
    assert f"set {option} to {value.removesuffix(':6443')}" in finding.fix
    assert not CHECKS[finding.check].skippable


def test_a_default_that_differs_from_the_cluster_is_refused() -> None:
    (finding,) = findings(having(pod_subnet="10.32.0.0/16"))
    assert finding.fix == "set pod_subnet to 10.32.0.0/16"
    (finding,) = findings(having(pod_subnet=""))
    assert "the cluster has none" in finding.found


def test_another_name_or_endpoint_may_mean_another_cluster() -> None:
    cases: tuple[tuple[ClusterSettingsState, dict[str, Any]], ...] = (
        (having(cluster_name="prod", control_plane_endpoint="api.prod.internal:6443"), {}),
        (having(control_plane_endpoint="api.prod.internal:6443"), {}),
        (SETTINGS, {"control_plane_endpoint": "api.example.org"}),
    )
    for settings, options in cases:
        (finding,) = identity_findings(ClusterOptions(**options), settings)
        assert "may not be the cluster that you mean" in finding.found
        assert "check the inventory's addresses" in finding.fix
    both = having(cluster_name="prod", control_plane_endpoint="api.prod.internal:6443")
    assert len(list(identity_findings(ClusterOptions(control_plane_endpoint="api.example.org"), both))) == 2


@pytest.mark.parametrize("endpoint", ["", "10.0.0.1:6443", "api.kubernetes.internal:443"])
def test_the_fix_for_an_unsupported_endpoint_names_no_option(endpoint: str) -> None:
    (finding,) = findings(having(control_plane_endpoint=endpoint))
    assert "this package cannot manage it" in finding.fix
    assert "set control_plane_endpoint" not in finding.fix


@pytest.mark.parametrize(
    "actual",
    [
        {"pod_subnet": " 10.244.0.0/16 "},
        {"service_subnet": "10.96.0.1/12"},
        {"dns_domain": "Cluster.Local."},
        {"control_plane_endpoint": "API.kubernetes.internal"},
        {"control_plane_endpoint": "api.kubernetes.internal.:6443"},
        {"encapsulation": ""},
        {"cni_version": ""},
        {"certificate_sans": None, "kubelet": None, "kube_proxy": None},
    ],
)
def test_equivalent_and_unknown_settings_have_no_findings(actual: dict[str, Any]) -> None:
    assert findings(having(**actual)) == ()


def test_an_option_that_only_init_reads_is_a_warning() -> None:
    (finding,) = findings(swap="keep")
    assert (finding.check, finding.severity) == ("cluster-options", WARNING)
    assert finding.found.startswith("swap has no effect on an existing cluster: ")
    # A run changes kube-proxy.
    assert findings(kube_proxy_configuration={"mode": "nftables"}) == ()


def test_the_warning_names_the_clusters_value() -> None:
    # Kubelets may have another resolver file; with nameservers, a run gives them ours.
    for options in ({}, {"nameservers": ("10.0.0.53",)}):
        assert findings(having(kubelet={**KUBELET, "resolvConf": "/etc/resolv.conf"}), **options) == ()
    (finding,) = findings(having(kubelet={**KUBELET, "cgroupDriver": "cgroupfs"}))
    assert "cgroupDriver of its kubelets is 'cgroupfs', not 'systemd'" in finding.found


@pytest.mark.parametrize(
    ("options", "kubelet"),
    [
        ({"swap": "keep"}, {"failSwapOn": False}),
        (
            {"kubelet_configuration": {"maxPods": 200, "syncFrequency": "90s"}},
            {"maxPods": 200, "syncFrequency": "1m30s"},
        ),
        ({"kubelet_configuration": {"evictionPressureTransitionPeriod": "0h"}}, {}),
        ({"kubelet_configuration": {"featureGates": {}, "readOnlyPort": 0, "allowedUnsafeSysctls": []}}, {}),
        ({"kubelet_configuration": {"cgroupDriver": "cgroupfs", "systemReserved": None}}, {}),
        ({"kubelet_configuration": {"resolvConf": "/x"}}, {"resolvConf": "/x"}),
    ],
)
def test_values_that_the_cluster_has_are_not_warned_about(
    options: dict[str, Any], kubelet: dict[str, Any]
) -> None:
    assert findings(having(kubelet={**KUBELET, **kubelet}), **options) == ()


def test_what_the_run_changes_is_no_finding() -> None:
    eviction = {"memory.available": "200Mi"}
    assert findings(kubelet_configuration={"maxPods": 200, "evictionHard": eviction}) == ()
    assert findings(certificate_sans=("k8s.example.com", "10.0.0.1")) == ()


def test_a_document_equals_itself() -> None:
    assert list(differences(KUBELET, KUBELET)) == []
    assert list(differences(KUBE_PROXY, KUBE_PROXY)) == []
    assert list(differences(kubelet_configuration(ClusterOptions()), KUBELET)) == []


SILENT = ClusterSettingsState(
    cluster_name="kubernetes",
    control_plane_endpoint="api.kubernetes.internal:6443",
    pod_subnet="10.244.0.0/16",
    service_subnet="10.96.0.0/12",
    dns_domain="cluster.local",
    kubernetes_version="1.35.4",
    silent="connection refused",
)


def test_without_an_api_server_files_and_machines_count_with_a_warning() -> None:
    followed = following(SILENT, machines={"cp": MACHINE}, certificate_sans=("x.example.com",))
    (finding,) = followed.findings
    assert finding.severity is WARNING and "(connection refused)" in finding.found
    assert followed.options.release("kubernetes") == "1.35.4"
    assert followed.options.release("containerd") == "2.2.3"
    assert len(errors_of(following(SILENT, pod_subnet="10.32.0.0/16").findings)) == 1


def test_settings_without_a_file_are_not_compared() -> None:
    unknown = dataclasses.replace(
        SILENT, cluster_name="", control_plane_endpoint="", pod_subnet="", service_subnet="", dns_domain=""
    )
    assert errors_of(following(unknown).findings) == []


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({}, ""),
        (
            {"pod_subnet": "10.32.0.0/16"},
            "the cluster's pod subnet has changed from 10.244.0.0/16 to 10.32.0.0/16",
        ),
        ({"cluster_name": "blue"}, "the cluster's name has changed from kubernetes to blue"),
        (
            {"kubernetes_version": "1.36.4"},
            "the cluster's Kubernetes release has changed from 1.37.2 to 1.36.4",
        ),
        (
            {"encapsulation": "IPIP"},
            "the encapsulation of the cluster's pod network has changed from VXLAN to IPIP",
        ),
        (
            {"record": ClusterRecord(data=record(containerd="2.2.3"))},
            "the cluster's containerd release has changed from 2.3.4 to 2.2.3",
        ),
        # The plan uses none of these.
        ({"record": ClusterRecord(data={**record(), "nodes": '{"w-1": ["disk"]}'})}, ""),
        ({"certificate_sans": ("x",), "kubelet": {}, "kube_proxy": None}, ""),
        ({"control_plane_endpoint": "API.kubernetes.internal"}, ""),
        # A value that could not be read at one of the two times has not changed.
        ({"record": ClusterRecord(), "silent": "refused", "cni_version": "", "encapsulation": ""}, ""),
    ],
)
def test_changes_since_the_run_was_planned_are_named(now: dict[str, Any], words: str) -> None:
    assert changed_meanwhile(SETTINGS, having(**now)) == words


def test_a_cluster_that_appeared_or_disappeared_is_a_change() -> None:
    assert changed_meanwhile(None, None) == ""
    assert changed_meanwhile(None, SETTINGS) == "the cluster has been created"
    assert changed_meanwhile(SETTINGS, None) == "the cluster has disappeared"


def test_files_of_an_init_that_stored_nothing_were_no_cluster() -> None:
    assert changed_meanwhile(having(silent="refused"), None, stored_nothing=True) == ""
    assert changed_meanwhile(having(silent="refused"), None) == "the cluster has disappeared"
    # An API server has answered for it.
    assert changed_meanwhile(SETTINGS, None, stored_nothing=True) == "the cluster has disappeared"


RECORDED = {"containerd": "2.3.4", "runc": "1.4.3", "cni-plugins": "1.9.1"}


@pytest.mark.parametrize(
    ("cni", "found", "releases", "has"),
    [
        ("calico", "calico", None, ""),
        ("none", "calico", None, "calico"),
        # Unknown: kubeadm was interrupted before the pod network was installed.
        ("none", "", None, ""),
        ("calico", "", None, ""),
        ("calico", "", RECORDED | {"calico": "3.31.0"}, ""),
        ("none", "", RECORDED | {"calico": "3.31.0"}, "calico"),
        ("none", "", RECORDED, ""),
        # Calico was installed by hand.
        ("none", "calico", RECORDED, ""),
        ("calico", "", RECORDED, "none"),
    ],
)
def test_the_cni_is_the_one_that_the_cluster_was_created_with(
    cni: str, found: str, releases: dict[str, str] | None, has: str
) -> None:
    record = ClusterRecord() if releases is None else ClusterRecord().with_releases(releases)
    settings = dataclasses.replace(BEFORE, cni=found, record=record, encapsulation="")
    problems = [finding.found for finding in following(settings, machines={}, cni=cni).findings]
    expected = [f"cni is {cni}, but the cluster was created with {has}, which cannot be changed"]
    assert problems == (expected if has else [])
