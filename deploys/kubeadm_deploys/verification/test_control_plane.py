"""Every control plane host runs its components, with valid certificates and protected secrets."""

import ipaddress
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509

from kubeadm_deploys.verification.cluster import Cluster, node_address, unready_pods
from kubeadm_deploys.verification.inventory import CONTROL_PLANE, Machine
from kubeadm_deploys.verification.options import Selection
from kubeadm_deploys.verification.remote import Answer, Answers, ask
from kubeadm_deploys.verification.waiting import READY_TIMEOUT, eventually

GROUP = CONTROL_PLANE

COMMANDS = {
    "certificate": "cat /etc/kubernetes/pki/apiserver.crt",
    "expirations": "kubeadm certs check-expiration --output=json",
    # Every kubeconfig holds a key; the kubelet's resolv.conf is not a secret.
    "secret files": (
        "find /etc/kubernetes/*.conf /etc/kubernetes/pki "
        "-name '*.conf' ! -name resolv.conf -printf '%m %u %p\\n' "
        "-o -name '*.key' -printf '%m %u %p\\n'"
    ),
}

COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
SHORTEST_VALIDITY = timedelta(days=30)

_ETCDCTL = [
    "etcdctl",
    "--write-out=json",
    # As for kubectl here; the default 5 s is too short for a busy member that has to ask the leader.
    "--command-timeout=30s",
    "--endpoints=https://127.0.0.1:2379",
    "--cacert=/etc/kubernetes/pki/etcd/ca.crt",
    "--cert=/etc/kubernetes/pki/etcd/server.crt",
    "--key=/etc/kubernetes/pki/etcd/server.key",
]


@pytest.fixture
def endpoint(kubeadm_configuration: Any) -> tuple[str, str]:
    """Host and port of the control plane endpoint."""
    host, _, port = kubeadm_configuration["controlPlaneEndpoint"].rpartition(":")
    return host, port


def test_system_pods_are_ready(cluster: Cluster) -> None:
    eventually(
        lambda: cluster.items("pods", "--namespace=kube-system"),
        problem=lambda pods: "; ".join(unready_pods(pods)) if pods else "kube-system has no pods",
        timeout=READY_TIMEOUT,
    )


@pytest.mark.parametrize("component", COMPONENTS)
def test_component_is_ready(cluster: Cluster, machine: Machine, component: str) -> None:
    pod = eventually(
        lambda: cluster.get("pod", f"{component}-{machine.node_name}", "--namespace=kube-system"),
        problem=lambda pod: "; ".join(unready_pods([pod])),
    )
    assert pod["spec"]["nodeName"] == machine.node_name


def test_node_is_labelled_as_control_plane(node: Any) -> None:
    assert "node-role.kubernetes.io/control-plane" in node["metadata"]["labels"]


def test_api_server_of_this_host_is_ready(cluster: Cluster, node: Any) -> None:
    """Use the node's own address, because the endpoint may lead to another host.

    On a busy machine etcd may once exceed the two seconds that readyz allows; like the kubelet's own probe,
    the test tries again.
    """
    server = f"--server=https://{node_address(node)}:6443"
    answer = eventually(lambda: cluster.kubectl("get", "--raw=/readyz?verbose", server), problem=refusal)
    assert answer.lines[-1] == "readyz check passed"


def test_etcd_has_one_healthy_member_per_control_plane(
    cluster: Cluster, selection: Selection, machine: Machine
) -> None:
    pod = ("exec", "--namespace=kube-system", f"etcd-{machine.node_name}", "--")
    members = json.loads(cluster.kubectl(*pod, *_ETCDCTL, "member", "list").text)["members"]
    voters = [member.get("name") for member in members if not member.get("isLearner")]
    assert sorted(voters) == sorted(control_plane.node_name for control_plane in selection.control_planes)
    healthy = eventually(
        lambda: cluster.kubectl(*pod, *_ETCDCTL, "endpoint", "health", "--cluster"), problem=refusal
    )
    assert all(member["health"] for member in json.loads(healthy.text)), healthy


def refusal(answer: Answer) -> str:
    """Return what a failed command printed, or an empty string if it succeeded."""
    return (answer.stderr or answer.stdout or "no output") if answer.status else ""


def test_endpoint_is_a_name(endpoint: tuple[str, str]) -> None:
    host, _ = endpoint
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        ipaddress.ip_address(host)


def test_api_server_answers_under_the_endpoint(cluster: Cluster, endpoint: tuple[str, str]) -> None:
    host, port = endpoint
    assert cluster.kubectl("get", "--raw=/readyz", f"--server=https://{host}:{port}").text == "ok"


def test_certificate_names_the_api_server(
    answers: Answers, endpoint: tuple[str, str], node: Any, machine: Machine
) -> None:
    wanted = {
        endpoint[0],
        node_address(node),
        "kubernetes.default.svc",
        *machine.listed("certificate_sans"),
    }
    assert not wanted - _api_names(answers)


def test_certificates_are_valid_for_long(answers: Answers) -> None:
    report = json.loads(answers["expirations"].text)
    ends = {
        certificate["name"]: datetime.fromisoformat(certificate["expirationDate"])
        for certificate in [*report["certificates"], *report["certificateAuthorities"]]
        if not certificate["missing"]
    }
    assert {"admin.conf", "apiserver", "ca"} <= set(ends)
    assert not {name: str(end) for name, end in ends.items() if end - datetime.now(UTC) < SHORTEST_VALIDITY}


def test_secret_files_are_only_for_root(answers: Answers) -> None:
    files = [line.split(" ", 2) for line in answers["secret files"].lines]
    assert "/etc/kubernetes/admin.conf" in {path for _, _, path in files}
    assert not [path for mode, owner, path in files if mode != "600" or owner != "root"]


def test_no_join_credentials_are_left(cluster: Cluster) -> None:
    """A bootstrap token lets any machine join, so it must not outlive the join."""
    tokens = "--field-selector=type=bootstrap.kubernetes.io/token"
    left = cluster.items("secrets", "--namespace=kube-system", tokens)
    certificates = cluster.kubectl(
        "get", "secret", "kubeadm-certs", "--namespace=kube-system", "--ignore-not-found"
    )
    assert not [secret["metadata"]["name"] for secret in left]
    assert not certificates.text


def test_cluster_is_configured_as_in_the_inventory(
    kubeadm_configuration: Any, endpoint: tuple[str, str], machine: Machine
) -> None:
    networking = kubeadm_configuration["networking"]
    found = {
        "kubernetes_version": kubeadm_configuration["kubernetesVersion"].removeprefix("v"),
        "pod_subnet": networking["podSubnet"],
        "service_subnet": networking["serviceSubnet"],
        "dns_domain": networking["dnsDomain"],
        "control_plane_endpoint": endpoint[0],
    }
    wanted = {option: machine.data[option] for option in found if machine.data.get(option)}
    if not wanted:
        pytest.skip(f"the inventory sets none of {', '.join(found)}")
    assert {option: found[option] for option in wanted} == wanted


def test_every_control_plane_host_reaches_the_endpoint(machine: Machine, endpoint: tuple[str, str]) -> None:
    """The other tests run kubectl on one host only; here it runs on each."""
    host, port = endpoint
    command = (
        f"kubectl --kubeconfig=/etc/kubernetes/admin.conf --server=https://{host}:{port} get --raw=/readyz"
    )
    assert ask(machine, {"ready": command})["ready"].text == "ok"


def _api_names(answers: Answers) -> set[str]:
    """Return the names and addresses in the API server's certificate."""
    certificate = x509.load_pem_x509_certificate(answers["certificate"].text.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return {*names.get_values_for_type(x509.DNSName), *addresses}
