"""Deciding what a machine is from kubeadm's traces, for every combination of the relevant files."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from kubeadm_deploys.facts.kubeadm_node import (
    KubeadmNode,
    KubeadmNodeState,
    NodeState,
    is_of_another_cluster,
    is_same_ca,
    node_state,
)
from tests.support.certificates import Authority

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
        for name, exists in (("kubelet.conf", kubelet_conf), ("bootstrap-kubelet.conf", bootstrapping))
        if exists
    ]
    state = node_state(found(*files, rotating=rotating, ca=ca), cluster_ca=OURS)
    if not files and not ca:
        assert state is NodeState.ABSENT
    elif ca == OTHER:
        assert state is NodeState.FOREIGN
    elif kubelet_conf and rotating and not bootstrapping:
        assert state is NodeState.MEMBER
    else:
        assert state is NodeState.PARTIAL


def test_an_interrupted_init_is_partial() -> None:
    files = ("kubelet.conf", "admin.conf", "manifests/kube-apiserver.yaml", "pki/ca.key", "etcd")
    assert node_state(found(*files, ca=OURS)) is NodeState.PARTIAL
    assert node_state(found(*files, ca=OURS, rotating=True)) is NodeState.MEMBER


def test_certificates_alone_are_partial() -> None:
    assert node_state(found("pki/ca.key", ca=OURS)) is NodeState.PARTIAL


def test_etcd_data_without_kubeadms_ca_is_foreign() -> None:
    assert node_state(found("etcd")) is NodeState.FOREIGN
    assert node_state(found("etcd"), cluster_ca=OURS) is NodeState.FOREIGN
    assert node_state(found("etcd", "pki/ca.key", ca=OURS)) is NodeState.PARTIAL


def certificate(*, name: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> str:
    """Return a certificate as PEM, signed by ``key``."""
    names = [
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]) for common_name in (name, issuer)
    ]
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def test_a_kubelet_of_another_cluster_is_foreign_whatever_the_ca() -> None:
    key, other_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = certificate(name="kubernetes", issuer="kubernetes", key=key)
    for signed_by, state in ((key, NodeState.MEMBER), (other_key, NodeState.FOREIGN)):
        machine = KubeadmNodeState(
            files=frozenset({"kubelet.conf"}),
            rotating=True,
            ca_certificate=ca,
            client_certificate=certificate(name="system:node:w", issuer="kubernetes", key=signed_by),
        )
        assert node_state(machine, cluster_ca=ca) is state


def test_a_kubelets_certificate_alone_identifies_the_cluster() -> None:
    ours, others = Authority(), Authority()
    for authority, state in ((ours, NodeState.PARTIAL), (others, NodeState.FOREIGN)):
        machine = KubeadmNodeState(client_certificate=authority.issue("system:node:w"))
        assert node_state(machine, cluster_ca=ours.certificate) is state


def test_text_around_a_ca_certificate_is_ignored() -> None:
    key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ours = certificate(name="kubernetes", issuer="kubernetes", key=key)
    theirs = certificate(name="kubernetes", issuer="kubernetes", key=other)
    client = certificate(name="system:node:w", issuer="kubernetes", key=key)
    for text in (f"Certificate:\n  Data: x\n{ours}", f"{theirs}{ours}", ours.rstrip()):
        assert is_same_ca(text, ours)
        assert not is_of_another_cluster(
            KubeadmNodeState(ca_certificate=text, client_certificate=client), cluster_ca=ours
        )
    assert not is_same_ca(theirs, ours)
    assert is_same_ca("no certificate ", "no certificate")
