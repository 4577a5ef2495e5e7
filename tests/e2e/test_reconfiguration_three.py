"""Three control planes are changed one after the other: a client behind the workers' proxy loses no write."""

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.api_and_workload import asked
from tests.e2e.conftest import Cluster, docker_hosts
from tests.e2e.test_reconfiguration import AUDIT, RECONFIGURE

# A cluster of four machines more than `make test` has room for; test_reconfiguration has the same with one control plane.
pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Make a cluster of three control planes and one worker."""
    folder = tmp_path_factory.mktemp("reconfiguration-three")
    with docker_hosts("reconfiguration-three", folder=folder, control_planes=3) as made:
        made.converge()
        yield made


def test_three_control_planes_change_one_after_the_other(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    server = f"https://api.{cluster.name}.internal:6443"
    with asked(cluster, server=server, of=cluster.worker) as seen:
        run = cluster.converge(*AUDIT)
    record_property(
        "measured",
        f"audit log turned on, 3 control planes: longest gap between writes {seen.longest_gap:.1f} s, "
        f"{len(seen.written)} written, {seen.failed_writes} refused",
    )
    assert RECONFIGURE in run.changed
    for host in cluster.control_planes:
        assert "audit-log-path" in cluster.shell(host, "cat /etc/kubernetes/manifests/kube-apiserver.yaml")
    assert (seen.unanswered, seen.failed_writes, seen.lost) == (0, 0, set())
    assert cluster.converge(*AUDIT).changed == []
    assert RECONFIGURE in cluster.converge().changed
    assert cluster.converge().changed == []
