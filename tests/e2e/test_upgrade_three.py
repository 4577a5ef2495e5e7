"""Three control planes are upgraded by a minor: under requests, and with an etcd that does not start on the second.

Part of `make chaos`, for their length.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import etcd
from tests.e2e.conftest import OLDER, Cluster, docker_hosts
from tests.e2e.upgrading import (
    NEW,
    OLD_CONTAINERD,
    PLANES,
    SPREAD,
    assert_upgraded,
    upgrade,
    upgrade_under_requests,
)

pytestmark = pytest.mark.chaos

RELEASES = "dpkg-query --show kubeadm kubelet kubectl; sha256sum /etc/kubernetes/manifests/*"

# Takes the port of etcd's metrics as soon as the old etcd has released it, so that no other etcd starts.
TAKE_PORT = (
    "systemd-run --quiet --unit=takes-port sh -c "
    "'until socat -u TCP-LISTEN:2381,bind=127.0.0.1,reuseaddr,fork OPEN:/dev/null; do sleep 0.05; done'"
)

# A restarted kubelet starts a failing pod at once, instead of after minutes.
GIVE_PORT_BACK = "systemctl stop takes-port; systemctl restart kubelet"

_SECONDS = 300


@contextmanager
def older(name: str, *, folder: Path) -> Iterator[Cluster]:
    """Make three control planes and a worker of the older releases."""
    data = {"kubernetes_version": OLDER, "containerd_version": OLD_CONTAINERD}
    with docker_hosts(name, folder=folder, control_planes=3, debian=(12,), data=data) as cluster:
        cluster.converge()
        yield cluster


def test_no_request_fails_while_three_control_planes_are_upgraded(
    lab: None, tmp_path_factory: pytest.TempPathFactory, record_property: Callable[[str, object], None]
) -> None:
    with older("upgrade-three", folder=tmp_path_factory.mktemp("upgrade-three")) as cluster:
        # Behind the worker's local proxy.
        measured = upgrade_under_requests(cluster, writes_from=cluster.worker)
        record_property("measured", f"3 + 1 {measured}")
        again = upgrade(cluster)
        assert (again.exit_code, again.changed) == (0, []), again.output
        assert cluster.converge(*NEW, SPREAD).changed == []


def test_an_etcd_that_does_not_start_again_stops_the_upgrade_at_its_control_plane(
    lab: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with older("upgrade-etcd", folder=tmp_path_factory.mktemp("upgrade-etcd")) as cluster:
        _, second, third = cluster.control_planes
        before = cluster.shell(third, RELEASES)
        cluster.shell(second, TAKE_PORT)
        run = upgrade(cluster, PLANES, "--data=settle_timeout=60")
        assert run.exit_code == 1
        assert f"{second}: kubeadm upgrade node" in run.output, run.output
        assert f"{third}: kubeadm upgrade node" not in run.output
        assert cluster.shell(third, RELEASES) == before
        # Two of three serve.
        cluster.kubectl("create", "configmap", "written-with-two-of-three")
        cluster.shell(second, GIVE_PORT_BACK)
        etcd.await_voters(cluster, names=sorted(cluster.control_planes))
        await_ready(cluster, second)
        for arguments in ((PLANES,), ()):
            run = upgrade(cluster, *arguments)
            assert run.exit_code == 0, run.output
        assert_upgraded(cluster)
        cluster.kubectl("get", "configmap", "written-with-two-of-three")
        assert len(etcd.voters(cluster)) == 3


def await_ready(cluster: Cluster, control_plane: str) -> None:
    """Wait until a control plane's API server is ready, and every node is."""
    asked = "curl --insecure --silent --fail --max-time 5 --output /dev/null https://127.0.0.1:6443/readyz"
    cluster.shell(control_plane, f"timeout {_SECONDS} sh -c 'until {asked}; do sleep 1; done'")
    deadline = time.monotonic() + _SECONDS
    while cluster.ready_nodes != sorted(host.name for host in cluster.hosts):
        assert time.monotonic() < deadline, cluster.ready_nodes
        time.sleep(1)
