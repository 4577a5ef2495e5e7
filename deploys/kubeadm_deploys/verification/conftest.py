"""The fixtures of the suites.

A module sets ``COMMANDS`` to the commands to run on every machine, and ``GROUP`` if it applies only to the
machines of one inventory group.
"""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from kubeadm_deploys.verification.cluster import Cluster, cluster_configuration, condition, find_cluster
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
"""The order of the guide: a cause is reported before the failures that follow from it."""

NEEDS_CALICO = frozenset(
    {"test_cni", "test_load_balancers", "test_packets_of_the_full_size_arrive_in_one_piece"}
)
"""Modules and tests that are skipped where ``cni`` is ``none``."""

NEEDS_POD_NETWORK = frozenset(
    {
        *("test_pod_network", "test_services", "test_dns", "test_network_policy", "test_workloads"),
        *("test_node_is_ready", "test_system_pods_are_ready"),
    }
)
"""Modules and tests that are skipped where ``cni`` is ``none`` and no node is Ready."""

_HAS_POD_NETWORK = pytest.StashKey[bool]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses ``machine`` once per machine, with the machine's name in the test ID."""
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
    """Sort the sections, skip tests that need Calico, and reject an inventory without a control plane."""
    positions = {f"test_{section}": position for position, section in enumerate(SECTIONS)}
    items.sort(key=lambda item: positions.get(item.path.stem, len(positions)))
    selection = config.stash[SELECTION]
    if _has_own_cni(selection):
        skip = pytest.mark.skip(reason="cni is none in the inventory, and this check knows only Calico")
        for item in items:
            if _is_of(item, NEEDS_CALICO):
                item.add_marker(skip)
    needs_cluster = any("cluster" in getattr(item, "fixturenames", ()) for item in items)
    if needs_cluster and not selection.control_planes:
        raise pytest.UsageError(
            f"inventory {selection.inventory} has no host in the group {CONTROL_PLANE}; add the control "
            "plane, or run only suites that check machines, such as kubeadm_deploys.verification.test_swap"
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a pod network while the user has not installed one, before any fixture starts pods."""
    if _is_of(item, NEEDS_POD_NETWORK) and not _has_pod_network(item.config):
        pytest.skip("cni is none in the inventory, and no node is Ready: no pod network is installed yet")


def _is_of(item: pytest.Item, names: frozenset[str]) -> bool:
    """Return whether a test or its module has one of these names."""
    return bool({item.path.stem, getattr(item, "originalname", item.name)} & names)


def _has_own_cni(selection: Selection) -> bool:
    return any(machine.data.get("cni") == "none" for machine in selection.nodes)


def _has_pod_network(config: pytest.Config) -> bool:
    """Return whether pods can run; asked once, and only where the user installs the pod network."""
    selection = config.stash[SELECTION]
    if _HAS_POD_NETWORK not in config.stash:
        config.stash[_HAS_POD_NETWORK] = not _has_own_cni(selection) or any(
            condition(node, "Ready") == "True"
            for node in find_cluster(selection.control_planes).items("nodes")
        )
    return config.stash[_HAS_POD_NETWORK]


@pytest.fixture(scope="session")
def selection(pytestconfig: pytest.Config) -> Selection:
    """The machines selected for this run."""
    return pytestconfig.stash[SELECTION]


@pytest.fixture(scope="session")
def survey(selection: Selection) -> Survey:
    """Runs commands on the machines and caches their results."""
    return Survey(selection.limited)


@pytest.fixture
def answers(request: pytest.FixtureRequest, survey: Survey, machine: Machine) -> Answers:
    """The machine's results of the module's ``COMMANDS``."""
    return survey(machine, request.module.COMMANDS)


@pytest.fixture(scope="session")
def cluster(selection: Selection) -> Cluster:
    """The cluster, reached through one of its control plane hosts."""
    return find_cluster(selection.control_planes)


@pytest.fixture(scope="session")
def nodes(cluster: Cluster) -> dict[str, Any]:
    """The cluster's Node objects by name."""
    return {node["metadata"]["name"]: node for node in cluster.items("nodes")}


@pytest.fixture
def node(nodes: dict[str, Any], machine: Machine) -> Any:
    """The machine's Node object."""
    assert machine.node_name in nodes, f"{machine.node_name} is not a node; nodes: {', '.join(nodes)}"
    return nodes[machine.node_name]


@pytest.fixture(scope="session")
def kubeadm_configuration(cluster: Cluster) -> Any:
    """The ClusterConfiguration that kubeadm stores in the cluster."""
    return cluster_configuration(cluster)


@pytest.fixture(scope="session", autouse=True)
def started_traffic(request: pytest.FixtureRequest, selection: Selection) -> Iterator[Future[Traffic] | None]:
    """Start the pods of the behaviour suites, if any of these will run, while other suites check machines.

    They are always deleted at the end, also after a failed start, failed tests or Ctrl-C.
    """
    if not any(
        "traffic" in getattr(item, "fixturenames", ())
        and not item.get_closest_marker("skip")
        and not (_is_of(item, NEEDS_POD_NETWORK) and not _has_pod_network(request.config))
        for item in request.session.items
    ):
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
                # Twice: the first call makes a running start end early, but it may create pods until then.
                discard_traffic(cluster.result(), namespace=namespace)
                started.exception()
                delete_traffic(cluster.result(), namespace=namespace)


@pytest.fixture(scope="session")
def traffic(started_traffic: Future[Traffic]) -> Traffic:
    """Pods on every node and their Services."""
    return started_traffic.result()
