"""What a machine reaches of what it is to fetch: the script on the machine that runs the tests, and who is asked at all."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.facts.downloads import Downloads, DownloadsState, Probe
from kubeadm_deploys.facts.kubeadm_node import KubeadmNodeState
from kubeadm_deploys.facts.machine import MachineState
from kubeadm_deploys.machine_checks import has_to_fetch
from kubeadm_deploys.options import ClusterOptions
from tests.bare_path import link_essentials
from tests.remote_scripts import with_path


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    return link_essentials(tmp_path)


def test_what_the_script_prints_is_read() -> None:
    output = [
        "probe:https://github.com/ 0",
        "probe:https://quay.io/ 6 curl: (6) Could not resolve host: quay.io",
        "published-key LS0tLS1CRUdJTg==",
    ]
    assert Downloads().process(output) == DownloadsState(
        probes={
            "https://github.com/": Probe(status=0),
            "https://quay.io/": Probe(status=6, said="curl: (6) Could not resolve host: quay.io"),
        },
        published_key="-----BEGIN",
    )


def asked(*urls: str, path: str = os.environ["PATH"]) -> dict[str, Probe]:
    """Run the script on this machine; it may neither fail nor complain."""
    script = with_path(Downloads().command(key_url="", urls=urls), path)
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return Downloads().process(done.stdout.splitlines()).probes


def test_servers_are_tried_without_curl_too(bare_path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        open_port = f"http://127.0.0.1:{server.getsockname()[1]}"
        probes = asked(open_port, "http://127.0.0.1:1/x", "https://nowhere.invalid/", path=bare_path)
    assert {url: probe.status for url, probe in probes.items()} == {
        open_port: 0,
        "http://127.0.0.1:1/x": 7,
        "https://nowhere.invalid/": 6,
    }


def test_without_curl_an_ipv6_address_is_tried_and_not_looked_up(bare_path: str) -> None:
    probes = asked("http://[::1]:1/x", "http://[::1]/", path=bare_path)
    assert probes["http://[::1]:1/x"].status == 7
    # Something may well serve port 80 here.
    assert probes["http://[::1]/"].status in (0, 7)


def test_a_curl_that_fails_is_no_server_that_answers(bare_path: str) -> None:
    broken = Path(bare_path, "curl")
    broken.write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    broken.chmod(0o755)
    assert asked("http://127.0.0.1:1", path=bare_path)["http://127.0.0.1:1"] == Probe(status=1, said="broken")


@pytest.mark.parametrize(
    ("kubelet", "files", "fetches"),
    [
        ("1.36.3-1.1", {"kubelet.conf"}, False),
        # kubelet.conf is what makes a node; without it the same machine has everything still to fetch.
        ("1.36.3-1.1", set(), True),
        ("1.36.30-1.1", {"kubelet.conf"}, True),
        ("1.35.4-1.1", {"kubelet.conf"}, True),
        ("", {"kubelet.conf"}, True),
    ],
)
def test_a_node_with_the_wanted_release_tries_no_server(kubelet: str, files: set[str], fetches: bool) -> None:
    options = ClusterOptions(kubernetes_version="1.36.3")
    found = KubeadmNodeState(files=frozenset(files))
    assert has_to_fetch(MachineState(kubelet=kubelet), found=found, options=options) is fetches
