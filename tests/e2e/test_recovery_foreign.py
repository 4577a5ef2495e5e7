"""What is somebody else's is refused before anything is changed, and so is a second run beside the first.

The machines stay bare: nothing in here makes a cluster.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import ROOT, Cluster, Run, docker_hosts
from tests.e2e.pretended import assert_answers_as
from tests.e2e.recovery import await_on, output, start
from tests.simulation.history import Host

PREFLIGHT = ROOT / "deploys/preflight.py"
RESET = ROOT / "deploys/reset.py"

# Holds a port as a program of somebody else would.
_LISTENER = (
    "perl -MIO::Socket::INET -e "
    """'$s = IO::Socket::INET->new(LocalPort => 6443, Listen => 1, ReuseAddr => 1) or die $!; sleep 600'"""
)


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One control plane and one worker to be."""
    with docker_hosts("foreign", folder=tmp_path_factory.mktemp("foreign"), takes=0, debian=(13,)) as made:
        yield made


def snapshot(cluster: Cluster) -> dict[str, str]:
    """Files, units, routes, rules and listeners of every host."""
    look = (
        "find /etc /usr/local /opt /var/lib/etcd /var/lib/docker /var/lib/kubelet /var/lib/dpkg/status "
        "-type f -exec sha256sum {} + 2> /dev/null | sort; "
        "systemctl list-units --all --plain --no-legend --type=service | awk '{print $1, $3, $4}' | "
        "grep -vE '^(systemd-|apt-|dpkg-|e2scrub|man-db|user)' | sort; "
        "cat /proc/net/route; iptables-save 2> /dev/null | grep -v '^#'; nft list ruleset 2> /dev/null; grep ' 0A ' /proc/net/tcp /proc/net/tcp6 | cut -c 1-60 | sort"
    )
    return {host.name: cluster.shell(host.name, look) for host in cluster.hosts}


def refused(cluster: Cluster, *words: str) -> None:
    """cluster.py, preflight.py and reset.py refuse the machines with these words, and leave them as they are."""
    before = snapshot(cluster)
    confirm = f"--data=confirm={cluster.name}"
    for run in (
        cluster.pyinfra("-y"),
        cluster.pyinfra("-y", deploy=PREFLIGHT),
        cluster.pyinfra("-y", confirm, deploy=RESET),
    ):
        assert run.exit_code == 1, run.output
        assert "Traceback" not in run.output
        for word in words:
            assert word in run.output
    assert snapshot(cluster) == before


def test_bare_machines_pass_the_preflight_which_changes_nothing(cluster: Cluster) -> None:
    before = snapshot(cluster)
    run: Run = cluster.pyinfra("-y", deploy=PREFLIGHT)
    assert run.exit_code == 0, run.output
    assert snapshot(cluster) == before


def test_bare_pretend_machines_answer_as_these(cluster: Cluster) -> None:
    assert_answers_as(cluster, cluster.control_plane, Host(name="cp-1", begins="bare"), name="cp-1")


def test_data_of_another_etcd(cluster: Cluster) -> None:
    host = cluster.control_plane
    cluster.shell(host, "mkdir -p /var/lib/etcd/member/snap && echo theirs > /var/lib/etcd/member/snap/db")
    try:
        refused(cluster, host, "/var/lib/etcd")
    finally:
        cluster.shell(host, "rm -r /var/lib/etcd/member")


def test_containers_of_docker(cluster: Cluster) -> None:
    host = cluster.worker
    cluster.shell(host, "mkdir -p /var/lib/docker/containers/0123456789ab")
    try:
        refused(cluster, host, "Docker")
    finally:
        cluster.shell(host, "rm -r /var/lib/docker")


def test_a_running_k3s(cluster: Cluster) -> None:
    """Known by its process and its data; the program itself cannot be had here."""
    host = cluster.worker
    cluster.shell(host, "mkdir -p /var/lib/rancher/k3s/server && cp /bin/sleep /usr/local/bin/k3s-server")
    with subprocess.Popen(["docker", "exec", host, "k3s-server", "600"]):
        cluster.shell(host, "timeout 10 sh -c 'until pgrep -x k3s-server; do sleep 0.1; done'")
        try:
            refused(cluster, host, "k3s")
        finally:
            cluster.shell(host, "pkill k3s-server; rm -r /var/lib/rancher /usr/local/bin/k3s-server")


@contextmanager
def listening(host: str) -> Iterator[None]:
    process = subprocess.Popen(["docker", "exec", host, "sh", "-c", _LISTENER])
    try:
        yield
    finally:
        subprocess.run(["docker", "exec", host, "pkill", "perl"], check=True)
        process.wait()


def test_something_else_on_the_api_servers_port(cluster: Cluster) -> None:
    host = cluster.control_plane
    with listening(host):
        listens = "until grep -q ':192B 00000000:0000 0A' /proc/net/tcp; do sleep 0.1; done"
        cluster.shell(host, f"timeout 10 sh -c {listens!r}")
        refused(cluster, host, "6443")


def test_every_machine_is_told_of_at_once(cluster: Cluster) -> None:
    for host in (cluster.control_plane, cluster.worker):
        cluster.shell(host, "mkdir -p /var/lib/docker/containers/0123456789ab")
    try:
        run = cluster.pyinfra("-y", deploy=PREFLIGHT)
        assert run.exit_code == 1
        for host in (cluster.control_plane, cluster.worker):
            assert f"{host}: " in run.output
    finally:
        for host in (cluster.control_plane, cluster.worker):
            cluster.shell(host, "rm -r /var/lib/docker")


def test_a_second_run_says_who_runs_and_a_killed_one_is_not_waited_for(cluster: Cluster) -> None:
    with start(cluster) as first:
        await_on(
            cluster, cluster.control_plane, first, what="lock", reached="test -e /run/kubeadm-deploys/lock"
        )
        second = cluster.pyinfra("-y")
        assert first.poll() is None, output(cluster)
        assert second.exit_code == 1
        assert "has been running cluster.py on this cluster since" in second.output
        assert "no changes were made" in second.output
        dry = cluster.pyinfra("--dry")
        assert dry.exit_code == 0, dry.output
    # It was killed, and its lock is there; the sections of one host are enough to see that it does not stop a run.
    assert cluster.shell(cluster.control_plane, "cat /run/kubeadm-deploys/lock")
    third = cluster.pyinfra("-y", f"--data=confirm={cluster.name}", deploy=RESET)
    assert third.exit_code == 0, third.output
