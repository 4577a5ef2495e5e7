"""Three control planes are changed one after the other: a client behind the workers' proxy loses no write."""

from collections.abc import Callable

import pytest

from tests.e2e.api_and_workload import asked
from tests.e2e.conftest import Cluster
from tests.e2e.live.test_reconfiguration import AUDIT, NAME, RECONFIGURE, await_certificate
from tests.support.document_options import as_arguments, options_with

CHANGED = (*AUDIT, f"--data=certificate_sans={NAME}")
"""An audit log, and another name in the API servers' certificates."""

_STATE = "cd /etc/kubernetes && sha256sum manifests/* audit/* 2> /dev/null; crictl ps --quiet --name '^kube-apiserver$'"


def arguments(cluster: Cluster) -> list[bool]:
    """Return for each control plane whether its API server has the argument."""
    read = "cat /etc/kubernetes/manifests/kube-apiserver.yaml"
    return ["--audit-log-path=" in cluster.shell(host, read) for host in cluster.control_planes]


def change_one_after_the_other(
    cluster: Cluster, *options: str, record_property: Callable[[str, object], None]
) -> None:
    """Give the control planes what ``CHANGED`` has, or take it back without options, while a client asks."""
    server = f"https://api.{cluster.name}.internal:6443"
    with asked(cluster, server=server, of=cluster.worker) as seen:
        run = cluster.converge(*options)
    record_property(
        "measured",
        f"audit log {'on' if options else 'off'}, 3 control planes: longest gap between writes "
        f"{seen.longest_gap:.1f} s, {len(seen.written)} written, {seen.failed_writes} refused",
    )
    assert RECONFIGURE in run.changed
    assert arguments(cluster) == [bool(options)] * 3
    for host in cluster.control_planes:
        await_certificate(cluster, of=host, has_name=bool(options))
    assert (seen.unanswered, seen.lost) == (0, set())
    assert cluster.converge(*options).changed == []


def test_three_control_planes_change_one_after_the_other(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    change_one_after_the_other(cluster, *CHANGED, record_property=record_property)


@pytest.mark.chaos
def test_three_control_planes_change_back_one_after_the_other(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    # `make chaos` skips the test before.
    cluster.converge(*CHANGED)
    change_one_after_the_other(cluster, record_property=record_property)


@pytest.mark.chaos
def test_what_does_not_start_on_the_first_control_plane_does_not_reach_the_others(cluster: Cluster) -> None:
    wrong = options_with("audit-policy-file")
    (path,) = wrong["control_plane_files"]
    wrong["control_plane_files"][path] = {"content": "kind: NoPolicy\n"}
    before = {host: cluster.shell(host, _STATE) for host in cluster.control_planes}
    run = cluster.pyinfra("-y", *as_arguments(wrong))
    assert run.exit_code == 1, run.output
    assert "NoPolicy" in run.output and "the old manifest was put back" in run.output, run.output
    assert arguments(cluster) == [False] * 3
    touched = {host for host in before if cluster.shell(host, _STATE) != before[host]}
    assert len(touched) == 1 and f"{touched.pop()}: " in run.output
    # The record says that a change has not ended.
    assert cluster.converge().changed == [RECONFIGURE]
    assert cluster.converge().changed == []
