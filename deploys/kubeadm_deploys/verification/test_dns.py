"""Service names and external names resolve in pods on every node."""

import ipaddress
from typing import Any

import pytest

from kubeadm_deploys.verification.cluster import Cluster, condition, in_parallel, unready_pods
from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.probes import Pod, refusal, responses
from kubeadm_deploys.verification.remote import Answers, ask
from kubeadm_deploys.verification.traffic import CLIENT, HOST_NETWORK, SERVER, SERVICE_PORT, Traffic
from kubeadm_deploys.verification.waiting import READY_TIMEOUT, eventually

COMMANDS = {
    # /etc/resolv.conf is the kubelet's default.
    "resolver file": (
        'cat "$(sed --quiet \'s/^resolvConf: *"\\{0,1\\}\\([^"]*\\)"\\{0,1\\}$/\\1/p\' /var/lib/kubelet/config.yaml '
        '| grep . || echo /etc/resolv.conf)"'
    ),
}

MOST_NAMESERVERS = 3
"""A resolver uses only three nameservers, and the kubelet warns of more for every pod."""

COREDNS_READY_PORT = 8181
"""Port of CoreDNS's plugin ``ready`` in kubeadm's configuration."""

ROLES = (CLIENT, HOST_NETWORK)


@pytest.fixture(scope="session")
def replicas(cluster: Cluster) -> list[Any]:
    """CoreDNS's pods, once all are ready."""
    return eventually(
        lambda: cluster.items("pods", "--namespace=kube-system", "--selector=k8s-app=kube-dns"),
        problem=lambda pods: "; ".join(unready_pods(pods)) if pods else "no CoreDNS pod exists",
        timeout=READY_TIMEOUT,
    )


@pytest.fixture
def source(traffic: Traffic, machine: Machine, request: pytest.FixtureRequest) -> Pod:
    """The pod that queries, on the pod network or the host network."""
    return traffic.pod(request.param, machine.node_name)


def test_pods_get_nameservers_that_they_can_reach(answers: Answers, machine: Machine) -> None:
    """In a pod, a loopback address is the pod itself, so CoreDNS would forward to itself in a loop."""
    lines = [line.split() for line in answers["resolver file"].lines]
    nameservers = [line[1] for line in lines if line[0] == "nameserver"]
    assert 1 <= len(nameservers) <= MOST_NAMESERVERS, nameservers
    # A scope ("%eth0") names an interface of the machine, which pods do not have.
    assert not [
        address for address in nameservers if "%" in address or ipaddress.ip_address(address).is_loopback
    ]
    if wanted := machine.listed("nameservers"):
        assert nameservers == wanted


def test_coredns_uses_the_nameservers_of_its_node(cluster: Cluster) -> None:
    pod = cluster.get("deployment", "coredns", "--namespace=kube-system")["spec"]["template"]["spec"]
    assert pod["dnsPolicy"] == "Default"


def test_coredns_is_available(cluster: Cluster) -> None:
    deployment = cluster.get("deployment", "coredns", "--namespace=kube-system")
    assert condition(deployment, "Available") == "True", deployment["status"]
    assert deployment["spec"]["replicas"] >= 2, "the cluster loses DNS when a single replica stops"


def test_replicas_are_on_different_nodes(replicas: list[Any], nodes: dict[str, Any]) -> None:
    used = [pod["spec"]["nodeName"] for pod in replicas]
    assert len(set(used)) == min(len(used), len(nodes)), used


def test_every_replica_answers_this_node(traffic: Traffic, machine: Machine, replicas: list[Any]) -> None:
    source = traffic.pod(CLIENT, machine.node_name)
    addresses = [pod["status"]["podIP"] for pod in replicas]
    answered = in_parallel(
        lambda address: responses(
            traffic.cluster, source, host=address, port=COREDNS_READY_PORT, request="ready"
        ),
        addresses,
    )
    assert {response for answer in answered for response in answer} == {"OK"}


@pytest.mark.parametrize("source", ROLES, indirect=True)
def test_service_names_resolve(traffic: Traffic, source: Pod, kubeadm_configuration: Any) -> None:
    domain = kubeadm_configuration["networking"]["dnsDomain"]
    names = ["servers", f"servers.{traffic.namespace}", f"servers.{traffic.namespace}.svc.{domain}."]
    answered = in_parallel(
        lambda name: responses(traffic.cluster, source, host=name, port=SERVICE_PORT, request="hostname"),
        names,
    )
    servers = {traffic.pod(SERVER, node).name for node in traffic.nodes}
    assert all(set(answer) <= servers for answer in answered)


@pytest.mark.parametrize("source", ROLES, indirect=True)
def test_name_of_the_api_server_resolves(traffic: Traffic, source: Pod) -> None:
    eventually(
        lambda: refusal(traffic.cluster, source, target="kubernetes.default.svc:443"),
        problem=lambda verdict: verdict and f"kubernetes.default.svc:443 from {source.name}: {verdict}",
        timeout=source.settling_time,
    )


@pytest.mark.parametrize("source", ROLES, indirect=True)
def test_unknown_name_does_not_resolve(traffic: Traffic, source: Pod) -> None:
    """If every name resolved, the other checks would prove nothing."""
    verdict = refusal(traffic.cluster, source, target=f"nothing.{traffic.namespace}.svc:{SERVICE_PORT}")
    assert verdict.startswith("DNS"), verdict or "it resolves"


@pytest.mark.parametrize("source", ROLES, indirect=True)
def test_name_outside_the_cluster_resolves(
    traffic: Traffic, source: Pod, machine: Machine, pytestconfig: pytest.Config
) -> None:
    """Skipped if the node itself cannot resolve the name by DNS."""
    name = pytestconfig.getoption("--external-name")
    if ask(machine, {"lookup": f"getent --service=dns ahosts {name}"})["lookup"].status != 0:
        pytest.skip(f"NOT CHECKED: {machine.name} itself does not resolve {name}; set --external-name")
    # Only DNS failures count: the connection itself may fail.
    eventually(
        lambda: refusal(traffic.cluster, source, target=f"{name}.:443"),
        problem=lambda verdict: verdict if verdict.startswith("DNS") else "",
        timeout=source.settling_time,
    )
