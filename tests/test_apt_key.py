"""The key of the Kubernetes apt repository: wrong or expired, it is told before anything is changed, and renewed."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kubeadm_deploys.facts.kube_packages import KubePackagesState
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState, NodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.findings import Finding
from kubeadm_deploys.kube_packages import key_is_right
from kubeadm_deploys.machine_checks import Subject, machine_findings
from kubeadm_deploys.nodes import Node
from kubeadm_deploys.options import ClusterOptions
from tests.gpg_keys import GpgKey, new_key

MADE = datetime(2022, 1, 1, tzinfo=UTC)
RENEWED = datetime(2022, 12, 1, tzinfo=UTC)


@pytest.fixture
def expired(tmp_path: Path) -> Iterator[GpgKey]:
    with new_key(tmp_path, made=MADE, valid="1y") as key:
        yield key


def options(key: GpgKey) -> ClusterOptions:
    return ClusterOptions(kubernetes_apt_key_fingerprint=key.fingerprint)


def findings(published: str, options: ClusterOptions) -> list[Finding]:
    subject = Subject(
        node=Node(host="worker-1", name="worker-1", address="10.0.0.3", ip="10.0.0.3"),
        control_plane=False,
        state=NodeState.ABSENT,
        kubeadm=KubeadmNodeState(),
        machine=MachineState(published_key=published),
    )
    return list(machine_findings(subject, options=options))


def test_an_expired_key_stops_the_run_and_a_renewed_one_does_not(expired: GpgKey) -> None:
    (finding,) = findings(expired.armoured, options(expired))
    assert finding.check == "apt-key"
    assert "expired on 2023-01-01" in finding.found
    renewed = expired.renewed(at=RENEWED, valid="never")
    assert findings(renewed.armoured, options(expired)) == []


def test_another_key_stops_the_run(expired: GpgKey) -> None:
    (finding,) = findings(expired.armoured, ClusterOptions())
    assert expired.fingerprint in finding.found
    assert ClusterOptions().kubernetes_apt_key_fingerprint in finding.found


def test_what_is_no_key_stops_the_run(expired: GpgKey) -> None:
    (finding,) = findings("<html>moved</html>", options(expired))
    assert "not an armoured OpenPGP public key" in finding.found


def test_an_expired_key_on_a_machine_is_fetched_anew(expired: GpgKey) -> None:
    wanted = options(expired)
    assert not key_is_right(found=KubePackagesState(keyring=expired.binary), options=wanted)
    renewed = expired.renewed(at=RENEWED, valid="never")
    assert key_is_right(found=KubePackagesState(keyring=renewed.binary), options=wanted)
