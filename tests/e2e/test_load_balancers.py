"""Services of type LoadBalancer where no cloud gives them addresses: a range set, used, and given up.

The tests stand in the order of the range's life and share the cluster.
"""

from collections.abc import Iterator

import pytest

from kubeadm_deploys.verification.waiting import eventually
from tests.e2e.conftest import Cluster, docker_hosts
from tests.lab import layout
from tests.lab.docker import docker

RANGE = "10.213.1.0/28"
UNSET = "--data=load_balancer_range="
OFFER = f"Load balancers | Offer {RANGE} to Services"
GIVE_UP = "Load balancers | Offer no addresses to Services"


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without a range yet, on hosts for which the machine leads one to a node."""
    folder = tmp_path_factory.mktemp("balanced")
    with docker_hosts("balanced", folder=folder, debian=(12,), data={"load_balancer_range": RANGE}) as made:
        made.converge(UNSET)
        yield made


def test_a_range_is_set_on_a_cluster_that_runs(cluster: Cluster) -> None:
    assert cluster.converge().changed == [OFFER]


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    assert cluster.converge().changed == []


def test_the_suite_reaches_services_from_outside_the_cluster(cluster: Cluster) -> None:
    run = cluster.verify("-k", "test_load_balancers", "-rs")
    assert run.exit_code == 0, run.output
    assert "skipped" not in run.output


def test_a_machine_that_is_no_node_reaches_a_service(cluster: Cluster) -> None:
    cluster.kubectl("create", "deployment", "web", "--image=registry.k8s.io/e2e-test-images/agnhost:2.63.0")
    args = '[{"op": "add", "path": "/spec/template/spec/containers/0/args", "value": ["netexec"]}]'
    cluster.kubectl("patch", "deployment", "web", "--type=json", f"--patch={args}")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    cluster.kubectl("expose", "deployment", "web", "--type=LoadBalancer", "--port=80", "--target-port=8080")
    path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    cluster.kubectl("wait", "service/web", f"--for={path}", "--timeout=30s")
    address = cluster.kubectl("get", "service", "web", f"--output={path}")
    answer = docker(
        *("run", "--rm", f"--network={layout.NETWORK}", "--entrypoint=curl", _client_image()),
        *("--silent", "--show-error", "--max-time", "10", f"http://{address}/hostname"),
    )
    assert answer.startswith("web-")


def test_a_range_in_use_is_not_given_up(cluster: Cluster) -> None:
    run = cluster.pyinfra("-y", UNSET)
    assert run.exit_code == 1
    assert f"load_balancer_range: {RANGE} cannot be given up" in run.output
    assert "default/web" in run.output
    assert "Traceback" not in run.output
    assert cluster.kubectl("get", "service", "web", "--output=jsonpath={.status.loadBalancer.ingress}")


def test_a_range_that_nobody_uses_is_given_up(cluster: Cluster) -> None:
    cluster.kubectl("delete", "service", "web")
    owners = "--output=jsonpath={.items[*].spec.attributes[*].secondary.service}"
    eventually(
        lambda: cluster.kubectl("get", "ipamblocks.crd.projectcalico.org", owners),
        problem=lambda services: services and f"{services} still has its address",
    )
    assert cluster.converge(UNSET).changed == [GIVE_UP]
    assert cluster.converge(UNSET).changed == []
    left = cluster.kubectl(
        "get", "ippools.crd.projectcalico.org,ipamblocks.crd.projectcalico.org", "--output=name"
    )
    assert "load-balancers" not in left
    assert "10-213-1-" not in left


def _client_image() -> str:
    (image, *_) = docker("image", "ls", "--quiet", f"{layout.LABEL}/host").split()
    return image
