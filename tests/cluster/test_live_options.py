"""Options that differ from the cluster: some follow it, some are refused, some have no effect."""

import dataclasses
import json
from typing import Any

import pytest

from kubeadm_deploys.cluster.document_differences import differences
from kubeadm_deploys.cluster.live_options import (
    Following,
    changed_meanwhile,
    follow,
    identity_findings,
    machines_count,
    option_releases,
)
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.documents.kubeadm_documents import kubelet_configuration
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.model.findings import CHECKS, Finding, Severity, errors_of
from kubeadm_deploys.model.options import ClusterOptions
from tests.support.cluster_settings import KUBE_PROXY, KUBELET, RELEASES, answer, record, settings_of

SETTINGS = settings_of(answer(record=record()))
BEFORE = dataclasses.replace(SETTINGS, record=ClusterRecord())
"""A cluster that was created before records existed."""

ERROR, WARNING = Severity.ERROR, Severity.WARNING


def following(
    settings: ClusterSettingsState = SETTINGS,
    machines: dict[str, dict[str, str]] | None = None,
    **options: Any,
) -> Following:
    return follow(ClusterOptions(**options), settings=settings, machines=machines or {})


def findings(settings: ClusterSettingsState = SETTINGS, **options: Any) -> tuple[Finding, ...]:
    return following(settings, **options).findings


def having(**changes: Any) -> ClusterSettingsState:
    return dataclasses.replace(SETTINGS, **changes)


def recorded(**releases: str) -> ClusterSettingsState:
    return having(record=ClusterRecord(data=record(**releases)))


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


@pytest.mark.parametrize("has", ["1.35.4", "1.36.1", "1.36.4"])
def test_cluster_py_does_not_upgrade_kubernetes_and_names_what_does(has: str) -> None:
    settings = having(kubernetes_version=has)
    (finding,) = findings(settings, kubernetes_version="1.37.2")
    assert (finding.check, finding.severity) == ("kubernetes-version", ERROR)
    assert not CHECKS[finding.check].skippable
    assert finding.found.startswith(f"kubernetes_version is 1.37.2, but the cluster has Kubernetes {has}")
    assert finding.fix == (
        "upgrade with 'pyinfra INVENTORY deploys/upgrade.py', or set kubernetes_version to "
        f"{has}, or leave it out"
    )

    followed = following(settings)
    assert (followed.findings, followed.options.release("kubernetes")) == ((), has)
    assert followed.news == f"the cluster has Kubernetes {has}; this package's default is Kubernetes 1.37.2"


@pytest.mark.parametrize(
    ("component", "option", "has", "wanted"),
    [
        ("containerd", "containerd_version", "2.2.3", "2.3.4"),
        ("runc", "runc_version", "1.4.2", "1.4.3"),
        ("cni_plugins", "cni_plugins_version", "1.8.0", "1.9.1"),
        ("calico", "calico_version", "3.30.0", "3.31.0"),
    ],
)
def test_other_components_are_not_upgraded_either(component: str, option: str, has: str, wanted: str) -> None:
    settings = recorded(**{component: has})
    (finding,) = findings(settings, **{option: wanted})
    assert (finding.check, finding.severity) == ("component-versions", ERROR)
    assert not CHECKS[finding.check].skippable
    assert f"{option} is {wanted}, but the cluster has " in finding.found and has in finding.found
    keep = f"set {option} to {has}, or leave it out"
    assert finding.fix == f"upgrade with 'pyinfra INVENTORY deploys/upgrade.py', or {keep}"

    followed = following(settings)
    assert (followed.findings, str(getattr(followed.options, option))) == ((), has)
    assert followed.options.given == frozenset()


HETZNER = dataclasses.replace(
    SETTINGS, cloud_versions={"hcloud-cloud-controller": "1.35.0", "hcloud-csi": "2.20.0"}
)


@pytest.mark.parametrize(
    "settings", [HETZNER, recorded(hcloud_cloud_controller="1.35.0", hcloud_csi="2.20.0")]
)
def test_what_a_cloud_needs_is_not_upgraded_either(settings: ClusterSettingsState) -> None:
    followed = following(settings, cloud_provider="hetzner")
    assert (followed.findings, followed.options.release("hcloud_csi")) == ((), "2.20.0")
    assert "Hetzner's CSI driver 2.20.0" in followed.news
    (finding,) = findings(settings, cloud_provider="hetzner", hcloud_csi_version="2.22.1")
    assert "hcloud_csi_version is 2.22.1, but the cluster has" in finding.found
    assert "deploys/upgrade.py" in finding.fix
    # Other clusters have none.
    assert "hcloud-csi" not in option_releases(ClusterOptions())
    assert findings(hcloud_csi_version="2.20.0") == ()


def test_a_cloud_controller_that_is_too_old_for_the_manifest_has_to_be_upgraded() -> None:
    settings = dataclasses.replace(SETTINGS, cloud_versions={"hcloud-cloud-controller": "1.34.0"})
    (finding,) = findings(settings, cloud_provider="hetzner")
    assert finding.severity is ERROR and "Hetzner's cloud controller 1.34.0" in finding.found
    assert "deploys/upgrade.py" in finding.fix


def test_a_release_that_the_user_has_set_is_not_news() -> None:
    settings = having(kubernetes_version="1.35.4")
    assert following(settings, kubernetes_version="1.35.4").news == ""
    assert following().news == ""


def test_the_record_takes_precedence_over_the_machines() -> None:
    machines = {"cp": {"containerd": "2.2.3"}, "w": {"containerd": "2.1.9"}}
    assert not machines_count(SETTINGS)
    assert following(machines=machines) == Following(options=ClusterOptions())


MACHINE = {"containerd": "2.2.3", "runc": "1.4.2", "cni-plugins": "1.8.0"}


def test_without_a_record_the_machines_releases_count() -> None:
    assert machines_count(BEFORE)
    settings = dataclasses.replace(BEFORE, cni_version="3.30.0")
    followed = following(
        settings, machines={"cp": MACHINE, "w-1": MACHINE, "w-2": {}, "w-3": {"runc": "1.4.2"}}
    )
    assert followed.findings == ()
    assert option_releases(followed.options) == {**MACHINE, "calico": "3.30.0"}


def test_without_a_record_or_releases_on_machines_the_options_count() -> None:
    settings = dataclasses.replace(BEFORE, cni_version="")
    followed = following(settings, machines={"cp": {}}, runc_version="1.4.2")
    assert (followed.findings, option_releases(followed.options)) == ((), {**RELEASES, "runc": "1.4.2"})


def test_machines_with_different_releases_are_named() -> None:
    machines = {"cp": MACHINE, "w-1": MACHINE | {"runc": "1.4.3"}, "w-2": MACHINE}
    (finding,) = following(BEFORE, machines=machines).findings
    assert (finding.check, finding.severity) == ("component-versions", ERROR)
    assert finding.found.endswith("its machines differ: 1.4.2 on cp, w-2; 1.4.3 on w-1")
    assert finding.fix.startswith("set runc_version to ")
    chosen = following(BEFORE, machines=machines, runc_version="1.4.3")
    assert (chosen.findings, chosen.options.release("runc")) == ((), "1.4.3")
    (finding,) = following(BEFORE, machines=machines, runc_version="1.4.0").findings
    assert "its machines differ" in finding.found


def test_many_machines_are_not_all_named() -> None:
    machines = {f"w-{number}": {"runc": f"1.4.{number % 2 + 2}"} for number in range(200)}
    (finding,) = following(BEFORE, machines=machines).findings
    assert "1.4.2 on w-0, w-2, w-4 and 97 more" in finding.found


def test_a_release_of_the_cluster_needs_no_checksum() -> None:
    followed = following(recorded(containerd="2.3.99", calico="3.99.0"))
    assert followed.findings == ()
    assert followed.options.release("containerd") == "2.3.99"


@pytest.mark.parametrize(
    "settings",
    [having(kubernetes_version="1.30.4"), having(kubernetes_version="1.99.0"), recorded(containerd="1.6.9")],
)
def test_an_unsupported_release_is_refused(settings: ClusterSettingsState) -> None:
    (finding,) = findings(settings)
    assert (finding.check, finding.severity) == ("component-versions", ERROR)
    assert "this package does not support" in finding.found
    assert "not supported" in finding.found


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


def test_a_damaged_record_is_a_warning_and_counts_as_missing() -> None:
    settings = having(record=ClusterRecord(data={"releases": "{", "nodes": "{}"}))
    followed = following(settings, machines={"cp": MACHINE})
    (finding,) = followed.findings
    assert (finding.severity, finding.found.partition(" ")[0]) == (WARNING, "releases")
    assert followed.options.release("containerd") == "2.2.3"


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


def test_records_of_later_releases_of_this_package_are_accepted() -> None:
    data = {"releases": json.dumps({**RELEASES, "etcdutl": "3.6.8"}), "addons": "x"}
    assert findings(having(record=ClusterRecord(data=data))) == ()


@pytest.mark.parametrize("text", [json.dumps({"kubernetes": "1.37.2"}), "damaged"])
def test_an_upgrade_that_has_not_ended_is_an_error_that_names_the_command(text: str) -> None:
    (finding,) = findings(having(record=ClusterRecord(data={"upgrade": text})))
    assert (finding.check, finding.severity) == ("kubernetes-version", ERROR)
    assert finding.fix.startswith(
        "finish it with 'pyinfra INVENTORY deploys/upgrade.py'; until then, take machines"
    )


def test_a_release_below_the_clusters_is_refused_without_the_way_up() -> None:
    (finding,) = findings(having(kubernetes_version="1.37.2"), kubernetes_version="1.37.1")
    assert finding.fix == "set kubernetes_version to 1.37.2, or leave it out"


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
