"""What stops a run that follows a cluster whose record it cannot read."""

from dataclasses import replace

import pytest

from kubeadm_deploys.model.findings import Severity
from kubeadm_deploys.sections.cluster_options import in_the_middle_of_an_upgrade
from tests.support.cluster_settings import answer, record, settings_of

SILENT = replace(settings_of(answer(record=record())), kubernetes_version="1.37.2", silent="refused")
SAME = dict.fromkeys(("kubelet", "kubeadm", "kubectl"), "1.37.2-1.1") | {"socat": "1.8"}


@pytest.mark.parametrize("package", ["kubelet", "kubeadm"])
def test_other_packages_than_the_manifests_may_be_the_middle_of_an_upgrade(package: str) -> None:
    packages = {"@fake/cp-1": SAME, "@fake/worker-1": {**SAME, package: "1.36.5-1.1"}}
    (finding,) = in_the_middle_of_an_upgrade(SILENT, packages)
    assert finding.severity is Severity.ERROR
    assert f"Kubernetes 1.37.2, but @fake/worker-1 has {package} 1.36.5" in finding.found
    assert "deploys/upgrade.py" in finding.fix


def test_the_packages_of_the_manifests_and_machines_without_any_are_not() -> None:
    assert list(in_the_middle_of_an_upgrade(SILENT, {"@fake/cp-1": SAME, "@fake/worker-1": {}})) == []
