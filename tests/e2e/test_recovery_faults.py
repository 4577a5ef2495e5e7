"""Faults inside a run: it ends with the host, the operation and the cause, and once they are gone the next one goes on.

The tests stand in the order in which a run gets to them, and share the machines.
"""

import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.conftest import ROOT, Cluster, docker_hosts
from tests.e2e.recovery import CORE, await_on, output, start
from tests.lab import layout


@pytest.fixture(scope="module")
def cluster(lab: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One control plane and one worker to be."""
    with docker_hosts("faults", folder=tmp_path_factory.mktemp("faults"), debian=(13,)) as made:
        yield made


def failed(cluster: Cluster, *arguments: str) -> str:
    """What a run prints that must not succeed."""
    run = cluster.pyinfra("-y", *arguments)
    assert run.exit_code == 1, run.output
    assert "Traceback" not in run.output
    return run.output


@pytest.mark.parametrize(
    ("size", "cause"),
    [("8m", "cannot write the download below /usr/local/bin"), ("60m", "No space left on device")],
    ids=["while fetching", "while unpacking"],
)
def test_a_disk_that_is_full(cluster: Cluster, size: str, cause: str) -> None:
    cluster.shell(cluster.worker, f"mount -t tmpfs -o size={size} full /usr/local/bin")
    try:
        printed = failed(cluster)
        assert cause in printed
        assert f"[@docker/{cluster.worker}]" in printed
        assert cluster.shell(cluster.worker, "ls -A /usr/local/bin") == ""
        # The others are made ready meanwhile.
        assert cluster.shell(cluster.control_plane, "containerd --version")
    finally:
        cluster.shell(cluster.worker, "umount /usr/local/bin")


def test_a_download_that_is_cut_short(cluster: Cluster) -> None:
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


def test_an_apt_that_is_killed_while_it_unpacks(cluster: Cluster) -> None:
    host = cluster.worker
    cluster.shell(host, "apt-get --yes --quiet=2 purge socat conntrack kubelet kubeadm || true")
    with start(cluster) as run:
        await_on(cluster, host, run, what="dpkg at work", reached="ls /var/lib/dpkg/updates | grep -q .")
        cluster.shell(host, "pkill -KILL dpkg")
        assert run.wait() == 1
    assert cluster.shell(host, "dpkg --audit; ls /var/lib/dpkg/updates")
    assert f"[@docker/{host}]" in output(cluster)


def test_everything_is_got_over_in_the_end(cluster: Cluster) -> None:
    cluster.converge()
    verified = cluster.verify("-k", CORE)
    assert verified.exit_code == 0, verified.output
    assert cluster.converge().changed == []


def reported(printed: str) -> Path:
    """The file that the last line of a failed run names."""
    return ROOT / printed.split()[-1]


@contextmanager
def truncating_mirror() -> Iterator[str]:
    """A server for docker hosts that breaks off whatever is asked of it after half of what it has promised."""

    class Truncating(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2000000")
            self.end_headers()
            self.wfile.write(b"0" * 1000000)

    with ThreadingHTTPServer((layout.GATEWAY, 0), Truncating) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://{layout.GATEWAY}:{server.server_port}"
        finally:
            server.shutdown()
