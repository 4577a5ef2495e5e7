"""What a machine is, decided from kubeadm's traces: every combination of the files that matter."""

import itertools

import pytest

from kubeadm_deploys.facts.kubeadm_node import KubeadmNode, KubeadmNodeState, NodeState, node_state

OURS, OTHER = "-----BEGIN CERTIFICATE-----\nours\n", "-----BEGIN CERTIFICATE-----\nother\n"


def found(*files: str, rotating: bool = False, ca: str = "") -> KubeadmNodeState:
    return KubeadmNodeState(files=frozenset(files), rotating=rotating, ca_certificate=ca)


def test_a_machine_without_traces_is_absent() -> None:
    assert node_state(found(), cluster_ca=OURS) is NodeState.ABSENT
    assert node_state(KubeadmNode().process([]), cluster_ca=OURS) is NodeState.ABSENT


@pytest.mark.parametrize(
    ("kubelet_conf", "rotating", "bootstrapping", "ca"),
    [*itertools.product((False, True), (False, True), (False, True), ("", OURS, OTHER))],
)
def test_every_combination_of_a_joins_traces(
    kubelet_conf: bool, rotating: bool, bootstrapping: bool, ca: str
) -> None:
    files = [
        name
        for name, there in (("kubelet.conf", kubelet_conf), ("bootstrap-kubelet.conf", bootstrapping))
        if there
    ]
    state = node_state(found(*files, rotating=rotating, ca=ca), cluster_ca=OURS)
    if not files and not ca:
        assert state is NodeState.ABSENT
    elif ca == OTHER:
        assert state is NodeState.FOREIGN
    elif kubelet_conf and rotating and not bootstrapping:
        assert state is NodeState.MEMBER
    else:
        assert state is NodeState.HALF


def test_an_init_that_stopped_before_its_end_is_half() -> None:
    files = ("kubelet.conf", "admin.conf", "manifests/kube-apiserver.yaml", "pki/ca.key", "etcd")
    assert node_state(found(*files, ca=OURS)) is NodeState.HALF
    assert node_state(found(*files, ca=OURS, rotating=True)) is NodeState.MEMBER


def test_certificates_alone_are_half() -> None:
    assert node_state(found("pki/ca.key", ca=OURS)) is NodeState.HALF


def test_data_of_etcd_without_anything_else_is_half() -> None:
    assert node_state(found("etcd")) is NodeState.HALF
