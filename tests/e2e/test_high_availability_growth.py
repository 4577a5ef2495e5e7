"""One control plane becomes two and one again without failed requests; nodes leave; the cluster is reset.

The tests run in the order of the cluster's life and share it. `make chaos` also kills a control plane while
it joins, runs while etcd has no majority, and makes a cluster again from machines that were reset.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from tests.e2e import inventories
from tests.e2e.conftest import PYINFRA, ROOT, Cluster, docker_hosts
from tests.e2e.etcd import await_voters, members, voters
from tests.e2e.pretended import LEARNER_ADDED, LEARNER_STARTED, assert_answers_as
from tests.e2e.requester import APPLICATION, Requester, demand, deploy, requester
from tests.e2e.room import places
from tests.e2e.traces import Traces, differences, traces
from tests.lab import containers, hosts
from tests.lab.docker import docker
from tests.simulation.history import Host

RESET = ROOT / "deploys/reset.py"
JOINED = "Joining | Join the cluster"
MOVED = "API endpoint | Resolve the name of the API endpoint"


@dataclass(frozen=True)
class Life:
    """The cluster, and the traces on its machines when they were bare."""

    cluster: Cluster
    bare: dict[str, Traces] = field(default_factory=dict)

    def up(self, *, control_planes: int, workers: int) -> None:
        """Start hosts up to these numbers, and record the traces on the new ones."""
        hosts.up(cluster=self.cluster.name, control_planes=control_planes, workers=workers, debian=(13,))
        for host in self.cluster.hosts:
            if host.name not in self.bare:
                # As on a disk of its own.
                self.cluster.shell(host.name, "mkdir -p /var/lib/etcd/lost+found")
                self.bare[host.name] = traces(self.cluster, host.name)

    def control_plane(self, number: int) -> str:
        return f"{self.cluster.name}-control-plane-{number}"

    def worker(self, number: int) -> str:
        return f"{self.cluster.name}-worker-{number}"


@pytest.fixture(scope="module")
def life(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    folder = tmp_path_factory.mktemp("growth")
    takes = places(control_planes=2, workers=1)
    with docker_hosts("growth", folder=folder, workers=2, takes=takes, debian=(13,)) as cluster:
        made = Life(cluster=cluster)
        made.up(control_planes=1, workers=2)
        cluster.converge()
        yield made


@pytest.fixture(scope="module")
def cluster(life: Life) -> Cluster:
    return life.cluster


@pytest.fixture(scope="module")
def requests(life: Life) -> Iterator[Requester]:
    """Deploy the application on the second worker, and request it through the first, which always stays."""
    cluster = life.cluster
    cluster.kubectl("cordon", life.worker(1))
    deploy(cluster)
    cluster.kubectl("uncordon", life.worker(1))
    with requester(cluster, through=life.worker(1)) as running:
        running.works_on()
        yield running


def test_pods_that_cannot_be_evicted_stop_a_removal_and_are_reported(life: Life, requests: Requester) -> None:
    cluster = life.cluster
    demand(cluster, available=2)
    run = cluster.remove_node(life.worker(2), "--data=drain_timeout=10")
    assert run.exit_code == 1
    assert "Traceback" not in run.output
    assert f'pods/"{APPLICATION}-' in run.output
    assert "disruption budget" in run.output
    assert f"kubectl uncordon {life.worker(2)}" in run.output
    assert life.worker(2) in cluster.ready_nodes
    assert cluster.shell(life.worker(2), "systemctl is-active kubelet") == "active"
    requests.works_on()
    assert requests.failures() == []


def test_a_worker_leaves_and_no_request_fails(life: Life, requests: Requester) -> None:
    cluster = life.cluster
    demand(cluster, available=1)
    run = cluster.remove_node(life.worker(2))
    assert run.exit_code == 0, run.output
    assert cluster.ready_nodes == [life.control_plane(1), life.worker(1)]
    assert differences(life.bare[life.worker(2)], traces(cluster, life.worker(2))) == {}
    requests.works_on()
    assert requests.failures() == []


def test_removing_a_removed_node_changes_nothing(life: Life) -> None:
    cluster = life.cluster
    run = cluster.pyinfra(
        *("-y", "--json", f"--data=node={life.worker(2)}"), deploy=ROOT / "deploys/remove_node.py"
    )
    assert run.exit_code == 0, run.output
    assert run.changed == []
    docker("rm", "--force", "--volumes", life.worker(2))


@pytest.mark.chaos
def test_a_join_killed_while_its_etcd_is_a_learner_is_finished_by_the_next_run(
    life: Life, requests: Requester
) -> None:
    cluster = life.cluster
    life.up(control_planes=2, workers=1)
    addresses = {host.address: host.name for host in cluster.hosts}
    with subprocess.Popen(
        [PYINFRA, *cluster.command("-y")],
        cwd=ROOT,
        env={**os.environ, "CLUSTER": cluster.name},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        learner = await_learner(cluster, run)
        joining = next(name for address, name in addresses.items() if f"//{address}:" in learner)
        containers.kill(joining)
        run.kill()
    orphans = [
        member["peerURLs"]
        for member in members(cluster, host=life.control_plane(1))
        if member.get("isLearner")
    ]
    assert orphans == [[learner]]
    assert_simulated_learner_looks_the_same(cluster, life, joining=joining)

    life.up(control_planes=2, workers=1)
    changed = cluster.converge().changed
    # A machine that has not joined must not resolve the endpoint to its own API server.
    assert {JOINED, MOVED}.intersection(changed) == {JOINED}
    await_voters(cluster, names=[life.control_plane(1), life.control_plane(2)])
    requests.works_on()
    assert requests.failures() == []


def test_a_second_control_plane_joins_and_no_request_fails(life: Life, requests: Requester) -> None:
    cluster = life.cluster
    life.up(control_planes=2, workers=1)
    cluster.converge()
    await_voters(cluster, names=[life.control_plane(1), life.control_plane(2)])
    assert cluster.ready_nodes == [*voters(cluster), life.worker(1)]
    assert cluster.converge().changed == []
    requests.works_on()
    assert requests.failures() == []


def test_the_workers_reach_every_control_plane_through_their_own_proxy(life: Life) -> None:
    cluster = life.cluster
    entries = cluster.shell(life.worker(1), f"getent ahostsv4 api.{cluster.name}.internal")
    assert {line.split()[0] for line in entries.splitlines()} == {"127.0.0.1"}
    run = cluster.verify("-k", "test_control_plane or test_workers")
    assert run.exit_code == 0, run.output


@pytest.mark.chaos
def test_a_run_without_etcds_majority_reports_that_and_changes_nothing(
    life: Life, requests: Requester
) -> None:
    cluster = life.cluster
    lost = [host for host in cluster.hosts if host.name == life.control_plane(2)]
    before = {name: manifests(cluster, name) for name in (life.control_plane(1), life.worker(1))}
    containers.kill(*(host.name for host in lost))
    run = cluster.pyinfra("-y", inventory=inventories.with_unreachable(cluster.folder, lost))
    assert run.exit_code == 1
    assert "etcd has 2 members and needs 2 of them" in run.output
    assert "start the machines that are down and mount their disks, then run again" in run.output
    assert "Traceback" not in run.output
    assert {name: manifests(cluster, name) for name in before} == before
    status = cluster.pyinfra(
        "-y",
        deploy=ROOT / "deploys/status.py",
        inventory=inventories.with_unreachable(cluster.folder, lost),
    )
    assert status.exit_code == 1
    assert f"Cluster {cluster.name}: the API does not answer" in status.output
    assert f"{life.control_plane(1)}: etcd has no leader" in status.output
    assert f"{life.control_plane(2)}: the machine could not be read" in status.output
    assert "Traceback" not in status.output
    requests.works_on()

    life.up(control_planes=2, workers=1)
    # The API server that answers first may not be the one in the operator's kubeconfig.
    assert set(cluster.converge().changed) <= {f"Kubeconfig | Write {cluster.kubeconfig}"}
    await_voters(cluster, names=[life.control_plane(1), life.control_plane(2)])
    assert cluster.converge().changed == []
    assert requests.failures() == []


def test_the_first_of_two_control_planes_leaves(life: Life, requests: Requester) -> None:
    cluster = life.cluster
    leaving, staying = life.control_plane(1), life.control_plane(2)
    run = cluster.remove_node(leaving)
    assert run.exit_code == 0, run.output
    left = differences(life.bare[leaving], traces(cluster, leaving))
    # Only the saved data of its etcd, which a person might still need.
    assert left.keys() == {"files"}
    assert all(path.startswith("/var/lib/etcd/kubeadm-deploys-saved/") for path in left["files"])
    docker("rm", "--force", "--volumes", leaving)
    assert voters(cluster) == [staying]
    assert cluster.ready_nodes == [staying, life.worker(1)]
    requests.works_on()
    assert requests.failures() == []


def test_the_last_control_plane_stays(life: Life) -> None:
    run = life.cluster.remove_node(life.control_plane(2))
    assert run.exit_code == 1
    assert "no other control plane answers" in run.output
    assert "deploys/reset.py" in run.output


def test_the_proxy_is_removed_when_one_control_plane_is_left(life: Life, requests: Requester) -> None:
    cluster = life.cluster
    assert "Local proxy | Remove the proxy to the API servers" in cluster.converge().changed
    assert cluster.converge().changed == []
    assert cluster.ready_nodes == [life.control_plane(2), life.worker(1)]
    requests.works_on()
    assert requests.failures() == []


def test_a_reset_requires_the_clusters_name_and_all_its_hosts(life: Life) -> None:
    cluster = life.cluster
    unconfirmed = cluster.pyinfra("-y", deploy=RESET)
    assert unconfirmed.exit_code == 1
    assert f"add --data confirm={cluster.name}" in unconfirmed.output
    confirmed = f"--data=confirm={cluster.name}"
    part = cluster.pyinfra("-y", confirmed, f"--limit=@docker/{life.worker(1)}", deploy=RESET)
    assert part.exit_code == 1
    assert f"deploys/remove_node.py --data node={life.worker(1)}" in part.output
    assert cluster.converge().changed == []


def test_a_reset_leaves_nothing_of_the_cluster(life: Life) -> None:
    cluster = life.cluster
    command = ("-y", "--json", f"--data=confirm={cluster.name}")
    run = cluster.pyinfra(*command, deploy=RESET)
    assert run.exit_code == 0, run.output
    for host in cluster.hosts:
        assert differences(life.bare[host.name], traces(cluster, host.name)) == {}
    assert cluster.pyinfra(*command, deploy=RESET).changed == []


@pytest.mark.chaos
def test_a_cluster_can_be_made_again_from_machines_that_were_reset(life: Life) -> None:
    cluster = life.cluster
    reset = cluster.pyinfra("-y", f"--data=confirm={cluster.name}", deploy=RESET)
    assert reset.exit_code == 0, reset.output
    cluster.converge()
    assert cluster.ready_nodes == sorted(host.name for host in cluster.hosts)
    assert cluster.converge().changed == []


def assert_simulated_learner_looks_the_same(cluster: Cluster, life: Life, *, joining: str) -> None:
    """Assert that real and simulated first control planes report the same about a learner without power."""
    before = [f"cp-{number}" for number in (2, 3) if life.control_plane(number) < joining]
    (started,) = [
        bool(member.get("name"))
        for member in members(cluster, host=life.control_plane(1))
        if member.get("isLearner")
    ]
    last = Host(name=f"cp-{len(before) + 2}", begins=f"half {LEARNER_STARTED if started else LEARNER_ADDED}")
    assert_answers_as(
        cluster,
        life.control_plane(1),
        *(Host(name=name, begins="member") for name in ("cp-1", *before)),
        last,
        Host(name="worker-1", begins="member"),
        name="cp-1",
        only=("EtcdMembers", "EtcdHealth"),
        change=lambda world, _: world.machines[last.name].reboots(now=world.now, seconds=float("inf")),
    )


def await_learner(cluster: Cluster, run: "subprocess.Popen[bytes]") -> str:
    """Wait for the first etcd learner, and return its peer URL."""
    host, deadline = cluster.control_plane, time.monotonic() + 300
    while time.monotonic() < deadline:
        assert run.poll() is None, "the run ended before a learner was seen"
        for member in members(cluster, host=host):
            if member.get("isLearner"):
                return str(member["peerURLs"][0])
    raise AssertionError("no control plane joined within 300 s")


def manifests(cluster: Cluster, host: str) -> str:
    """Return checksums of a host's configuration."""
    return cluster.shell(host, "find /etc/kubernetes /etc/hosts -type f -exec sha256sum {} + | sort")
