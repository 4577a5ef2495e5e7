"""The fixtures of the suites.

A module says with ``COMMANDS`` what it asks of every machine, and with ``GROUP`` whether it is about the
machines of one group of the inventory only.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from kubeadm_deploys.verification.cluster import Cluster, cluster_configuration, find_cluster
from kubeadm_deploys.verification.inventory import CONTROL_PLANE, Machine
from kubeadm_deploys.verification.options import SELECTION, Selection
from kubeadm_deploys.verification.remote import Answers, Survey
from kubeadm_deploys.verification.traffic import (
    Traffic,
    delete_traffic,
    discard_traffic,
    new_namespace,
    start_traffic,
)

SECTIONS = (
    "bridged_traffic",
    "container_runtime",
    "kube_packages",
    "swap",
    "control_plane",
    "workers",
    "nodes",
    "cloud_controller",
    "cni",
    "pod_network",
    "services",
    "load_balancers",
    "dns",
    "network_policy",
    "workloads",
)
"""The order of the guide: what is wrong below shows before what fails because of it."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is about a machine once for each, named in the test's id."""
    if "machine" not in metafunc.fixturenames:
        return
    group = getattr(metafunc.module, "GROUP", None)
    machines = [
        machine
        for machine in metafunc.config.stash[SELECTION].limited
        if group is None or group in machine.groups
    ]
    metafunc.parametrize("machine", machines, ids=[machine.name for machine in machines])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the sections, and refuse to judge a cluster whose control plane the inventory does not name."""
    positions = {f"test_{section}": position for position, section in enumerate(SECTIONS)}
    items.sort(key=lambda item: positions.get(item.path.stem, len(positions)))
    selection = config.stash[SELECTION]
    needs_cluster = any("cluster" in getattr(item, "fixturenames", ()) for item in items)
    if needs_cluster and not selection.control_planes:
        raise pytest.UsageError(
            f"inventory {selection.inventory} has no host in the group {CONTROL_PLANE}; put the control plane "
            "into it, or run only the suites of the machines, like kubeadm_deploys.verification.test_swap"
        )


@pytest.fixture(scope="session")
def selection(pytestconfig: pytest.Config) -> Selection:
    """The machines that the run is about."""
    return pytestconfig.stash[SELECTION]


@pytest.fixture(scope="session")
def survey(selection: Selection) -> Survey:
    """The way to ask machines, with all answers so far."""
    return Survey(selection.limited)


@pytest.fixture
def answers(request: pytest.FixtureRequest, survey: Survey, machine: Machine) -> Answers:
    """What the machine says to the module's ``COMMANDS``."""
    return survey(machine, request.module.COMMANDS)


@pytest.fixture(scope="session")
def cluster(selection: Selection) -> Cluster:
    """The cluster, through one of its control plane hosts."""
    return find_cluster(selection.control_planes)


@pytest.fixture(scope="session")
def nodes(cluster: Cluster) -> dict[str, Any]:
    """The cluster's Node objects by name."""
    return {node["metadata"]["name"]: node for node in cluster.items("nodes")}


@pytest.fixture
def node(nodes: dict[str, Any], machine: Machine) -> Any:
    """The machine's Node object."""
    assert machine.node_name in nodes, f"{machine.node_name} is not a node; the nodes are {', '.join(nodes)}"
    return nodes[machine.node_name]


@pytest.fixture(scope="session")
def kubeadm_configuration(cluster: Cluster) -> Any:
    """The ClusterConfiguration that kubeadm keeps in the cluster."""
    return cluster_configuration(cluster)


@pytest.fixture(scope="session", autouse=True)
def started_traffic(request: pytest.FixtureRequest, selection: Selection) -> Iterator[Future[Traffic] | None]:
    """Start the pods of the behaviour suites, if any is to run, while the other suites look at machines.

    They are deleted at the end whatever happens: a failed start, failed tests, Ctrl-C.
    """
    if not any("traffic" in getattr(item, "fixturenames", ()) for item in request.session.items):
        yield None
        return
    namespace = new_namespace()
    image = request.config.getoption("--agnhost-image")
    with ThreadPoolExecutor(max_workers=1) as background:
        cluster = background.submit(find_cluster, selection.control_planes)
        started = background.submit(lambda: start_traffic(cluster.result(), namespace=namespace, image=image))
        try:
            yield started
        finally:
            if cluster.exception() is None:
                # Twice, because a start that is interrupted ends early without its pods, or still makes them.
                discard_traffic(cluster.result(), namespace=namespace)
                started.exception()
                delete_traffic(cluster.result(), namespace=namespace)


@pytest.fixture(scope="session")
def traffic(started_traffic: Future[Traffic]) -> Traffic:
    """Pods on every node and their Services."""
    return started_traffic.result()
