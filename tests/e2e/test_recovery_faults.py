"""Faults inside a run: it reports host, operation and cause, and after the fix the next run continues.

The tests run in the order in which a run meets the faults, and share the machines.
"""

import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Cluster, docker_hosts
from tests.e2e.pretended import assert_answers_as
from tests.e2e.recovery import await_on, ended, output, start
from tests.lab import layout
from tests.lab.docker import docker
from tests.simulation.history import Host
from tests.support.gpg_keys import new_key

JOINED = "Joining | Join the cluster"


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Start bare hosts for one control plane and one worker."""
    with docker_hosts("faults", folder=tmp_path_factory.mktemp("faults"), debian=(13,)) as made:
        # As on a disk of its own.
        made.shell(made.control_plane, "mkdir -p /var/lib/etcd/lost+found")
        yield made


@pytest.fixture
def without_worker(cluster: Cluster) -> None:
    """Make the whole cluster, then remove its worker."""
    # `make chaos` skips the earlier tests, which make the cluster.
    cluster.converge()
    removed = cluster.remove_node(cluster.worker)
    assert removed.exit_code == 0, removed.output


def failed(cluster: Cluster, *arguments: str) -> str:
    """Run cluster.py, assert that it fails, and return its output."""
    run = cluster.pyinfra("-y", *arguments)
    assert run.exit_code == 1, run.output
    assert "Traceback" not in run.output
    return run.output


def test_an_expired_key_of_the_apt_repository(cluster: Cluster, tmp_path: Path) -> None:
    with (
        new_key(tmp_path, made=datetime(2022, 1, 1, tzinfo=UTC), valid="1y") as key,
        serving(key.armoured.encode()) as url,
    ):
        options = (f"--data=mirror={url}", f"--data=kubernetes_apt_key_fingerprint={key.fingerprint}")
        printed = failed(cluster, *options)
    assert f"{cluster.worker}: gets a key of the apt repository that expired on 2023-01-01" in printed
    assert "no changes were made" in printed


def test_a_kubeadm_init_killed_after_etcd_has_started(cluster: Cluster) -> None:
    host = cluster.control_plane
    with start(cluster, f"--limit=@docker/{host}") as run:
        await_on(cluster, host, run, what="data of etcd", reached="test -e /var/lib/etcd/member/wal")
        cluster.shell(host, "pkill -KILL kubeadm")
        assert ended(run) == 1
    assert "kubeadm init failed" in output(cluster)
    assert f"[@docker/{host}]" in output(cluster)


def test_a_simulated_partial_control_plane_answers_like_a_real_one(cluster: Cluster) -> None:
    host = cluster.control_plane
    kubectl = "kubectl --kubeconfig=/etc/kubernetes/super-admin.conf"
    settled = f"{kubectl} get --raw=/readyz && {kubectl} get node {host}"
    cluster.shell(host, f"timeout 120 sh -c 'until {settled}; do sleep 1; done'")
    assert_answers_as(cluster, host, Host(name="cp-1", begins="half 8"), name="cp-1", of_cluster=True)


@pytest.mark.parametrize(
    ("size", "cause"),
    [("8m", "cannot write the download below /usr/local/bin"), ("60m", "No space left on device")],
    ids=["while fetching", "while unpacking"],
)
def test_a_full_disk(cluster: Cluster, size: str, cause: str) -> None:
    cluster.shell(cluster.worker, f"mount -t tmpfs -o size={size} full /usr/local/bin")
    try:
        printed = failed(cluster)
        assert cause in printed
        assert f"[@docker/{cluster.worker}]" in printed
        assert cluster.shell(cluster.worker, "ls -A /usr/local/bin") == ""
        # The other hosts go on meanwhile.
        assert cluster.shell(cluster.control_plane, "containerd --version")
    finally:
        cluster.shell(cluster.worker, "umount /usr/local/bin")


def test_a_truncated_download(cluster: Cluster) -> None:
    with truncating_mirror() as url:
        printed = failed(cluster, f"--data=mirror={url}")
    assert f"cannot fetch {url}/github.com/containerd/containerd/releases" in printed
    assert "curl: (18)" in printed
    assert cluster.shell(cluster.worker, "ls -A /usr/local/bin") == ""


def test_a_containerd_that_does_not_start(cluster: Cluster) -> None:
    folder = "/etc/systemd/system/containerd.service.d"
    drop_in = "[Service]\\nExecStart=\\nExecStart=/usr/local/bin/containerd --no-such-flag\\n"
    cluster.shell(cluster.worker, f"mkdir -p {folder} && printf '{drop_in}' > {folder}/broken.conf")
    cluster.shell(cluster.worker, "systemctl daemon-reload; systemctl stop containerd; true")
    printed = failed(cluster)
    assert "containerd.service does not run as it should" in printed
    assert "no-such-flag" in printed
    report = reported(printed)
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    text = report.read_text()
    for word in ("Container runtime | Run containerd", "no-such-flag", "containerd_version", cluster.worker):
        assert word in text
    cluster.shell(cluster.worker, f"rm -r {folder}")


def test_a_dpkg_killed_while_it_unpacks(cluster: Cluster) -> None:
    host = cluster.worker
    with start(cluster) as run:
        await_on(cluster, host, run, what="dpkg at work", reached="ls /var/lib/dpkg/updates | grep -q .")
        cluster.shell(host, "pkill -KILL dpkg")
        assert ended(run) == 1
    assert cluster.shell(host, "dpkg --audit; ls /var/lib/dpkg/updates")
    assert f"[@docker/{host}]" in output(cluster)


def test_a_run_succeeds_after_all_these_faults(cluster: Cluster) -> None:
    cluster.converge()
    assert cluster.ready_nodes == sorted(host.name for host in cluster.hosts)
    assert cluster.converge().changed == []


def test_a_kubelet_that_does_not_start(cluster: Cluster) -> None:
    host, folder = cluster.worker, "/etc/systemd/system/kubelet.service.d"
    drop_in = "[Service]\\nExecStart=\\nExecStart=/usr/bin/kubelet --no-such-flag\\n"
    cluster.shell(host, f"mkdir -p {folder} && printf '{drop_in}' > {folder}/broken.conf")
    cluster.shell(host, "systemctl daemon-reload; systemctl restart kubelet; systemctl stop kubelet")
    try:
        printed = failed(cluster)
    finally:
        cluster.shell(host, f"rm -r {folder}; systemctl stop kubelet")
    assert "kubelet.service does not run as it should" in printed
    assert "unknown flag: --no-such-flag" in printed
    assert cluster.converge().changed == ["Kubernetes packages | Run the kubelet"]


@pytest.mark.chaos
@pytest.mark.usefixtures("without_worker")
def test_an_api_server_unreachable_from_the_joining_machine(cluster: Cluster) -> None:
    host = cluster.worker
    address = next(other.address for other in cluster.hosts if other.name == cluster.control_plane)
    cluster.shell(host, f"ip route add unreachable {address}/32")
    try:
        printed = failed(cluster)
    finally:
        cluster.shell(host, f"ip route delete unreachable {address}/32")
    assert (
        f"the API server at https://api.{cluster.name}.internal:6443 is not ready as seen from here"
        in printed
    )
    assert JOINED in cluster.converge().changed


@pytest.mark.chaos
@pytest.mark.usefixtures("without_worker")
def test_a_token_that_expires_during_the_join(cluster: Cluster) -> None:
    """kubeadm has already used the token, and the kubelet has no certificate yet."""
    host, kubeadm_used_token = cluster.worker, "test -e /etc/kubernetes/bootstrap-kubelet.conf"
    with start(cluster) as run:
        # The loop runs on the host: with a docker exec per look, the kubelet would get its certificate first.
        cluster.shell(
            host, f"timeout 180 sh -c 'until {kubeadm_used_token}; do sleep 0.01; done; pkill -STOP kubeadm'"
        )
        cluster.shell(host, "test ! -e /var/lib/kubelet/pki/kubelet-client-current.pem")
        tokens = "--field-selector=type=bootstrap.kubernetes.io/token"
        cluster.kubectl("delete", "secrets", "--namespace=kube-system", tokens)
        # The API server caches a token's authentication for ten seconds.
        time.sleep(15)
        cluster.shell(host, "pkill -CONT kubeadm")
        assert ended(run) == 1
    assert "kubeadm join failed" in output(cluster)
    assert f"[@docker/{host}]" in output(cluster)
    assert JOINED in cluster.converge().changed


def test_a_worker_with_a_busy_volume_leaves_and_joins_again_without_default_routes(cluster: Cluster) -> None:
    # `make chaos` skips the earlier tests, which make the cluster.
    cluster.converge()
    host, volume = cluster.worker, "/var/lib/kubelet/pods/left/volumes/data"
    cluster.shell(
        host,
        f"mkdir -p /srv/data {volume} && echo kept > /srv/data/file && mount --bind /srv/data {volume}",
    )
    docker("exec", "--detach", "--workdir", volume, host, "sleep", "600")
    removed = cluster.remove_node(host)
    assert removed.exit_code == 0, removed.output
    assert cluster.shell(host, "cat /srv/data/file") == "kept"
    assert cluster.shell(host, "ls -A /var/lib/kubelet; grep ' /var/lib/kubelet/' /proc/mounts; true") == ""
    for other in cluster.hosts:
        # A node answers its pods for their gateway, 169.254.1.1, only if it has a route to it.
        cluster.shell(other.name, "ip route replace 169.254.1.1 dev eth0 && ip route delete default")
    assert JOINED in cluster.converge().changed


def test_the_cluster_is_complete_in_the_end(cluster: Cluster) -> None:
    assert cluster.converge().changed == []
    assert cluster.ready_nodes == sorted(host.name for host in cluster.hosts)


def reported(printed: str) -> Path:
    """Return the file named in the last line of a failed run."""
    return ROOT / printed.split()[-1]


@contextmanager
def serving(content: bytes) -> Iterator[str]:
    """Run a web server for docker hosts that serves the same content under every path."""

    class Serving(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.do_HEAD()
            self.wfile.write(content)

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()

    with served_by(Serving) as url:
        yield url


@contextmanager
def truncating_mirror() -> Iterator[str]:
    """Run a web server for docker hosts that ends every answer after half of its announced length."""

    class Truncating(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2000000")
            self.end_headers()
            self.wfile.write(b"0" * 1000000)

    with served_by(Truncating) as url:
        yield url


@contextmanager
def served_by(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a web server on this machine for docker hosts; yield its URL."""
    with ThreadingHTTPServer((layout.GATEWAY, 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{layout.GATEWAY}:{server.server_port}"
        finally:
            server.shutdown()
