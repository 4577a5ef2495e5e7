"""Two of three control planes are destroyed with their disks, and the cluster is restored on the third and two new ones.

Part of `make chaos`: a cluster of three control planes takes some minutes.
"""

import pytest

from tests.e2e import etcd
from tests.e2e.conftest import OLDER, docker_hosts
from tests.e2e.recovery import CORE
from tests.e2e.requester import deploy, requester
from tests.e2e.test_restore import back_up, restore, write, written
from tests.lab import hosts
from tests.lab.docker import docker
from tests.support.disaster_page import MAJORITY


@pytest.mark.chaos
def test_a_lost_majority_is_restored_while_the_workload_answers(
    lab: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("restore-ha")
    data = {"kubernetes_version": OLDER}
    with docker_hosts(
        "restore-ha", folder=folder, control_planes=3, workers=1, debian=(12,), data=data
    ) as cluster:
        cluster.converge()
        deploy(cluster)
        names = sorted(host.name for host in cluster.hosts)
        write(cluster, range(1, 6))
        backup = back_up(cluster)
        write(cluster, range(6, 10))
        with requester(cluster, through=cluster.worker) as client:
            client.works_on()
            # The seed is then the last in the inventory.
            docker("rm", "--force", "--volumes", *cluster.control_planes[:2])
            hosts.up(cluster=cluster.name, control_planes=3, workers=1, debian=(12,), data=data)
            refused = cluster.pyinfra("-y")
            assert refused.exit_code == 1
            assert "deploys/restore.py" in refused.output, refused.output
            run = restore(cluster, MAJORITY, backup)
            assert run.exit_code == 0, run.output
            assert written(cluster) == set(range(1, 6))
            assert cluster.ready_nodes == names
            etcd.await_voters(cluster, names=names[:3])
            assert cluster.converge().changed == []
            client.works_on()
            assert client.failures() == []
        verified = cluster.verify("-k", CORE)
        assert verified.exit_code == 0, verified.output
