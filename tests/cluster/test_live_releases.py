"""Releases of a cluster's components: they are followed, and never changed by other options."""

import dataclasses
import json

import pytest

from kubeadm_deploys.cluster.live_options import Following, machines_count, option_releases
from kubeadm_deploys.documents.cluster_record import ClusterRecord
from kubeadm_deploys.facts.cluster_settings import ClusterSettingsState
from kubeadm_deploys.model.findings import CHECKS
from kubeadm_deploys.model.options import ClusterOptions
from tests.support.cluster_settings import RELEASES
from tests.support.live_options import (
    BEFORE,
    ERROR,
    MACHINE,
    SETTINGS,
    WARNING,
    findings,
    following,
    having,
    recorded,
)


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


def test_a_damaged_record_is_a_warning_and_counts_as_missing() -> None:
    settings = having(record=ClusterRecord(data={"releases": "{", "nodes": "{}"}))
    followed = following(settings, machines={"cp": MACHINE})
    (finding,) = followed.findings
    assert (finding.severity, finding.found.partition(" ")[0]) == (WARNING, "releases")
    assert followed.options.release("containerd") == "2.2.3"


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
