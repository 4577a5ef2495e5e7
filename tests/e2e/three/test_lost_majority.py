"""A cluster whose majority is lost is restored on its third control plane: with its old machines destroyed, or only away.

Part of `make chaos`, for their length: `test_restore.py` restores one control plane. Meanwhile a client requests a
workload on the worker all the time, which needs no API.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeadm_deploys.facts.kubeadm_node import RESTORE_FOLDER
from tests.e2e import documented, etcd
from tests.e2e.conftest import ROOT, Cluster
from tests.e2e.recovery import CORE, await_on, output
from tests.e2e.requester import Requester, deploy, requester
from tests.e2e.restoring import back_up_between_writes, etcd_cluster, restore, started, write, written
from tests.e2e.three.conftest import HOSTS, names
from tests.lab import containers, hosts
from tests.lab.docker import docker
from tests.support.disaster_page import MAJORITY, NO_BACKUP

_KUBECTL = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
_API_IS_AWAY = '[ "$(curl --insecure --silent --max-time 5 https://127.0.0.1:6443/readyz)" != ok ]'
_SECONDS = 120


@pytest.fixture(scope="module")
def client(cluster: Cluster) -> Iterator[Requester]:
    deploy(cluster)
    with requester(cluster, through=cluster.worker) as running:
        running.works_on()
        yield running


@pytest.fixture(scope="module")
def backup(cluster: Cluster) -> Path:
    return back_up_between_writes(cluster)


@pytest.mark.chaos
def test_a_destroyed_majority_is_restored_on_the_third_control_plane_and_two_new_ones(
    cluster: Cluster, client: Requester, backup: Path
) -> None:
    """The first two runs are killed: before the data is replaced, and after."""
    *destroyed, kept = cluster.control_planes
    docker("rm", "--force", "--volumes", *destroyed)
    hosts.up(cluster=cluster.name, **HOSTS)
    refused = cluster.pyinfra("-y")
    assert refused.exit_code == 1
    assert "deploys/restore.py" in refused.output, refused.output
    for name in ("record", "unpacked"):
        with started(cluster, MAJORITY, backup) as killed:
            await_on(cluster, kept, killed, what=name, reached=f"test -e {RESTORE_FOLDER}/{name}")
        assert f"it is restored on {kept}" in output(cluster)
    run = restore(cluster, MAJORITY, backup)
    assert run.exit_code == 0, run.output
    assert written(cluster) == set(range(1, 6))
    whole(cluster, client)


@pytest.mark.chaos
def test_an_old_majority_that_comes_back_at_once_is_recognised_and_joins_anew(
    cluster: Cluster, client: Requester, backup: Path
) -> None:
    *away, kept = cluster.control_planes
    write(cluster, range(14, 18))
    containers.kill(*away)
    stopped = cluster.shell(kept, "date --utc +%Y-%m-%dT%H:%M:%S")
    # Until then the cluster works, and would only be restored with force.
    await_that(kept, cluster, _API_IS_AWAY)
    run = restore(cluster, MAJORITY, backup)
    assert run.exit_code == 0, run.output
    assert cluster.ready_nodes == sorted([kept, cluster.worker])
    write(cluster, range(10, 13))

    hosts.up(cluster=cluster.name, **HOSTS)
    for name in away:
        # It is not in the backup.
        await_that(name, cluster, f"{_KUBECTL} get configmap write-17")
    served = {name: etcd_cluster(cluster, host=name) for name in (*away, kept)}
    assert len(set(served.values())) == 2 and "" not in served.values(), served
    assert addresses(cluster, cluster.worker) == addresses(cluster, kept)
    renewed = f"{_KUBECTL} --namespace kube-node-lease get lease {cluster.worker} --output jsonpath={{.spec.renewTime}}"
    assert cluster.shell(away[0], renewed) < stopped < cluster.shell(kept, renewed)
    refused = cluster.pyinfra("-y")
    assert refused.exit_code == 1
    assert "2 different etcd clusters" in refused.output, refused.output
    for name, number in served.items():
        assert name in refused.output and number in refused.output, refused.output

    limits = [f"--limit=@docker/{name}" for name in away]
    force = (f"--data=confirm={cluster.name}", "--data=force=true")
    cleaned = cluster.pyinfra("-y", *limits, *force, deploy=ROOT / "deploys/reset.py")
    assert cleaned.exit_code == 0, cleaned.output
    cluster.converge()
    assert written(cluster) == {*range(1, 6), *range(10, 13)}
    whole(cluster, client)


@pytest.mark.chaos
def test_without_a_backup_the_disk_of_the_last_control_plane_is_enough(
    cluster: Cluster, client: Requester
) -> None:
    *destroyed, kept = cluster.control_planes
    write(cluster, range(20, 23))
    before, expected = etcd_cluster(cluster, host=kept), written(cluster)
    # Long before this, the last control plane has got these writes.
    docker("rm", "--force", "--volumes", *destroyed)
    await_that(kept, cluster, _API_IS_AWAY)
    run = documented.run(cluster, NO_BACKUP, "restore.py")
    assert run.exit_code == 0, run.output
    assert f"From the disk of {kept}" in run.output
    assert written(cluster) == expected
    assert etcd_cluster(cluster, host=kept) not in ("", before)
    hosts.up(cluster=cluster.name, **HOSTS)
    cluster.converge()
    whole(cluster, client)
    verified = cluster.verify("-k", CORE)
    assert verified.exit_code == 0, verified.output


def whole(cluster: Cluster, client: Requester) -> None:
    """Assert that all machines are nodes, that cluster.py finds nothing to do, and that no request failed."""
    assert cluster.ready_nodes == names(cluster)
    etcd.await_voters(cluster, names=sorted(cluster.control_planes))
    assert cluster.converge().changed == []
    client.works_on()
    assert client.failures() == []


def await_that(host: str, cluster: Cluster, command: str) -> None:
    """Wait until a shell command succeeds on a host."""
    loop = f"for i in $(seq {_SECONDS}); do if {command}; then exit 0; fi; sleep 1; done > /dev/null 2>&1; exit 1"
    cluster.shell(host, loop)


def addresses(cluster: Cluster, host: str) -> str:
    """Return the addresses to which a host resolves the endpoint's name."""
    return cluster.shell(host, f"getent ahostsv4 api.{cluster.name}.internal")
