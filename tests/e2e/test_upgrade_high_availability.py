"""Three control planes and a worker are upgraded by a minor while clients write: part of `make chaos`, for its length."""

import time
from collections.abc import Callable

import pytest

from tests.e2e import etcd
from tests.e2e.conftest import OLDER, docker_hosts
from tests.e2e.upgrading import NEW, OLD_CONTAINERD, assert_upgraded, upgrade
from tests.e2e.writer import lost_writes, outside


@pytest.mark.chaos
def test_three_control_planes_are_upgraded_one_by_one(
    lab: None, tmp_path_factory: pytest.TempPathFactory, record_property: Callable[[str, object], None]
) -> None:
    data = {"kubernetes_version": OLDER, "containerd_version": OLD_CONTAINERD}
    folder = tmp_path_factory.mktemp("upgrade-ha")
    with docker_hosts(
        "upgrade-ha", folder=folder, control_planes=3, workers=1, debian=(12,), data=data
    ) as cluster:
        cluster.converge()
        # As a client on the worker, behind its local proxy.
        with outside(
            cluster, name="writer", network=f"container:{cluster.worker}", address="127.0.0.1"
        ) as writer:
            writer.works_on()
            began = time.time()
            run = upgrade(cluster)
            took = time.time() - began
            assert run.exit_code == 0, run.output
            writer.works_on()
            gap = writer.longest_gap(since=began)
            record_property(
                "measured", f"3 + 1 upgraded in {took:.0f} s: longest time without a write {gap:.1f} s"
            )
            assert lost_writes(cluster, writer) == set()
        assert_upgraded(cluster)
        assert len(etcd.voters(cluster)) == 3
        again = upgrade(cluster)
        assert (again.exit_code, again.changed) == (0, []), again.output
        assert cluster.converge(*NEW).changed == []
        verified = cluster.verify("-k", "test_dns or test_services or test_pod_network")
        assert verified.exit_code == 0, verified.output
