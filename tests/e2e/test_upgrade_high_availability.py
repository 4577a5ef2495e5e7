"""Three control planes are upgraded by a minor: under requests and writes, and with an etcd that does not start.

Part of `make chaos`, for their length.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import etcd
from tests.e2e.conftest import OLDER, Cluster, docker_hosts
from tests.e2e.requester import demand, deploy, requester
from tests.e2e.upgrading import NEW, OLD_CONTAINERD, assert_upgraded, upgrade
from tests.e2e.writer import lost_writes, outside

PLANES = "--data=only=control_plane"
"""A run for the control planes, and another one for the rest: each has to end within the tests' limit for a run."""

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
def three(name: str, *, folder: Path, workers: int) -> Iterator[Cluster]:
    """Run three control planes and some workers of the older releases."""
    data = {"kubernetes_version": OLDER, "containerd_version": OLD_CONTAINERD}
    with docker_hosts(
        name, folder=folder, control_planes=3, workers=workers, debian=(12,), data=data
    ) as cluster:
        cluster.converge()
        yield cluster


@pytest.mark.chaos
def test_three_control_planes_and_two_workers_are_upgraded_one_by_one(
    lab: None, tmp_path_factory: pytest.TempPathFactory, record_property: Callable[[str, object], None]
) -> None:
    with three("upgrade-ha", folder=tmp_path_factory.mktemp("upgrade-ha"), workers=2) as cluster:
        deploy(cluster)
        demand(cluster, available=1)
        with (
            requester(cluster, through=cluster.control_plane) as requests,
            # As on the worker, behind its local proxy.
            outside(
                cluster, name="writer", network=f"container:{cluster.worker}", address="127.0.0.1"
            ) as writer,
        ):
            requests.works_on()
            writer.works_on()
            began = time.time()
            for arguments in ((PLANES,), ()):
                run = upgrade(cluster, *arguments)
                assert run.exit_code == 0, run.output
            took = time.time() - began
            requests.works_on()
            writer.works_on()
            failures, gap = requests.failures(), writer.longest_gap(since=began)
            record_property(
                "measured",
                f"3 + 2 upgraded in {took:.0f} s: {len(failures)} of {len(requests.lines())} requests failed, "
                f"longest time without a write {gap:.1f} s",
            )
            assert failures == []
            assert lost_writes(cluster, writer) == set()
        assert_upgraded(cluster)
        assert len(etcd.voters(cluster)) == 3
        again = upgrade(cluster)
        assert (again.exit_code, again.changed) == (0, []), again.output
        assert cluster.converge(*NEW).changed == []
        # The inventory still has the older releases, which other suites would expect.
        verified = cluster.verify("-k", "test_dns or test_services or test_pod_network")
        assert verified.exit_code == 0, verified.output


@pytest.mark.chaos
def test_an_etcd_that_does_not_start_again_stops_the_upgrade_at_its_control_plane(
    lab: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with three("upgrade-etcd", folder=tmp_path_factory.mktemp("upgrade-etcd"), workers=1) as cluster:
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
