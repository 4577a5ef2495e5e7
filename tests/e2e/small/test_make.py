"""`make cluster`, as README describes it, up to the removal of the cluster."""

import stat

from kubeadm_deploys.model.artifacts import KUBERNETES_VERSION
from tests.e2e.conftest import Cluster
from tests.e2e.small.conftest import Made, make_cluster, outcomes
from tests.lab import hosts
from tests.lab.docker import docker


def ready_nodes(cluster: Cluster, printed: str) -> list[str]:
    """Return the names of the nodes that `make cluster` lists as Ready at its end."""
    ending = printed[printed.index("--> Disconnecting") :]
    rows = [line.split() for line in ending.splitlines() if line.startswith(f"{cluster.name}-")]
    return [row[0] for row in rows if (row[1], row[4]) == ("Ready", f"v{KUBERNETES_VERSION}")]


def test_it_ends_with_ready_nodes_and_prints_how_to_use_and_remove_them(made: Made) -> None:
    cluster = made.cluster
    assert ready_nodes(cluster, made.printed) == [cluster.control_plane, cluster.worker]
    assert f"kubectl --kubeconfig {cluster.kubeconfig} get pods" in made.printed
    assert "make clean" in made.printed
    assert stat.S_IMODE(cluster.kubeconfig.stat().st_mode) == 0o600


def test_the_same_command_adds_a_worker(cluster: Cluster) -> None:
    before = [cluster.control_plane, cluster.worker]
    added = make_cluster(cluster, workers=2)
    new = f"{cluster.name}-worker-2"
    assert ready_nodes(cluster, added) == [*before, new]
    assert outcomes(added, "Joining | Join the cluster") == {
        **dict.fromkeys(before, "No changes"),
        new: "Success",
    }


def test_another_run_changes_nothing(cluster: Cluster) -> None:
    again = make_cluster(cluster, workers=2)
    (total,) = (line.split() for line in again.splitlines() if line.strip().startswith("Grand total"))
    _, _, operations, succeeded, failed, unchanged = total
    assert (succeeded, failed, unchanged) == ("-", "-", operations)


def test_nothing_is_left_of_a_removed_cluster(cluster: Cluster) -> None:
    hosts.down(cluster=cluster.name)
    for kind in ("ps --all", "volume ls"):
        left = docker(*kind.split(), "--quiet", f"--filter=label=kubeadm-deploys.cluster={cluster.name}")
        assert left == "", kind
