"""Foreign data and a concurrent second run are refused before anything is changed.

The machines stay bare: no test here makes a cluster.
"""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import ROOT, Cluster, Run, docker_hosts
from tests.e2e.pretended import assert_answers_as
from tests.e2e.recovery import await_on, output, start
from tests.lab.docker import docker
from tests.simulation.history import Host

PREFLIGHT = ROOT / "deploys/preflight.py"
RESET = ROOT / "deploys/reset.py"

# Holds a port like a foreign program.
_LISTENER = (
    "perl -MIO::Socket::INET -e "
    """'$s = IO::Socket::INET->new(LocalPort => 6443, Listen => 1, ReuseAddr => 1) or die $!; sleep 600'"""
)


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start bare hosts for one control plane and one worker."""
    with docker_hosts("foreign", folder=tmp_path_factory.mktemp("foreign"), takes=0, debian=(13,)) as made:
        yield made


def snapshot(cluster: Cluster) -> dict[str, str]:
    """Return files, units, routes, rules and listeners of every host."""
    look = (
        "find /etc /usr/local /opt /var/lib/etcd /var/lib/docker /var/lib/kubelet /var/lib/dpkg/status "
        "-type f -exec sha256sum {} + 2> /dev/null | sort; "
        "systemctl list-units --all --plain --no-legend --type=service | awk '{print $1, $3, $4}' | "
        "grep -vE '^(systemd-|apt-|dpkg-|e2scrub|man-db|user)' | sort; "
        "cat /proc/net/route; iptables-save 2> /dev/null | grep -v '^#'; nft list ruleset 2> /dev/null; grep ' 0A ' /proc/net/tcp /proc/net/tcp6 | cut -c 1-60 | sort"
    )
    return {host.name: cluster.shell(host.name, look) for host in cluster.hosts}


def refused(cluster: Cluster, words: dict[str, list[str]]) -> None:
    """Assert that cluster.py, preflight.py and reset.py change nothing, and print these words per host."""
    before = snapshot(cluster)
    confirm = f"--data=confirm={cluster.name}"
    for run in (
        cluster.pyinfra("-y"),
        cluster.pyinfra("-y", deploy=PREFLIGHT),
        cluster.pyinfra("-y", confirm, deploy=RESET),
    ):
        assert run.exit_code == 1, run.output
        assert "Traceback" not in run.output
        for host, expected in words.items():
            host_lines = "\n".join(line for line in run.output.splitlines() if f"{host}: " in line)
            assert [word for word in expected if word not in host_lines] == [], run.output
    assert snapshot(cluster) == before


def test_bare_machines_pass_preflight_unchanged(cluster: Cluster) -> None:
    before = snapshot(cluster)
    run: Run = cluster.pyinfra("-y", deploy=PREFLIGHT)
    assert run.exit_code == 0, run.output
    assert snapshot(cluster) == before


def test_a_dry_run_plans_the_cluster_and_changes_nothing(cluster: Cluster) -> None:
    before = {host.name: written(host.name) for host in cluster.hosts}
    run = cluster.pyinfra("--json", "--dry")
    assert run.exit_code == 0, run.output
    planned = {
        operation["name"] for operation in json.loads(run.stdout)["plan"] if operation["hosts_with_change"]
    }
    assert {"Control plane | Create the control plane", "Joining | Join the cluster"} <= planned
    assert {host.name: written(host.name) for host in cluster.hosts} == before


def written(container: str) -> set[str]:
    """Return paths in a container that differ from its image, except those that any running system writes."""
    volatile = ("/var/log", "/var/lib/systemd", "/var/cache", "/var/backups", "/var/lib/apt", "/run", "/tmp")
    lines = docker("diff", container).splitlines()
    return {line for line in lines if not line.split(maxsplit=1)[1].startswith(volatile)}


def test_a_simulated_bare_machine_answers_like_a_real_one(cluster: Cluster) -> None:
    assert_answers_as(cluster, cluster.control_plane, Host(name="cp-1", begins="bare"), name="cp-1")


def test_all_foreign_data_is_refused_in_one_run(cluster: Cluster) -> None:
    """k3s is recognised by its process and its data; the program itself is not available here."""
    control_plane, worker = cluster.control_plane, cluster.worker
    cluster.shell(
        control_plane, "mkdir -p /var/lib/etcd/member/snap && echo theirs > /var/lib/etcd/member/snap/db"
    )
    cluster.shell(worker, "mkdir -p /var/lib/docker/containers/0123456789ab")
    cluster.shell(worker, "mkdir -p /var/lib/rancher/k3s/server && cp /bin/sleep /usr/local/bin/k3s-server")
    listens = "grep -q ':192B 00000000:0000 0A' /proc/net/tcp"
    with (
        running(control_plane, "sh", "-c", _LISTENER, program="perl", seen=listens),
        running(worker, "k3s-server", "600", program="k3s-server", seen="pgrep -x k3s-server"),
    ):
        try:
            refused(
                cluster,
                {control_plane: ["/var/lib/etcd", "port 6443"], worker: ["Docker", "k3s"]},
            )
        finally:
            cluster.shell(control_plane, "rm -r /var/lib/etcd/member")
            cluster.shell(worker, "rm -r /var/lib/docker /var/lib/rancher /usr/local/bin/k3s-server")


# What tutorials, other roles and older networks leave on machines, and how it is removed.
_LEFTOVERS = """
mkdir -p /etc/cni/net.d
echo '{"cniVersion": "1.0.0", "name": "bridge", "plugins": [{"type": "bridge"}]}' > /etc/cni/net.d/00-bridge.conflist
echo 'KUBELET_EXTRA_ARGS=--node-ip=127.0.0.9' > /etc/default/kubelet
cat > /etc/apt/sources.list.d/k8s.sources <<'END'
Types: deb
URIs: https://pkgs.k8s.io/core:/stable:/v1.37/deb/
Suites: /
Signed-By: /etc/apt/keyrings/theirs.asc
END
nft 'add table inet theirs; add chain inet theirs input { type filter hook input priority 0; policy drop; }'
"""
_REMOVED = """
rm -r /etc/cni /etc/default/kubelet /etc/apt/sources.list.d/k8s.sources
nft delete table inet theirs
apt-get --quiet=2 --yes --autoremove purge nftables
"""


def test_settings_of_other_software_are_named_in_one_run(cluster: Cluster) -> None:
    host = cluster.worker
    cluster.shell(host, f"apt-get --quiet=2 update && apt-get --quiet=2 --yes install nftables; {_LEFTOVERS}")
    before = snapshot(cluster)
    try:
        run = cluster.pyinfra("-y", deploy=PREFLIGHT)
        assert snapshot(cluster) == before
    finally:
        cluster.shell(host, _REMOVED)
    assert run.exit_code == 1, run.output
    words = " ".join(run.output.split())
    for found in (
        "has /etc/cni/net.d/00-bridge.conflist, which gives pods another network",
        "sets --node-ip in KUBELET_EXTRA_ARGS of /etc/default/kubelet",
        "has the repository https://pkgs.k8s.io/core:/stable:/v1.37/deb/ in /etc/apt/sources.list.d/k8s.sources",
        "may drop incoming traffic: nftables chain inet theirs input",
    ):
        assert found in words, run.output
    assert f"{cluster.control_plane}: " not in run.output


@contextmanager
def running(host: str, *command: str, program: str, seen: str) -> Iterator[None]:
    """Run a command on a host until the context ends; wait first until the command ``seen`` succeeds."""
    with subprocess.Popen(["docker", "exec", host, *command]) as process:
        try:
            docker("exec", host, "timeout", "30", "sh", "-c", f"until {seen}; do sleep 0.1; done")
            yield
        finally:
            docker("exec", host, "pkill", program)
            process.wait(timeout=30)


def test_a_second_run_reports_the_first_and_does_not_wait_for_a_killed_one(cluster: Cluster) -> None:
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
    # The first run was killed and left its lock, which does not stop the next run.
    assert cluster.shell(cluster.control_plane, "cat /run/kubeadm-deploys/lock")
    third = cluster.pyinfra("-y", f"--data=confirm={cluster.name}", deploy=RESET)
    assert third.exit_code == 0, third.output
