"""A cluster on hosts whose only way out is a proxy that wants a user and a password.

It is part of `make chaos`: it needs its own cluster, and what it looks at is also tested without one.
"""

import json
from collections.abc import Iterator

import pytest

from kubeadm_deploys.sections.machine_proxies import APT_FILE, FILES
from tests.e2e.conftest import ROOT, Cluster, docker_hosts
from tests.lab import layout, mirror
from tests.lab.host import DATA_LABEL
from tests.lab.proxy import MIRROR_NAME, forward_proxy

pytestmark = pytest.mark.chaos

PASSWORD = "correct-horse-7411"
NOBODY = "10.213.0.9"
PREFLIGHT = ROOT / "deploys/preflight.py"


@pytest.fixture(scope="module")
def address(lab: None) -> Iterator[str]:
    """Run the proxy; return its host and port."""
    with forward_proxy(user="bob", password=PASSWORD) as address:
        yield address


@pytest.fixture(scope="module")
def cluster(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Bare hosts without a route to anything but each other and the proxy."""
    url = f"http://bob:{PASSWORD}@{address}"
    data = {"http_proxy": url, "https_proxy": url}
    if mirror.settings():
        data["mirror"] = f"http://{MIRROR_NAME}"
    with docker_hosts("proxy", folder=tmp_path_factory.mktemp("proxy"), debian=(12, 13), data=data) as made:
        for host in made.hosts:
            # Calico's pods need a default route on their node; nobody has the address of this one.
            closed = f"ip route replace default via {NOBODY}; ip route add blackhole {layout.MIRROR_ADDRESS}"
            made.shell(host.name, closed)
        yield made


def test_preflight_names_a_proxy_that_refuses_or_does_not_answer(cluster: Cluster, address: str) -> None:
    for proxy, problem in (
        (f"bob:wrong-horse@{address}", f"{address}, which refuses its user and password"),
        (f"bob:wrong-horse@{layout.PROXY_ADDRESS}:1", f"{layout.PROXY_ADDRESS}:1, which does not answer"),
    ):
        urls = [f"--data={name}=http://{proxy}" for name in ("http_proxy", "https_proxy")]
        run = cluster.pyinfra("-y", *urls, deploy=PREFLIGHT)
        assert run.exit_code == 1
        assert f"cannot use the proxy {problem}" in run.output
        assert "wrong-horse" not in run.output


def test_a_cluster_comes_up_and_no_output_has_the_password(cluster: Cluster) -> None:
    run = cluster.converge("-vvv")
    # With -vvv, pyinfra also prints docker's description of a host, which has the inventory's data as a label.
    assert [line for line in run.output.splitlines() if PASSWORD in line and DATA_LABEL not in line] == []
    assert cluster.ready_nodes == sorted(host.name for host in cluster.hosts)
    # What the hosts have was fetched through the proxy.
    direct = f"curl --max-time 3 http://{layout.MIRROR_ADDRESS}/ || echo closed"
    assert "closed" in cluster.shell(cluster.worker, direct)


def test_the_cluster_itself_has_no_proxies(cluster: Cluster) -> None:
    manifests = cluster.shell(cluster.control_plane, "cat /etc/kubernetes/manifests/*.yaml")
    kube_proxy = cluster.kubectl("--namespace=kube-system", "get", "daemonset/kube-proxy", "--output=json")
    assert "kube-apiserver" in manifests and json.loads(kube_proxy)["kind"] == "DaemonSet"
    assert "_proxy" not in (manifests + kube_proxy).lower()


def test_the_password_is_only_for_root(cluster: Cluster) -> None:
    folders = "/etc /root /run /tmp /usr/local /var/log"
    for host in cluster.hosts:
        holding = f"find {folders} -xdev -type f -exec grep -lF {PASSWORD} {{}} +"
        modes = cluster.shell(host.name, f"stat -c '%a %n' $({holding})").splitlines()
        assert modes and {mode.partition(" ")[0] for mode in modes} == {"600"}, modes
        shown = cluster.shell(host.name, "ps -eo args; systemctl show containerd.service")
        assert "proxies.env" in shown
        assert PASSWORD not in shown
        # Only root sees the variables of root's processes.
        environment = cluster.shell(host.name, "cat /proc/$(pidof containerd)/environ | tr '\\0' '\\n'")
        assert PASSWORD in environment and "10.213.0.0/24" in environment
        node_addresses = [f"{node.address}" for node in cluster.hosts]
        apt = cluster.shell(host.name, f"cat {APT_FILE}")
        assert all(f'Proxy::{node} "DIRECT";' in apt for node in node_addresses)


def test_a_second_run_changes_nothing(cluster: Cluster) -> None:
    assert cluster.converge().changed == []


def test_taking_the_options_back_removes_the_files(cluster: Cluster) -> None:
    run = cluster.converge("--data=http_proxy=", "--data=https_proxy=")
    assert run.changed == [
        f"Proxies | Remove {FILES[0]} and others",
        "Proxies | Run containerd without proxies",
    ]
    for host in cluster.hosts:
        assert cluster.shell(host.name, f"ls {' '.join(FILES)} 2> /dev/null || true") == ""
        assert PASSWORD not in cluster.shell(host.name, "cat /proc/$(pidof containerd)/environ")
    assert cluster.ready_nodes == sorted(host.name for host in cluster.hosts)
