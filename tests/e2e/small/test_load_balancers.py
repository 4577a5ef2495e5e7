"""Services of type LoadBalancer without a cloud's addresses: their address range is removed, set and used.

The tests run in the order of the range's life.
"""

from kubeadm_deploys.verification.waiting import eventually
from tests.e2e.conftest import Cluster
from tests.e2e.small.conftest import RANGE
from tests.lab import layout
from tests.lab.docker import docker

UNSET = "--data=service_load_balancer_cidr="
OFFER = f"Load balancers | Offer {RANGE} to Services"
GIVE_UP = "Load balancers | Keep Services without a load balancer pool"


def test_an_unused_range_is_removed(cluster: Cluster) -> None:
    assert_range_is_removed(cluster)


def test_a_range_is_set_on_a_running_cluster(cluster: Cluster) -> None:
    assert cluster.converge().changed == [OFFER]
    assert cluster.converge().changed == []


def test_a_machine_that_is_not_a_node_reaches_a_service(cluster: Cluster) -> None:
    cluster.kubectl("create", "deployment", "web", "--image=registry.k8s.io/e2e-test-images/agnhost:2.63.0")
    args = '[{"op": "add", "path": "/spec/template/spec/containers/0/args", "value": ["netexec"]}]'
    cluster.kubectl("patch", "deployment", "web", "--type=json", f"--patch={args}")
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    cluster.kubectl("expose", "deployment", "web", "--type=LoadBalancer", "--port=80", "--target-port=8080")
    path = "jsonpath={.status.loadBalancer.ingress[0].ip}"
    cluster.kubectl("wait", "service/web", f"--for={path}", "--timeout=120s")
    address = cluster.kubectl("get", "service", "web", f"--output={path}")
    answer = docker(
        *("run", "--rm", f"--network={layout.NETWORK}", "--entrypoint=curl", _client_image()),
        *("--silent", "--show-error", "--max-time", "10", f"http://{address}/hostname"),
    )
    assert answer.startswith("web-")


def test_a_range_in_use_is_not_removed(cluster: Cluster) -> None:
    run = cluster.pyinfra("-y", UNSET)
    assert run.exit_code == 1
    assert f"service_load_balancer_cidr: {RANGE} cannot be removed" in run.output
    assert "default/web" in run.output
    assert "Traceback" not in run.output
    assert cluster.kubectl("get", "service", "web", "--output=jsonpath={.status.loadBalancer.ingress}")


def test_a_range_that_was_used_is_removed(cluster: Cluster) -> None:
    cluster.kubectl("delete", "service/web", "deployment/web")
    owners = "--output=jsonpath={.items[*].spec.attributes[*].secondary.service}"
    eventually(
        lambda: cluster.kubectl("get", "ipamblocks.crd.projectcalico.org", owners),
        problem=lambda services: services and f"{services} still has its address",
    )
    assert_range_is_removed(cluster)
    cluster.converge()


def assert_range_is_removed(cluster: Cluster) -> None:
    """Assert that a run without the range removes it completely."""
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
