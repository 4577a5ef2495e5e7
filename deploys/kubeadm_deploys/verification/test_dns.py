"""Names of Services and of the world outside resolve in pods of every node."""

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
    # The kubelet's own default where its configuration names none.
    "resolver file": (
        'cat "$(sed --quiet \'s/^resolvConf: *"\\{0,1\\}\\([^"]*\\)"\\{0,1\\}$/\\1/p\' /var/lib/kubelet/config.yaml '
        '| grep . || echo /etc/resolv.conf)"'
    ),
}

MOST_NAMESERVERS = 3
"""A resolver asks no more, and the kubelet warns of more with every pod."""

COREDNS_READY_PORT = 8181
"""Where CoreDNS's plugin ``ready`` answers in kubeadm's configuration."""

ROLES = (CLIENT, HOST_NETWORK)


@pytest.fixture(scope="session")
def replicas(cluster: Cluster) -> list[Any]:
    """CoreDNS's pods, all ready."""
    return eventually(
        lambda: cluster.items("pods", "--namespace=kube-system", "--selector=k8s-app=kube-dns"),
        problem=lambda pods: "; ".join(unready_pods(pods)) if pods else "there is no CoreDNS pod",
        timeout=READY_TIMEOUT,
    )


@pytest.fixture
def source(traffic: Traffic, machine: Machine, request: pytest.FixtureRequest) -> Pod:
    """The pod that asks, on the pod network or on the node's."""
    return traffic.pod(request.param, machine.node_name)


def test_pods_get_nameservers_that_they_can_ask(answers: Answers, machine: Machine) -> None:
    """In a pod, an address of the machine's loopback is the pod itself: CoreDNS would ask itself in a loop."""
    lines = [line.split() for line in answers["resolver file"].lines]
    nameservers = [line[1] for line in lines if line[0] == "nameserver"]
    assert 1 <= len(nameservers) <= MOST_NAMESERVERS, nameservers
    # A scope names an interface of the machine, which pods do not have.
    assert not [each for each in nameservers if "%" in each or ipaddress.ip_address(each).is_loopback]
    if wanted := machine.listed("nameservers"):
        assert nameservers == wanted


def test_coredns_asks_the_nameservers_of_its_node(cluster: Cluster) -> None:
    pod = cluster.get("deployment", "coredns", "--namespace=kube-system")["spec"]["template"]["spec"]
    assert pod["dnsPolicy"] == "Default"


def test_coredns_is_available(cluster: Cluster) -> None:
    deployment = cluster.get("deployment", "coredns", "--namespace=kube-system")
    assert condition(deployment, "Available") == "True", deployment["status"]
    assert deployment["spec"]["replicas"] >= 2, "one replica takes DNS with it when it goes"


def test_replicas_are_on_different_nodes(replicas: list[Any], nodes: dict[str, Any]) -> None:
    places = [pod["spec"]["nodeName"] for pod in replicas]
    assert len(set(places)) == min(len(places), len(nodes)), places


def test_every_replica_answers_this_node(traffic: Traffic, machine: Machine, replicas: list[Any]) -> None:
    source = traffic.pod(CLIENT, machine.node_name)
    addresses = [pod["status"]["podIP"] for pod in replicas]
    answered = in_parallel(
        lambda address: responses(
            traffic.cluster, source, host=address, port=COREDNS_READY_PORT, request="ready"
        ),
        addresses,
    )
    assert {response for each in answered for response in each} == {"OK"}


@pytest.mark.parametrize("source", ROLES, indirect=True)
def test_service_has_its_names(traffic: Traffic, source: Pod, kubeadm_configuration: Any) -> None:
    domain = kubeadm_configuration["networking"]["dnsDomain"]
    names = ["servers", f"servers.{traffic.namespace}", f"servers.{traffic.namespace}.svc.{domain}."]
    answered = in_parallel(
        lambda name: responses(traffic.cluster, source, host=name, port=SERVICE_PORT, request="hostname"),
        names,
    )
    servers = {traffic.pod(SERVER, node).name for node in traffic.nodes}
    assert all(set(each) <= servers for each in answered)


@pytest.mark.parametrize("source", ROLES, indirect=True)
def test_api_server_has_its_name(traffic: Traffic, source: Pod) -> None:
    eventually(
        lambda: refusal(traffic.cluster, source, target="kubernetes.default.svc:443"),
        problem=lambda verdict: verdict and f"kubernetes.default.svc:443 from {source.name}: {verdict}",
        timeout=source.settling_time,
    )


@pytest.mark.parametrize("source", ROLES, indirect=True)
def test_unknown_name_does_not_resolve(traffic: Traffic, source: Pod) -> None:
    """An answer to everything would make the other checks say nothing."""
    verdict = refusal(traffic.cluster, source, target=f"nothing.{traffic.namespace}.svc:{SERVICE_PORT}")
    assert verdict.startswith("DNS"), verdict or "it resolves"


@pytest.mark.parametrize("source", ROLES, indirect=True)
def test_name_outside_the_cluster_resolves(
    traffic: Traffic, source: Pod, machine: Machine, pytestconfig: pytest.Config
) -> None:
    """Only what the node resolves through DNS itself can be asked of the cluster."""
    name = pytestconfig.getoption("--external-name")
    if ask(machine, {"lookup": f"getent --service=dns ahosts {name}"})["lookup"].status != 0:
        pytest.skip(f"NOT CHECKED: {machine.name} itself does not resolve {name}; choose an --external-name")
    # Whether anything listens there is not DNS's matter.
    eventually(
        lambda: refusal(traffic.cluster, source, target=f"{name}.:443"),
        problem=lambda verdict: verdict if verdict.startswith("DNS") else "",
        timeout=source.settling_time,
    )
