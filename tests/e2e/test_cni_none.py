"""A cluster with ``cni`` none: nodes join, and everything is Ready once a user installs a pod network.

It is part of `make chaos`: it needs its own cluster, for an option that few use.
"""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Cluster, docker_hosts
from tests.e2e.recovery import CORE

pytestmark = pytest.mark.chaos

MANIFEST = "/root/calico-vxlan.yaml"


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Make one control plane and one worker without a pod network."""
    folder = tmp_path_factory.mktemp("no-cni")
    with docker_hosts("no-cni", folder=folder, debian=(13,), data={"cni": "none"}) as made:
        made.converge()
        yield made


def test_nodes_join_and_wait_for_a_pod_network(cluster: Cluster) -> None:
    nodes = json.loads(cluster.kubectl("get", "nodes", "--output=json"))["items"]
    ready = {
        node["metadata"]["name"]: condition["message"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready"
    }
    assert sorted(ready) == sorted(host.name for host in cluster.hosts)
    assert all("cni plugin not initialized" in message for message in ready.values()), ready


def test_a_second_run_changes_nothing_and_prints_the_remaining_step(cluster: Cluster) -> None:
    run = cluster.converge()
    assert run.changed == []
    assert "install a pod network" in run.output


def test_the_verification_skips_what_needs_a_pod_network_and_says_so(cluster: Cluster) -> None:
    run = cluster.verify("-rs")
    assert run.exit_code == 0, run.output
    assert "cni is none in the inventory" in run.output


def test_changing_cni_to_calico_is_refused(cluster: Cluster) -> None:
    run = cluster.pyinfra("-y", "--data=cni=calico")
    assert run.exit_code == 1
    assert "cni is calico, but the cluster was created with none" in run.output
    assert "no changes were made" in run.output


def test_a_calico_option_is_refused(cluster: Cluster) -> None:
    run = cluster.pyinfra("-y", "--data=pod_mtu=1400")
    assert run.exit_code == 1
    assert "pod_mtu: is an option of calico" in run.output


def test_everything_is_ready_after_a_user_installs_a_pod_network(cluster: Cluster) -> None:
    host = cluster.control_plane
    mirror = cluster.hosts[0].data.get("mirror", "https:/")
    url = f"{mirror}/raw.githubusercontent.com/projectcalico/calico/v3.31.0/manifests/calico-vxlan.yaml"
    kubectl = "kubectl --kubeconfig=/etc/kubernetes/admin.conf"
    cluster.shell(host, f"curl -fsSo {MANIFEST} {url} && {kubectl} apply --server-side -f {MANIFEST}")
    cluster.kubectl("wait", "--for=condition=Ready", "node", "--all", "--timeout=300s")
    cluster.kubectl("--namespace=kube-system", "rollout", "status", "deployment/coredns", "--timeout=300s")
    assert cluster.ready_nodes == sorted(host.name for host in cluster.hosts)
    # Both DNS pods may have come up on the node that was Ready first.
    assert set(cluster.converge().changed) <= {"Readiness | Wait for nodes, network and DNS"}
    assert cluster.converge().changed == []
    run = cluster.verify("-rs", "-k", CORE)
    assert run.exit_code == 0, run.output
    # Traffic is sent on the user's pod network too.
    assert "no node is Ready" not in run.output
