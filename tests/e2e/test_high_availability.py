"""Three control planes: made at once, lost one after the other under clients that read and write, and replaced.

The tests stand in the order of the cluster's life and share it. On two processors they have their turn every third day,
each time with another one of the losses and of the ways to reboot: each takes some minutes.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from tests.e2e import etcd, inventories
from tests.e2e.conftest import Cluster, Converged, docker_hosts
from tests.e2e.recovery import CORE, reboot, reboot_all
from tests.e2e.turns import THREE_CONTROL_PLANES, by_turns
from tests.e2e.writer import Writer, in_a_pod, lost_writes, outside
from tests.lab import containers, hosts, layout
from tests.lab.docker import docker
from tests.lab.hosts import Host
from tests.lab.load_balancer import load_balancer

pytestmark = by_turns(THREE_CONTROL_PLANES)

NUMBERS: dict[str, Any] = {"control_planes": 3, "workers": 1, "debian": (12,)}
MOVED = "API endpoint | Resolve the name of the API endpoint"
PROXY_FOLLOWS = [
    "Local proxy | Write /etc/kubernetes/api-proxy/haproxy.cfg",
    "Local proxy | Run the proxy to the API servers",
]
JOINED = "Joining | Join the cluster"


@pytest.fixture(scope="module")
def made(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converged]:
    with docker_hosts("ha", folder=tmp_path_factory.mktemp("ha"), **NUMBERS) as cluster:
        yield Converged(cluster=cluster, first_run=cluster.converge())


@pytest.fixture(scope="module")
def cluster(made: Converged) -> Cluster:
    return made.cluster


def names(cluster: Cluster, *, group: str | None = None) -> list[str]:
    return sorted(host.name for host in cluster.hosts if group in (None, host.group))


def test_three_control_planes_come_up_in_one_run(made: Converged) -> None:
    cluster = made.cluster
    assert JOINED in made.first_run.changed
    assert cluster.ready_nodes == names(cluster)
    assert etcd.voters(cluster) == names(cluster, group="control_plane")


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    run, sent = cluster.recorded()
    assert run.changed == []
    # While it is prepared and with the lock, of which control planes are also told the end; the leader is asked twice
    # what the cluster says.
    assert sorted(sent[name] for name in cluster.control_planes) == [3, 3, 5]
    assert {sent[name] for name in names(cluster, group="workers")} == {2}


def test_the_inventorys_order_means_nothing_to_a_cluster_that_is_there(cluster: Cluster) -> None:
    assert cluster.converge(inventory=inventories.reversed_order(cluster.folder)).changed == []


def test_an_unreachable_host_stops_nobody_else_and_is_named(cluster: Cluster) -> None:
    gone = Host(
        name="gone",
        address="10.213.0.200",
        cluster=cluster.name,
        group="workers",
        debian=12,
        data={**cluster.hosts[0].data, "node_name": "gone", "node_ip": "10.213.0.200"},
    )
    cluster.shell(cluster.worker, "apt-mark unhold kubelet")
    run = cluster.pyinfra("-y", inventory=inventories.with_unreachable(cluster.folder, [gone]))
    assert run.exit_code == 1
    assert "[gone]" in run.output
    assert "Traceback" not in run.output
    assert "kubelet" in cluster.shell(cluster.worker, "apt-mark showhold").split()
    assert cluster.ready_nodes == names(cluster)


def test_a_load_balancer_is_put_before_a_cluster_that_runs_and_taken_away_again(cluster: Cluster) -> None:
    with balanced(cluster) as options:
        assert MOVED in cluster.converge(*options).changed
        assert cluster.converge(*options).changed == []
        assert api_addresses(cluster, cluster.worker) == [layout.LOAD_BALANCER_ADDRESS]
        assert MOVED in cluster.converge().changed
    assert cluster.converge().changed == []
    assert api_addresses(cluster, cluster.worker) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        pytest.param(1, "local_proxy", id="first, behind local proxies", marks=by_turns(0, of=3, days=3)),
        pytest.param(
            2, "load_balancer", id="second, behind a load balancer", marks=by_turns(1, of=3, days=3)
        ),
        pytest.param(3, "local_proxy", id="third, behind local proxies", marks=by_turns(2, of=3, days=3)),
    ],
)
def test_a_lost_control_plane_is_replaced_while_clients_go_on(
    cluster: Cluster, number: int, kind: str, record_property: Callable[[str, object], None]
) -> None:
    lost = f"{cluster.name}-control-plane-{number}"
    with ExitStack() as stack:
        options = stack.enter_context(balanced(cluster)) if kind == "load_balancer" else []
        if options:
            cluster.converge(*options)
        # Beside the worker's own loopback a local proxy is reached from nowhere.
        network, address = (
            (layout.NETWORK, layout.LOAD_BALANCER_ADDRESS)
            if options
            else (f"container:{cluster.worker}", "127.0.0.1")
        )
        pod = stack.enter_context(in_a_pod(cluster, name=f"pod-{number}", node=cluster.worker))
        machine = stack.enter_context(
            outside(cluster, name=f"outside-{number}", network=network, address=address)
        )
        writers = (pod, machine)
        for writer in writers:
            writer.works_on()

        killed = time.time()
        containers.kill(lost)
        for writer in writers:
            writer.works_on()
        record_property("measured", f"{lost} lost: {gaps(writers, since=killed)}")

        replaced = time.time()
        docker("rm", "--force", "--volumes", lost)
        if number == 1:
            refused_under_the_same_name(cluster, lost)
        removal = cluster.remove_node(lost, "--data=force=true", *options)
        assert removal.exit_code == 0, removal.output
        assert cluster.ready_nodes == [name for name in names(cluster) if name != lost]
        hosts.up(cluster=cluster.name, **NUMBERS)
        if number == 3:
            # Through control planes that have no part in the run; the next one without a limit tells the workers.
            assert JOINED in cluster.converge(f"--limit=@docker/{lost}").changed
            assert cluster.converge().changed == PROXY_FOLLOWS
        else:
            assert JOINED in cluster.converge(*options).changed
        for writer in writers:
            writer.works_on()
        record_property("measured", f"{lost} replaced: {gaps(writers, since=replaced)}")

        assert cluster.ready_nodes == names(cluster)
        assert etcd.voters(cluster) == names(cluster, group="control_plane")
        for writer in writers:
            assert len(writer.acknowledged()) > 20
            assert lost_writes(cluster, writer) == set()
        assert cluster.converge(*options).changed == []
        if options:
            cluster.converge()


@pytest.mark.parametrize(
    "at_once",
    [
        pytest.param(True, id="at once", marks=by_turns(0, of=2, days=3)),
        pytest.param(False, id="one after the other", marks=by_turns(1, of=2, days=3)),
    ],
)
def test_after_a_reboot_of_all_machines_everything_works_without_a_run(
    cluster: Cluster, at_once: bool
) -> None:
    if at_once:
        reboot_all(cluster)
    else:
        for host in cluster.hosts:
            reboot(cluster, host)
    etcd.await_voters(cluster, names=names(cluster, group="control_plane"))
    run = cluster.verify("-k", CORE)
    assert run.exit_code == 0, run.output
    assert cluster.converge().changed == []


def test_it_is_known_by_its_endpoints_name_and_not_by_a_machine(cluster: Cluster) -> None:
    published = "--output=jsonpath={.data.kubeconfig}"
    kubeconfig = cluster.kubectl("get", "configmap", "cluster-info", "--namespace=kube-public", published)
    assert f"server: https://api.{cluster.name}.internal:6443" in kubeconfig


def refused_under_the_same_name(cluster: Cluster, lost: str) -> None:
    """A new machine under the name of one that the cluster still knows."""
    hosts.up(cluster=cluster.name, **NUMBERS)
    joined = cluster.pyinfra("-y")
    assert joined.exit_code == 1
    assert f"node_name {lost!r} is in the cluster already, under another machine" in joined.output
    removed = cluster.remove_node(lost)
    assert removed.exit_code == 1
    assert "add --data force=true if it is lost" in removed.output
    assert cluster.shell(lost, "ls /etc/kubernetes/pki 2>&1; true").startswith("ls: cannot access")


@contextmanager
def balanced(cluster: Cluster) -> Iterator[list[str]]:
    """A load balancer before the cluster for a while; gives the options that lead workers through it."""
    targets = [host.address for host in cluster.hosts if host.group == "control_plane"]
    with load_balancer(targets=targets) as address:
        yield ["--data=endpoint_kind=load_balancer", f"--data=load_balancer_address={address}"]


def api_addresses(cluster: Cluster, host: str) -> list[str]:
    """What a host takes the endpoint's name for."""
    found = cluster.shell(host, f"getent ahostsv4 api.{cluster.name}.internal")
    return sorted({line.split()[0] for line in found.splitlines()})


def gaps(writers: tuple[Writer, ...], *, since: float) -> str:
    """How long each client had to wait; a machine that is busy with other things makes it longer."""
    each = ", ".join(f"{writer.name} {writer.longest_gap(since=since):.1f} s" for writer in writers)
    return f"longest time without a write and its reading: {each}"
