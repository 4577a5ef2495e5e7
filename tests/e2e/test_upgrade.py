"""One control plane and one worker, both with pods, are upgraded by a minor while a workload is requested.

The tests run in the order of the cluster's life and share it.
"""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.conftest import OLDER, VERSION, Cluster, docker_hosts
from tests.e2e.requester import demand, deploy, requester
from tests.e2e.upgrading import NEW, OLD_CONTAINERD, UPGRADE, assert_upgraded, state, upgrade
from tests.e2e.writer import lost_writes, outside
from tests.lab import layout


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    data = {
        "kubernetes_version": OLDER,
        "containerd_version": OLD_CONTAINERD,
        # So that each node's pods have another place while it is drained.
        "node_taints": [],
    }
    with docker_hosts("upgrade", folder=tmp_path_factory.mktemp("upgrade"), debian=(12,), data=data) as made:
        made.converge()
        yield made


def test_what_is_refused_changes_nothing(cluster: Cluster) -> None:
    before = state(cluster)
    for arguments, words in (
        (("--data=kubernetes_version=1.35.4", "--data=backup=false"), "there is no way down"),
        (NEW, "leave the backup out with --data backup=false"),
    ):
        run = cluster.pyinfra("-y", *arguments, deploy=UPGRADE)
        assert (run.exit_code, "Traceback" in run.output) == (1, False), run.output
        assert words in run.output
    run = cluster.pyinfra("-y", *NEW)
    assert run.exit_code == 1
    assert "upgrade with 'pyinfra INVENTORY deploys/upgrade.py'" in run.output
    run = cluster.pyinfra("--dry", *NEW, "--data=backup=false", deploy=UPGRADE)
    assert run.exit_code == 0, run.output
    assert f"Kubernetes {OLDER} to {VERSION}" in run.output
    assert state(cluster) == before


def test_edits_that_kubeadm_would_undo_are_refused(cluster: Cluster) -> None:
    manifest = "/etc/kubernetes/manifests/kube-scheduler.yaml"
    cluster.shell(cluster.control_plane, f"sed -i 's/^    - --leader-elect=true/&\\n    - --v=1/' {manifest}")
    try:
        run = cluster.pyinfra("--dry", *NEW, "--data=backup=false", deploy=UPGRADE)
        assert run.exit_code == 1
        assert (
            "kubeadm would undo what was changed in its manifests (kube-scheduler.yaml has - --v=1)"
            in run.output
        )
    finally:
        cluster.shell(cluster.control_plane, f"sed -i '/^    - --v=1/d' {manifest}")


def test_no_request_fails_while_everything_is_upgraded(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    deploy(cluster)
    demand(cluster, available=1)
    address = next(host.address for host in cluster.hosts if host.name == cluster.control_plane)
    with (
        requester(cluster, through=cluster.control_plane) as requests,
        outside(cluster, name="writer", network=layout.NETWORK, address=address) as writer,
    ):
        requests.works_on()
        writer.works_on()
        began = time.time()
        run = upgrade(cluster)
        took = time.time() - began
        assert run.exit_code == 0, run.output
        requests.works_on()
        writer.works_on()
        failures, gap = requests.failures(), writer.longest_gap(since=began)
        record_property(
            "measured",
            f"1 + 1 upgraded in {took:.0f} s: {len(failures)} of {len(requests.lines())} requests failed, longest "
            f"time without a write {gap:.1f} s",
        )
        assert failures == []
        assert lost_writes(cluster, writer) == set()
    assert_upgraded(cluster)


def test_the_next_runs_change_nothing(cluster: Cluster) -> None:
    again = upgrade(cluster)
    assert (again.exit_code, again.changed) == (0, []), again.output
    assert cluster.converge(*NEW).changed == []
