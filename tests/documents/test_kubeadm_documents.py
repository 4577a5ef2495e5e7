"""The documents for kubeadm. tests/e2e checks them with kubeadm itself."""

import dataclasses
import hashlib
import subprocess
from typing import Any

import pytest
import yaml

from kubeadm_deploys.documents import kubeadm_documents
from kubeadm_deploys.documents.templates import yaml_text
from kubeadm_deploys.model.nodes import Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from tests.support import certificates
from tests.support.document_options import options_with

CONTROL_PLANE = Node(host="cp.example.com", name="cp-1", ip="10.0.0.2", address="203.0.113.10")
WORKER = Node(host="w.example.com", name="worker-1", ip="10.0.0.3", address="203.0.113.11")
TOPOLOGY = Topology(control_planes=(CONTROL_PLANE,), workers=(WORKER,))
TOKEN = "abcdef.0123456789abcdef"


def documents(**fields: Any) -> dict[str, dict[str, Any]]:
    text = kubeadm_documents.init_document(
        options=ClusterOptions(**fields), topology=TOPOLOGY, node=CONTROL_PLANE, token=TOKEN
    )
    return {document["kind"]: document for document in yaml.safe_load_all(text)}


def test_the_init_document_has_all_four_parts_in_their_api_versions() -> None:
    assert {kind: document["apiVersion"] for kind, document in documents().items()} == {
        "InitConfiguration": "kubeadm.k8s.io/v1beta4",
        "ClusterConfiguration": "kubeadm.k8s.io/v1beta4",
        "KubeletConfiguration": "kubelet.config.k8s.io/v1beta1",
        "KubeProxyConfiguration": "kubeproxy.config.k8s.io/v1alpha1",
    }


def test_node_name_and_address_are_explicit() -> None:
    init = documents()["InitConfiguration"]
    assert init["nodeRegistration"]["name"] == "cp-1"
    assert init["nodeRegistration"]["kubeletExtraArgs"] == [{"name": "node-ip", "value": "10.0.0.2"}]
    assert init["localAPIEndpoint"] == {"advertiseAddress": "10.0.0.2", "bindPort": 6443}


def test_a_token_is_made_without_a_default_route_and_without_the_internet() -> None:
    text = kubeadm_documents.token_document(
        options=ClusterOptions(kubernetes_version="1.36.5"), node=CONTROL_PLANE, token=TOKEN
    )
    init, cluster = yaml.safe_load_all(text)
    assert init["bootstrapTokens"][0]["token"] == TOKEN
    assert init["localAPIEndpoint"]["advertiseAddress"] == "10.0.0.2"
    assert (cluster["kind"], cluster["kubernetesVersion"]) == ("ClusterConfiguration", "v1.36.5")


@pytest.mark.parametrize(
    ("cloud_provider", "provider_id", "flags"),
    [
        ("none", "hcloud://42", {"node-ip": "10.0.0.2"}),
        ("hetzner", "", {"node-ip": "10.0.0.2", "cloud-provider": "external"}),
        (
            "hetzner",
            "hcloud://42",
            {"node-ip": "10.0.0.2", "cloud-provider": "external", "provider-id": "hcloud://42"},
        ),
    ],
)
def test_kubelets_only_wait_for_a_cloud_controller_with_a_cloud(
    cloud_provider: str, provider_id: str, flags: dict[str, str]
) -> None:
    node = dataclasses.replace(CONTROL_PLANE, provider_id=provider_id)
    options = ClusterOptions(cloud_provider=cloud_provider)
    assert kubeadm_documents.kubelet_flags(options=options, node=node) == flags


def test_a_load_balancer_is_in_the_certificate() -> None:
    cluster = documents(api_load_balancer_address="10.0.0.254")["ClusterConfiguration"]
    assert "10.0.0.254" in cluster["apiServer"]["certSANs"]


def test_kubelets_use_the_resolver_file_unless_the_user_sets_one() -> None:
    assert documents()["KubeletConfiguration"]["resolvConf"] == "/etc/kubernetes/resolv.conf"
    own = documents(kubelet_configuration={"resolvConf": "/etc/resolv.conf"})
    assert own["KubeletConfiguration"]["resolvConf"] == "/etc/resolv.conf"


def test_the_certificate_has_every_name_and_address_of_the_api_servers() -> None:
    cluster = documents(cluster_name="shop", certificate_sans=["198.51.100.1", "k8s.example.com"])[
        "ClusterConfiguration"
    ]
    assert cluster["controlPlaneEndpoint"] == "api.shop.internal:6443"
    assert cluster["apiServer"]["certSANs"] == [
        *("api.shop.internal", "localhost", "127.0.0.1", "cp-1", "10.0.0.2", "203.0.113.10"),
        *("198.51.100.1", "k8s.example.com"),
    ]


def test_an_ssh_alias_is_in_the_certificate_only_if_it_is_valid_there() -> None:
    for address, names in (
        ("CP-1.example.com", ["cp-1.example.com"]),
        ("cp_1", []),
        ("2001:db8::1", ["2001:db8::1"]),
    ):
        node = dataclasses.replace(CONTROL_PLANE, address=address)
        topology = Topology(control_planes=(node,), workers=())
        found = kubeadm_documents.certificate_sans(options=ClusterOptions(), topology=topology)
        assert found == ["api.kubernetes.internal", "localhost", "127.0.0.1", "cp-1", "10.0.0.2", *names]


@pytest.mark.parametrize("name", ["y", "N", "1e3", "0o17", "017", "0x1f", "null", "on", "2026-01-01", "+1"])
def test_strings_that_go_reads_as_other_types_are_quoted(name: str) -> None:
    text = yaml_text({"name": name, "other": {name: [name]}})
    assert text.splitlines() == [f"name: '{name}'", "other:", f"  '{name}':", f"  - '{name}'"]


def test_numbers_and_booleans_are_not_quoted() -> None:
    text = yaml_text({"a": 1, "b": True, "c": None, "d": 1e22, "e": "plain"})
    assert text.splitlines() == ["a: 1", "b: true", "c: null", "d: 1.0e+22", "e: plain"]


def test_networks_and_version_come_from_the_options() -> None:
    cluster = documents(
        pod_subnet="172.20.0.0/16",
        service_subnet="172.21.0.0/16",
        dns_domain="corp.test",
        kubernetes_version="1.35.4",
    )["ClusterConfiguration"]
    assert cluster["kubernetesVersion"] == "v1.35.4"
    assert cluster["networking"] == {
        "podSubnet": "172.20.0.0/16",
        "serviceSubnet": "172.21.0.0/16",
        "dnsDomain": "corp.test",
    }


def test_the_cgroup_driver_is_always_systemd() -> None:
    kubelet = documents(kubelet_configuration={"maxPods": 200, "cgroupDriver": "cgroupfs"})[
        "KubeletConfiguration"
    ]
    assert kubelet["maxPods"] == 200
    assert kubelet["cgroupDriver"] == "systemd"


def test_the_kubelet_tolerates_swap_only_when_it_is_kept() -> None:
    assert documents(swap="keep")["KubeletConfiguration"]["failSwapOn"] is False
    assert "failSwapOn" not in documents()["KubeletConfiguration"]


def test_the_join_token_is_short_lived_and_identifiable() -> None:
    (token,) = documents()["InitConfiguration"]["bootstrapTokens"]
    assert token == {"token": TOKEN, "ttl": "30m0s", "description": "kubeadm-deploys"}


def join(*, control_plane: bool, ca_certificate: str) -> dict[str, Any]:
    return dict(
        yaml.safe_load(
            kubeadm_documents.join_document(
                options=ClusterOptions(),
                node=WORKER,
                control_plane=control_plane,
                token=TOKEN,
                ca_certificate=ca_certificate,
            )
        )
    )


def public_key_hash(pem: str) -> str:
    """Return the hash of a certificate's public key as computed by openssl."""
    public_key = subprocess.run(
        ["openssl", "x509", "-pubkey", "-noout"], input=pem.encode(), capture_output=True, check=True
    ).stdout
    der = subprocess.run(
        ["openssl", "pkey", "-pubin", "-outform", "der"], input=public_key, capture_output=True, check=True
    ).stdout
    return f"sha256:{hashlib.sha256(der).hexdigest()}"


def test_a_join_trusts_only_the_clusters_ca() -> None:
    pem = certificates.self_signed()
    assert join(control_plane=False, ca_certificate=pem)["discovery"]["bootstrapToken"] == {
        "token": TOKEN,
        "apiServerEndpoint": "api.kubernetes.internal:6443",
        "caCertHashes": [public_key_hash(pem)],
    }


def test_only_a_control_plane_joins_with_its_own_api_endpoint() -> None:
    pem = certificates.self_signed()
    assert "controlPlane" not in join(control_plane=False, ca_certificate=pem)
    assert join(control_plane=True, ca_certificate=pem)["controlPlane"] == {
        "localAPIEndpoint": {"advertiseAddress": "10.0.0.3", "bindPort": 6443}
    }


@pytest.mark.parametrize("text", ["n", "Y", "1e3", "0o17", "1_000", "true", "2026-01-01", "08"])
def test_taint_values_that_look_like_other_types_are_quoted(text: str) -> None:
    # kubeadm parses YAML with Go's rules, which read more text as booleans and numbers than Python's.
    node = dataclasses.replace(CONTROL_PLANE, taints=(f"dedicated={text}:NoSchedule",))
    document = kubeadm_documents.init_document(
        options=ClusterOptions(), topology=TOPOLOGY, node=node, token=TOKEN
    )
    assert f"value: '{text}'\n" in document
    assert "bindPort: 6443\n" in document


@pytest.mark.parametrize("text", ["audit-policy-file", "oidc-issuer-url"])
def test_the_pages_arguments_are_in_the_document_of_init(text: str) -> None:
    options = options_with(text)
    wanted = options["cluster_configuration"]["apiServer"]["extraArgs"]
    found = documents(**options)["ClusterConfiguration"]["apiServer"]["extraArgs"]
    ours = {"name": "shutdown-watch-termination-grace-period", "value": "5s"}
    assert found == [ours, *wanted]
