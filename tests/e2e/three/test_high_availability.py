"""Three control planes, made in one run; one is lost under load and replaced.

`make chaos` also loses the other two, puts a load balancer in front, and reboots the machines one by one: each of these
takes some minutes.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from kubeadm_deploys.facts.own_etcd import OwnEtcd
from tests.e2e import documented, etcd, inventories
from tests.e2e.conftest import VERSION, Cluster
from tests.e2e.recovery import CORE, reboot, reboot_all
from tests.e2e.three.conftest import HOSTS, Made, names
from tests.e2e.watch import TOKENS, private_keys, require_nowhere
from tests.e2e.writer import Writer, in_a_pod, lost_writes, outside
from tests.lab import containers, hosts, layout
from tests.lab.docker import docker
from tests.lab.hosts import Host
from tests.lab.load_balancer import load_balancer
from tests.support.disaster_page import CONTROL_PLANE

MOVED = "API endpoint | Resolve the name of the API endpoint"
PROXY_FOLLOWS = [
    "Local proxy | Write /etc/kubernetes/api-proxy/haproxy.cfg",
    "Local proxy | Run the proxy to the API servers",
]
JOINED = "Joining | Join the cluster"


def test_three_control_planes_come_up_in_one_run(cluster: Cluster) -> None:
    assert cluster.ready_nodes == names(cluster)
    assert etcd.voters(cluster) == names(cluster, group="control_plane")
    versions = cluster.kubectl("get", "nodes", "--output=jsonpath={.items[*].status.nodeInfo.kubeletVersion}")
    assert set(versions.split()) == {f"v{VERSION}"}


def test_each_etcd_says_what_a_restore_from_its_disk_has_to_know(cluster: Cluster) -> None:
    voters = etcd.voters(cluster)
    for host in cluster.control_planes:
        printed = cluster.shell(host, str(OwnEtcd().command().get_raw_value()))
        own = OwnEtcd().process(printed.splitlines())
        assert (own.has_leader, own.learner, own.revision > 0) == (True, False, True)
        assert sorted(member.name for member in own.members) == voters


def test_no_token_is_left_and_none_was_visible(made: Made) -> None:
    cluster, tokens = made.cluster, made.watch.tokens
    assert tokens, "no token was ever seen: this test would prove nothing"
    assert all(re.fullmatch(r"[a-z0-9]{6}\.[a-z0-9]{16}", token) for token in tokens)
    assert cluster.shell(cluster.control_plane, f"{TOKENS}; true") == ""
    assert_nowhere(made, tokens, besides="-path /var/lib/etcd")


def test_private_keys_exist_only_in_their_directory(made: Made) -> None:
    keys = private_keys(made.cluster)
    assert len(keys) == 4
    assert_nowhere(made, keys, besides="-path /etc/kubernetes/pki")
    assert made.cluster.shell(made.cluster.worker, "ls /etc/kubernetes/pki") == "ca.crt"


def assert_nowhere(made: Made, secrets: set[str], *, besides: str) -> None:
    """Assert that these secrets are and were only in ``besides``, and that the search saw a real run."""
    assert len(made.printed) > 100_000
    assert "Join the cluster" in made.printed
    assert "pyinfra" in made.watch.arguments
    assert "kubeadm" in made.watch.arguments
    require_nowhere(made.cluster, secrets, printed=made.printed, seen=made.watch.arguments, besides=besides)


def test_a_run_leaves_only_the_kubeconfig_with_the_operator(cluster: Cluster) -> None:
    files = {path.name for path in cluster.folder.rglob("*") if path.is_file()}
    assert files == {"kubeconfig", "output"}


def test_a_second_run_with_a_reversed_inventory_changes_nothing(cluster: Cluster) -> None:
    run, sent = cluster.recorded(inventory=inventories.reversed_order(cluster.folder))
    assert run.changed == []
    # Each host is read while the run is prepared and once it holds the lock; control planes also release the
    # lock, and the leader reports the cluster's state twice.
    assert sorted(sent[name] for name in cluster.control_planes) == [3, 3, 5]
    assert {sent[name] for name in names(cluster, group="workers")} == {2}


def test_an_unreachable_host_is_reported_and_does_not_stop_the_others(cluster: Cluster) -> None:
    gone = Host(
        name="gone",
        address="10.213.0.250",
        cluster=cluster.name,
        group="workers",
        debian=12,
        data={**cluster.hosts[0].data, "node_name": "gone", "node_ip": "10.213.0.250"},
    )
    cluster.shell(cluster.worker, "apt-mark unhold kubelet")
    run = cluster.pyinfra("-y", inventory=inventories.with_unreachable(cluster.folder, [gone]))
    assert run.exit_code == 1
    assert "[gone]" in run.output
    assert "Traceback" not in run.output
    assert "kubelet" in cluster.shell(cluster.worker, "apt-mark showhold").split()
    assert cluster.ready_nodes == names(cluster)


@pytest.mark.chaos
def test_a_load_balancer_is_added_to_a_running_cluster_and_removed_again(cluster: Cluster) -> None:
    with balanced(cluster) as options:
        assert MOVED in cluster.converge(*options).changed
        assert cluster.converge(*options).changed == []
        assert api_addresses(cluster, cluster.worker) == [layout.LOAD_BALANCER_ADDRESS]
        assert MOVED in cluster.converge().changed
    assert api_addresses(cluster, cluster.worker) == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        pytest.param(1, "local_proxy", id="first, behind local proxies"),
        pytest.param(2, "load_balancer", id="second, behind a load balancer", marks=pytest.mark.chaos),
        pytest.param(3, "local_proxy", id="third, behind local proxies", marks=pytest.mark.chaos),
    ],
)
def test_a_lost_control_plane_is_replaced_under_load(
    cluster: Cluster, number: int, kind: str, record_property: Callable[[str, object], None]
) -> None:
    lost = f"{cluster.name}-control-plane-{number}"
    with ExitStack() as stack:
        options = stack.enter_context(balanced(cluster)) if kind == "load_balancer" else []
        if options:
            cluster.converge(*options)
        # A local proxy is only reachable on the worker's own loopback.
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
        removal = documented.run(cluster, CONTROL_PLANE, "remove_node.py", *options, node=lost)
        assert removal.exit_code == 0, removal.output
        assert cluster.ready_nodes == [name for name in names(cluster) if name != lost]
        hosts.up(cluster=cluster.name, **HOSTS)
        if number == 1:
            # The join uses control planes outside the limit; the next run without a limit updates the
            # workers.
            assert JOINED in cluster.converge(f"--limit=@docker/{lost}").changed
            changed = cluster.converge().changed
            # The operator's kubeconfig names the control plane that answered, perhaps another one without a
            # limit.
            assert [name for name in changed if not name.startswith("Kubeconfig | ")] == PROXY_FOLLOWS
        else:
            assert JOINED in cluster.converge(*options).changed
        for writer in writers:
            writer.works_on()
        record_property("measured", f"{lost} replaced: {gaps(writers, since=replaced)}")

        assert cluster.ready_nodes == names(cluster)
        etcd.await_voters(cluster, names=names(cluster, group="control_plane"))
        for writer in writers:
            assert len(writer.acknowledged()) > 20
            assert lost_writes(cluster, writer) == set()
        assert cluster.converge(*options).changed == []
        if options:
            cluster.converge()


@pytest.mark.parametrize(
    "at_once",
    [
        pytest.param(True, id="at once"),
        pytest.param(False, id="one after the other", marks=pytest.mark.chaos),
    ],
)
def test_everything_works_without_a_run_after_a_reboot_of_all_machines(
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


def test_the_published_kubeconfig_has_the_endpoints_name_and_not_a_machines(cluster: Cluster) -> None:
    published = "--output=jsonpath={.data.kubeconfig}"
    kubeconfig = cluster.kubectl("get", "configmap", "cluster-info", "--namespace=kube-public", published)
    assert f"server: https://api.{cluster.name}.internal:6443" in kubeconfig


def refused_under_the_same_name(cluster: Cluster, lost: str) -> None:
    """Assert that a new machine with the name of a node that the cluster still knows is refused."""
    hosts.up(cluster=cluster.name, **HOSTS)
    joined = cluster.pyinfra("-y")
    assert joined.exit_code == 1
    assert f"node_name {lost!r} already belongs to another machine in the cluster" in joined.output
    removed = cluster.remove_node(lost)
    assert removed.exit_code == 1
    assert "add --data force=true if it is lost" in removed.output
    assert cluster.shell(lost, "ls /etc/kubernetes/pki 2>&1; true").startswith("ls: cannot access")


@contextmanager
def balanced(cluster: Cluster) -> Iterator[list[str]]:
    """Run a load balancer in front of the cluster; yield the options that make workers use it."""
    targets = [host.address for host in cluster.hosts if host.group == "control_plane"]
    with load_balancer(targets=targets) as address:
        yield ["--data=endpoint_kind=load_balancer", f"--data=api_load_balancer_address={address}"]


def api_addresses(cluster: Cluster, host: str) -> list[str]:
    """Return the addresses to which a host resolves the endpoint's name."""
    entries = cluster.shell(host, f"getent ahostsv4 api.{cluster.name}.internal")
    return sorted({line.split()[0] for line in entries.splitlines()})


def gaps(writers: tuple[Writer, ...], *, since: float) -> str:
    """Return how long each client had to wait; other load on the machine makes it longer."""
    waits = ", ".join(f"{writer.name} {writer.longest_gap(since=since):.1f} s" for writer in writers)
    return f"longest time without a write that was read back: {waits}"
