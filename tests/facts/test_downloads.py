"""Which servers a machine reaches: the script on this machine, and when servers are tried at all."""

import base64
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from kubeadm_deploys.facts.downloads import Downloads, DownloadsState, Probe
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.model.proxies import NO_PROXIES, Proxies
from kubeadm_deploys.preflight.download_checks import has_to_fetch
from tests.support.bare_path import link_essentials
from tests.support.remote_scripts import with_path


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    return link_essentials(tmp_path)


def test_the_scripts_output_is_parsed() -> None:
    output = [
        "probe:https://github.com/ 0 200 https://release.example.com/x 10.0.0.9:3128 ",
        "probe:https://quay.io/ 6 0 https://quay.io/ - curl: (6) Could not resolve host: quay.io",
        "published-key LS0tLS1CRUdJTg==",
    ]
    assert Downloads().process(output) == DownloadsState(
        probes={
            "https://github.com/": Probe(
                status=0, answer=200, url="https://release.example.com/x", proxy="10.0.0.9:3128"
            ),
            "https://quay.io/": Probe(
                status=6, url="https://quay.io/", message="curl: (6) Could not resolve host: quay.io"
            ),
        },
        published_key="-----BEGIN",
    )


def probes_of(*urls: str, path: str = os.environ["PATH"], proxies: Proxies = NO_PROXIES) -> dict[str, Probe]:
    """Run the script on this machine; it must neither fail nor print errors."""
    command = Downloads().command(key_url="", urls=urls, proxies=proxies)
    assert proxies.http not in command.get_raw_value() or not proxies.http
    done = subprocess.run(
        ["/bin/sh", "-c", with_path(command, path)],
        input=str(command.connector_arguments["_stdin"]),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return Downloads().process(done.stdout.splitlines()).probes


def test_servers_are_tried_without_curl_too(bare_path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_port = f"http://127.0.0.1:{server.getsockname()[1]}"
        probes = probes_of(open_port, "http://127.0.0.1:1/x", "https://nowhere.invalid/", path=bare_path)
    assert {url: probe.status for url, probe in probes.items()} == {
        open_port: 0,
        "http://127.0.0.1:1/x": 7,
        "https://nowhere.invalid/": 6,
    }


def test_without_curl_an_ipv6_address_is_not_resolved(bare_path: str) -> None:
    probes = probes_of("http://[::1]:1/x", "http://[::1]/", path=bare_path)
    assert probes["http://[::1]:1/x"].status == 7
    # A program may listen on port 80 here.
    assert probes["http://[::1]/"].status in (0, 7)


def test_a_failing_curl_does_not_count_as_an_answer(bare_path: str) -> None:
    broken = Path(bare_path, "curl")
    broken.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    broken.chmod(0o755)
    assert probes_of("http://127.0.0.1:1", path=bare_path)["http://127.0.0.1:1"] == Probe(
        status=1, message="broken"
    )


class Server(BaseHTTPRequestHandler):
    """Redirects files and blobs to another name of itself; images need a token."""

    server: ThreadingHTTPServer

    def do_HEAD(self) -> None:
        port = self.server.server_port
        if self.path == "/to-403":
            self.answer(302, Location=f"http://localhost:{port}/blocked")
        else:
            self.answer({"/v2/": 401, "/blocked": 403}.get(self.path, 200))

    def do_GET(self) -> None:
        port = self.server.server_port
        token, image = self.headers["Authorization"], self.path.split("/")[2:3]
        if self.path in TOKENS:
            self.answer(200, '{"token": "for-anybody"}')
        elif self.path == "/blobs/blocked":
            self.answer(400 if token else 403)
        elif self.path == "/blobs/good":
            self.answer(206 if self.headers["Range"] == "bytes=0-0" and not token else 400)
        elif self.path.startswith("/v2/") and token != "Bearer for-anybody":
            self.answer(401, WWW_Authenticate=f'Bearer realm="http://127.0.0.1:{port}/token",service="here"')
        elif self.path.endswith("/manifests/1"):
            self.answer(200, '{"manifests": [{"digest": "sha256:2"}, {"digest": "sha256:3"}]}')
        elif self.path.endswith("/manifests/sha256:2"):
            self.answer(200, '{"config": {"digest": "sha256:4"}, "layers": [{"digest": "sha256:5"}]}')
        elif self.path.endswith("/blobs/sha256:4"):
            self.answer(307, Location=f"http://localhost:{port}/blobs/{image[0]}")
        else:
            self.answer(404)

    def answer(self, status: int, body: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


TOKENS = [f"/token?service=here&scope=repository:{image}:pull" for image in ("good", "blocked")]


@pytest.fixture
def port() -> Iterator[int]:
    """Run the server on 127.0.0.1, and return its port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_redirects_are_followed_and_the_last_answer_counts(port: int) -> None:
    root = f"http://127.0.0.1:{port}"
    probes = probes_of(f"{root}/file", f"{root}/v2/", f"{root}/to-403")
    assert {url.removeprefix(root): (probe.status, probe.answer) for url, probe in probes.items()} == {
        "/file": (0, 200),
        "/v2/": (0, 401),
        "/to-403": (0, 403),
    }
    assert probes[f"{root}/to-403"].url == f"http://localhost:{port}/blocked"


def test_an_image_counts_as_its_blob_does(port: int) -> None:
    """Registries redirect blobs to servers that may be blocked although the registry answers."""
    good, blocked = (f"http://127.0.0.1:{port}/v2/{image}/manifests/1" for image in ("good", "blocked"))
    assert probes_of(good, blocked) == {
        good: Probe(status=0, answer=206, url=f"http://localhost:{port}/blobs/good"),
        blocked: Probe(status=0, answer=403, url=f"http://localhost:{port}/blobs/blocked"),
    }


def test_a_registry_that_gives_no_token_is_named_by_its_answer(port: int) -> None:
    url = f"http://127.0.0.1:{port}/v2/unknown/manifests/1"
    token = f"http://127.0.0.1:{port}/token?service=here&scope=repository:unknown:pull"
    assert probes_of(url) == {url: Probe(status=0, answer=404, url=token)}


class Proxying(BaseHTTPRequestHandler):
    """A proxy that wants user and password, and answers itself for every server."""

    def do_HEAD(self) -> None:
        given = self.headers.get("Proxy-Authorization", "")
        known = given == f"Basic {base64.b64encode(b'bob:p@ss').decode()}"
        self.send_response((204 if self.path == "http://upstream.invalid/x" else 400) if known else 407)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def test_downloads_go_through_the_proxy_except_to_hosts_without_one() -> None:
    url = "http://upstream.invalid/x"
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxying) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_port}"
        asked = probes_of(url, proxies=Proxies(http=f"http://bob:p%40ss@{address}"))[url]
        refused = probes_of(url, proxies=Proxies(http=f"http://bob:wrong@{address}"))[url]
        direct = probes_of(url, proxies=Proxies(http=f"http://bob:p%40ss@{address}", direct=(".invalid",)))[
            url
        ]
        server.shutdown()
    assert (asked.status, asked.answer, asked.proxy) == (0, 204, address)
    assert (refused.status, refused.answer, refused.proxy) == (0, 407, address)
    assert (direct.status, direct.proxy) == (6, "")


def test_a_proxy_that_does_not_answer_is_told_from_a_server_with_and_without_curl(bare_path: str) -> None:
    dead, unknown = Proxies(https="http://u:p@127.0.0.1:1"), Proxies(https="http://nowhere.invalid:3128")
    url = "https://upstream.invalid/x"
    for path in (os.environ["PATH"], bare_path):
        found = [probes_of(url, path=path, proxies=proxies)[url] for proxies in (dead, unknown)]
        assert [(probe.status, probe.proxy) for probe in found] == [
            (7, "127.0.0.1:1"),
            (5, "nowhere.invalid:3128"),
        ]


@pytest.mark.parametrize(
    ("kubelet", "files", "fetches"),
    [
        ("1.36.3-1.1", {"kubelet.conf"}, False),
        # Without kubelet.conf, the machine is not a node and still fetches everything.
        ("1.36.3-1.1", set(), True),
        ("1.36.30-1.1", {"kubelet.conf"}, True),
        ("1.35.4-1.1", {"kubelet.conf"}, True),
        ("", {"kubelet.conf"}, True),
    ],
)
def test_only_a_node_with_the_wanted_release_fetches_nothing(
    kubelet: str, files: set[str], fetches: bool
) -> None:
    options = ClusterOptions(kubernetes_version="1.36.3")
    found = KubeadmNodeState(files=frozenset(files))
    assert has_to_fetch(MachineState(kubelet=kubelet), found=found, options=options) is fetches
