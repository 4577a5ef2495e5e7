"""Options that are not the cluster's: what follows it, what is refused, and what has no effect."""

import dataclasses
import json
from typing import Any

import pytest

from kubeadm_deploys.cluster_record import ClusterRecord
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.findings import CHECKS, Finding, Severity, dangers
from kubeadm_deploys.kubeadm_documents import kubelet_configuration
from kubeadm_deploys.live_options import (
    Following,
    changed_meanwhile,
    differences,
    follow,
    identity_findings,
    machines_count,
    option_releases,
)
from kubeadm_deploys.options import ClusterOptions
from tests.cluster_settings import KUBE_PROXY, KUBELET, RELEASES, answer, record, settings_of

SETTINGS = settings_of(answer(record=record()))
BEFORE = dataclasses.replace(SETTINGS, record=ClusterRecord())
"""A cluster that was made before there were records."""

DANGER, DOUBT = Severity.DANGER, Severity.DOUBT


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


def test_options_that_a_cluster_was_made_with_go_with_it() -> None:
    assert following() == Following(options=ClusterOptions())
    assert option_releases(ClusterOptions()) == RELEASES
    assert findings(kubernetes_version="1.37.2", containerd_version="2.3.4", pod_subnet="10.244.0.0/16") == ()


@pytest.mark.parametrize(
    ("option", "wanted", "there"),
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
def test_what_cannot_be_changed_is_refused_with_both_values_and_the_cure(
    option: str, wanted: str, there: dict[str, str]
) -> None:
    (value,) = there.values()
    (finding,) = findings(having(**there), **{option: wanted})
    assert (finding.check, finding.severity) == ("cluster-options", DANGER)
    assert f"{option} is " in finding.found
    assert wanted in finding.found and value in finding.found
    assert f"set {option} to {value.removesuffix(':6443')}" in finding.cure
    assert not CHECKS[finding.check].waivable


def test_a_default_that_the_cluster_was_not_made_with_is_refused_as_well() -> None:
    (finding,) = findings(having(pod_subnet="10.32.0.0/16"))
    assert finding.cure == "set pod_subnet to 10.32.0.0/16"
    (finding,) = findings(having(pod_subnet=""))
    assert "the cluster has none" in finding.found


def test_another_clusters_name_or_endpoint_says_that_it_may_be_another_cluster() -> None:
    cases: tuple[tuple[ClusterSettingsState, dict[str, Any]], ...] = (
        (having(cluster_name="prod", control_plane_endpoint="api.prod.internal:6443"), {}),
        (having(control_plane_endpoint="api.prod.internal:6443"), {}),
        (SETTINGS, {"control_plane_endpoint": "api.example.org"}),
    )
    for settings, options in cases:
        (finding,) = identity_findings(ClusterOptions(**options), settings)
        assert "perhaps it is another cluster than you mean" in finding.found
        assert "check the inventory's addresses" in finding.cure
    both = having(cluster_name="prod", control_plane_endpoint="api.prod.internal:6443")
    assert len(list(identity_findings(ClusterOptions(control_plane_endpoint="api.example.org"), both))) == 2


@pytest.mark.parametrize("endpoint", ["", "10.0.0.1:6443", "api.kubernetes.internal:443"])
def test_an_endpoint_that_this_package_cannot_have_names_no_option(endpoint: str) -> None:
    (finding,) = findings(having(control_plane_endpoint=endpoint))
    assert "this package cannot manage it" in finding.cure
    assert "set control_plane_endpoint" not in finding.cure


@pytest.mark.parametrize(
    "there",
    [
        {"pod_subnet": " 10.244.0.0/16 "},
        {"service_subnet": "10.96.0.1/12"},
        {"dns_domain": "Cluster.Local."},
        {"control_plane_endpoint": "API.kubernetes.internal"},
        {"control_plane_endpoint": "api.kubernetes.internal.:6443"},
        {"encapsulation": ""},
        {"calico_version": ""},
        {"certificate_sans": None, "kubelet": None, "kube_proxy": None},
    ],
)
def test_what_means_the_same_or_is_not_known_is_no_difference(there: dict[str, Any]) -> None:
    assert findings(having(**there)) == ()


@pytest.mark.parametrize("has", ["1.35.4", "1.36.1", "1.36.4"])
def test_kubernetes_is_not_upgraded(has: str) -> None:
    settings = having(kubernetes_version=has)
    (finding,) = findings(settings, kubernetes_version="1.37.2")
    assert (finding.check, finding.severity) == ("kubernetes-version", DANGER)
    assert not CHECKS[finding.check].waivable
    assert finding.found == (
        f"kubernetes_version is 1.37.2, and the cluster has Kubernetes {has}: this deploy does not upgrade"
    )
    assert finding.cure == f"set kubernetes_version to {has}, or leave it out"

    followed = following(settings)
    assert (followed.findings, followed.options.kubernetes_version) == ((), has)
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
    assert (finding.check, finding.severity) == ("component-versions", DANGER)
    assert not CHECKS[finding.check].waivable
    assert f"{option} is {wanted}, and the cluster has " in finding.found and has in finding.found
    assert finding.cure == f"set {option} to {has}, or leave it out"

    followed = following(settings)
    assert (followed.findings, getattr(followed.options, option)) == ((), has)
    assert followed.options.given == frozenset()


def test_what_the_user_has_set_like_the_cluster_is_no_news() -> None:
    settings = having(kubernetes_version="1.35.4")
    assert following(settings, kubernetes_version="1.35.4").news == ""
    assert following().news == ""


def test_the_record_counts_before_what_machines_have() -> None:
    machines = {"cp": {"containerd": "2.2.3"}, "w": {"containerd": "2.1.9"}}
    assert not machines_count(SETTINGS)
    assert following(machines=machines) == Following(options=ClusterOptions())


MACHINE = {"containerd": "2.2.3", "runc": "1.4.2", "cni-plugins": "1.8.0"}


def test_without_a_record_the_cluster_has_what_its_machines_have() -> None:
    assert machines_count(BEFORE)
    settings = dataclasses.replace(BEFORE, calico_version="3.30.0")
    followed = following(
        settings, machines={"cp": MACHINE, "w-1": MACHINE, "w-2": {}, "w-3": {"runc": "1.4.2"}}
    )
    assert followed.findings == ()
    assert option_releases(followed.options) == {**MACHINE, "calico": "3.30.0"}


def test_without_a_record_and_without_a_machine_that_knows_the_options_count() -> None:
    settings = dataclasses.replace(BEFORE, calico_version="")
    followed = following(settings, machines={"cp": {}}, runc_version="1.4.2")
    assert (followed.findings, option_releases(followed.options)) == ((), {**RELEASES, "runc": "1.4.2"})


def test_machines_that_differ_are_named_and_the_user_is_asked() -> None:
    machines = {"cp": MACHINE, "w-1": MACHINE | {"runc": "1.4.3"}, "w-2": MACHINE}
    (finding,) = following(BEFORE, machines=machines).findings
    assert (finding.check, finding.severity) == ("component-versions", DANGER)
    assert finding.found.endswith("its machines differ: 1.4.2 on cp, w-2; 1.4.3 on w-1")
    assert finding.cure == "set runc_version to the one of these that all of them are to have"
    chosen = following(BEFORE, machines=machines, runc_version="1.4.3")
    assert (chosen.findings, chosen.options.runc_version) == ((), "1.4.3")
    (finding,) = following(BEFORE, machines=machines, runc_version="1.4.0").findings
    assert "its machines differ" in finding.found


def test_many_machines_are_not_all_named() -> None:
    machines = {f"w-{number}": {"runc": f"1.4.{number % 2 + 2}"} for number in range(200)}
    (finding,) = following(BEFORE, machines=machines).findings
    assert "1.4.2 on w-0, w-2, w-4 and 97 more" in finding.found


def test_a_release_of_the_cluster_needs_no_checksum_unless_the_user_names_it() -> None:
    followed = following(recorded(containerd="2.3.99", calico="3.99.0"))
    assert followed.findings == ()
    assert followed.options.containerd_version == "2.3.99"


@pytest.mark.parametrize(
    "settings",
    [having(kubernetes_version="1.30.4"), having(kubernetes_version="1.99.0"), recorded(containerd="1.6.9")],
)
def test_a_release_that_this_package_does_not_know_is_refused(settings: ClusterSettingsState) -> None:
    (finding,) = findings(settings)
    assert (finding.check, finding.severity) == ("component-versions", DANGER)
    assert "this package cannot go on" in finding.found
    assert "not supported" in finding.found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"certificate_sans": ("k8s.example.com", "10.0.0.1")},
            "certificate_sans",
        ),
        ({"kubelet_configuration": {"maxPods": 200}}, "kubelet_configuration"),
        ({"kubelet_configuration": {"failCgroupV1": False}}, "kubelet_configuration"),
        (
            {"kubelet_configuration": {"authentication": {"anonymous": {"enabled": True}}}},
            "kubelet_configuration",
        ),
        ({"kubelet_configuration": {"failSwapOn": False}}, "kubelet_configuration"),
        ({"kube_proxy_configuration": {"mode": "nftables"}}, "kube_proxy_configuration"),
        ({"kube_proxy_configuration": {"conntrack": {"min": 0}}}, "kube_proxy_configuration"),
        ({"swap": "keep"}, "swap"),
    ],
)
def test_what_only_kubeadm_init_reads_has_no_effect_and_is_told(options: dict[str, Any], words: str) -> None:
    (finding,) = findings(**options)
    assert (finding.check, finding.severity) == ("cluster-options", DOUBT)
    assert finding.found.startswith(f"{words} has no effect on a cluster that exists: ")


def test_it_is_told_what_the_cluster_has_instead() -> None:
    (finding,) = findings(kubelet_configuration={"evictionHard": {"memory.available": "200Mi"}})
    assert finding.found.endswith("evictionHard.memory.available of its kubelets is unset, not '200Mi'")
    (finding,) = findings(certificate_sans=("k8s.example.com", "10.0.0.1"))
    assert finding.found.endswith("certificates do not name k8s.example.com")
    (finding,) = findings(having(kubelet={**KUBELET, "resolvConf": "/etc/resolv.conf"}))
    assert finding.found.startswith("nameservers has no effect") and "'/etc/resolv.conf'" in finding.found
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
def test_what_the_cluster_has_already_is_not_told(options: dict[str, Any], kubelet: dict[str, Any]) -> None:
    assert findings(having(kubelet={**KUBELET, **kubelet}), **options) == ()


def test_certificates_name_addresses_in_any_form() -> None:
    settings = having(certificate_sans=("K8S.example.com", "2001:db8:0::1"))
    assert findings(settings, certificate_sans=("k8s.example.com", "2001:db8::1")) == ()


def test_a_document_is_no_other_than_itself() -> None:
    assert list(differences(KUBELET, KUBELET)) == []
    assert list(differences(KUBE_PROXY, KUBE_PROXY)) == []
    assert list(differences(kubelet_configuration(ClusterOptions()), KUBELET)) == []


def test_a_damaged_record_is_told_and_counts_as_none() -> None:
    settings = having(record=ClusterRecord(data={"releases": "{", "nodes": "{}"}))
    followed = following(settings, machines={"cp": MACHINE})
    (finding,) = followed.findings
    assert (finding.severity, finding.found.partition(" ")[0]) == (DOUBT, "releases")
    assert followed.options.containerd_version == "2.2.3"


SILENT = ClusterSettingsState(
    cluster_name="kubernetes",
    control_plane_endpoint="api.kubernetes.internal:6443",
    pod_subnet="10.244.0.0/16",
    service_subnet="10.96.0.0/12",
    dns_domain="cluster.local",
    kubernetes_version="1.35.4",
    silent="connection refused",
)


def test_while_no_api_server_answers_files_and_machines_are_followed_and_it_is_told() -> None:
    followed = following(SILENT, machines={"cp": MACHINE}, certificate_sans=("x.example.com",))
    (finding,) = followed.findings
    assert finding.severity is DOUBT and "(connection refused)" in finding.found
    assert followed.options.kubernetes_version == "1.35.4"
    assert followed.options.containerd_version == "2.2.3"
    assert len(dangers(following(SILENT, pod_subnet="10.32.0.0/16").findings)) == 1


def test_what_no_file_says_is_not_compared() -> None:
    unknown = dataclasses.replace(
        SILENT, cluster_name="", control_plane_endpoint="", pod_subnet="", service_subnet="", dns_domain=""
    )
    assert dangers(following(unknown).findings) == []


@pytest.mark.parametrize(
    ("now", "words"),
    [
        ({}, ""),
        ({"pod_subnet": "10.32.0.0/16"}, "its pod subnet was 10.244.0.0/16 and is 10.32.0.0/16"),
        ({"cluster_name": "blue"}, "its name was kubernetes and is blue"),
        ({"kubernetes_version": "1.36.4"}, "its release of Kubernetes was 1.37.2 and is 1.36.4"),
        ({"encapsulation": "IPIP"}, "the encapsulation of its pod network was VXLAN and is IPIP"),
        (
            {"record": ClusterRecord(data=record(containerd="2.2.3"))},
            "its release of containerd was 2.3.4 and is 2.2.3",
        ),
        # None of these was used for the plan.
        ({"record": ClusterRecord(data={**record(), "nodes": '{"w-1": ["disk"]}'})}, ""),
        ({"certificate_sans": ("x",), "kubelet": {}, "kube_proxy": None}, ""),
        ({"control_plane_endpoint": "API.kubernetes.internal"}, ""),
        # What could not be read at one of the two times is no change.
        ({"record": ClusterRecord(), "silent": "refused", "calico_version": "", "encapsulation": ""}, ""),
    ],
)
def test_what_changed_while_a_run_waited_for_its_lock_is_named(now: dict[str, Any], words: str) -> None:
    assert changed_meanwhile(SETTINGS, having(**now)) == words


def test_a_cluster_that_came_or_went_meanwhile_is_a_change() -> None:
    assert changed_meanwhile(None, None) == ""
    assert changed_meanwhile(None, SETTINGS) == "the cluster has been created"
    assert changed_meanwhile(SETTINGS, None) == "the cluster is gone"


def test_records_of_later_releases_of_this_package_are_understood() -> None:
    data = {"releases": json.dumps({**RELEASES, "etcdutl": "3.6.8"}), "upgrade": "x"}
    assert findings(having(record=ClusterRecord(data=data))) == ()
