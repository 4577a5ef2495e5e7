"""Three control planes are changed one after the other: a client behind the workers' proxy loses no write."""

from collections.abc import Callable

from tests.e2e.api_and_workload import asked
from tests.e2e.conftest import Cluster
from tests.e2e.test_reconfiguration import AUDIT, RECONFIGURE


def arguments(cluster: Cluster) -> list[bool]:
    """Return for each control plane whether its API server has the argument."""
    read = "cat /etc/kubernetes/manifests/kube-apiserver.yaml"
    return ["--audit-log-path=" in cluster.shell(host, read) for host in cluster.control_planes]


def test_three_control_planes_change_one_after_the_other(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    assert arguments(cluster) == [False] * 3
    server = f"https://api.{cluster.name}.internal:6443"
    for options, wanted in ((AUDIT, True), ((), False)):
        with asked(cluster, server=server, of=cluster.worker) as seen:
            run = cluster.converge(*options)
        record_property(
            "measured",
            f"audit log {'on' if wanted else 'off'}, 3 control planes: longest gap between writes "
            f"{seen.longest_gap:.1f} s, {len(seen.written)} written, {seen.failed_writes} refused",
        )
        assert RECONFIGURE in run.changed
        assert arguments(cluster) == [wanted] * 3
        assert (seen.unanswered, seen.lost) == (0, set())
        assert cluster.converge(*options).changed == []
