"""The double's data centre in docker behaves like Hetzner's, seen from inside and outside its servers.

It is part of `make chaos`: it tests the double, not the package, whose cluster on it is in `test_hetzner.py`.
"""

import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT, completed
from tests.e2e.room import places, room
from tests.lab import hosts, layout
from tests.lab.docker import docker
from tests.lab.hetzner import docker_images
from tests.lab.hetzner.backend import Machine
from tests.lab.hetzner.docker_backend import OWNER_LABEL, DockerBackend, remove_leftovers

pytestmark = pytest.mark.chaos

NETWORK = 900
FIRST, SECOND, PLAIN = 901, 902, 903
BALANCER, PRIVATE_BALANCER = 911, 912
PRIVATE = {FIRST: "10.99.0.2", SECOND: "10.99.0.3", BALANCER: "10.99.0.4", PRIVATE_BALANCER: "10.99.0.5"}
EVERYBODY = ["0.0.0.0/0", "::/0"]
WEB, NODE_PORT, TLS = 8080, 30080, 6443

USER_DATA = """\
#cloud-config
write_files:
  - path: /srv/index.html
    content: served
  - path: /etc/systemd/system/web.service
    content: |
      [Service]
      WorkingDirectory=/srv
      ExecStart=python3 -m http.server 8080
      [Install]
      WantedBy=multi-user.target
  - path: /etc/systemd/system/tls.service
    content: |
      [Service]
      ExecStart=openssl s_server -accept 6443 -key /root/key -cert /root/cert -www -quiet
      [Install]
      WantedBy=multi-user.target
runcmd:
  - openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -keyout /root/key -out /root/cert
  - systemctl enable --now web tls
"""


@dataclass
class Site:
    """Two servers in a private network, and a load balancer."""

    backend: DockerBackend
    key: Path
    public: dict[int, str]
    macs: dict[int, str]
    metadata_clients: list[str]
    """Addresses of the servers that requested metadata."""

    def ssh(self, server: int, command: str, *, timeout: float = 60) -> str:
        """Run a command on a server and return its output."""
        done = self._ssh(server, command, timeout=timeout)
        assert done.returncode == 0, f"{command!r} on {server}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def await_ssh(self, server: int) -> None:
        """Wait until cloud-init has set up SSH access."""
        until(lambda: self._ssh(server, "true", timeout=10).returncode == 0, what=f"ssh to {server}")

    def connects(self, server: int, address: str, port: int) -> bool:
        """Return whether a server can open a TCP connection; not over SSH, which a firewall may block."""
        script = f"exec 3<>/dev/tcp/{address}/{port}"
        command = ("docker", "exec", f"kubeadm-deploys-hcloud-{server}", "timeout", "1", "bash", "-c", script)
        return completed(command).returncode == 0

    def allow(self, *rules: dict[str, Any]) -> None:
        """Put the first server behind a firewall that allows SSH and these rules."""
        self.backend.apply_firewall(server_id=FIRST, rules=[rule(port="22"), *rules])

    def _ssh(self, server: int, command: str, *, timeout: float) -> subprocess.CompletedProcess[str]:
        options = (
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "ConnectTimeout=2",
            "LogLevel=ERROR",
        )
        return subprocess.run(
            (
                *("ssh", "-i", str(self.key), *(f"-o{option}" for option in options)),
                *(f"root@{self.public[server]}", command),
            ),
            capture_output=True,
            text=True,
            timeout=timeout,
        )


def rule(
    *, port: str | None = None, protocol: str = "tcp", source_ips: Sequence[str] = EVERYBODY
) -> dict[str, Any]:
    return {
        **{"direction": "in", "protocol": protocol, "port": port},
        **{"source_ips": list(source_ips), "destination_ips": []},
    }


def until(read: Callable[[], object], *, wanted: object = True, what: str) -> None:
    """Wait until ``read`` returns ``wanted``; the deadline allows for a busy machine."""
    deadline = time.monotonic() + 60
    while (seen := read()) != wanted:
        assert time.monotonic() < deadline, f"{what}: still {seen!r} after a minute, not {wanted!r}"
        time.sleep(0.1)


def is_open(address: str, port: int) -> bool:
    """Return whether the operator's machine, which is outside, can open a TCP connection."""
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def get(address: str, port: int) -> str:
    """Return the last line of a web server's answer; every call opens a new connection."""
    with socket.create_connection((address, port), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        answer = b""
        while received := connection.recv(4096):
            answer += received
    return answer.decode().splitlines()[-1] if answer else ""


@pytest.fixture(scope="module")
def metadata_clients() -> Iterator[tuple[int, list[str]]]:
    """Run a web server instead of the API; yield its port, and the addresses of its clients."""
    clients: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            clients.append(self.client_address[0])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.path.encode())

        def log_message(self, *arguments: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer((layout.GATEWAY, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], clients
        server.shutdown()


@pytest.fixture(scope="module")
def space(lab: None) -> Iterator[None]:
    """Reserve room: images are made, and servers boot through all of cloud-init."""
    with room(places(control_planes=1, workers=2)):
        yield


@pytest.fixture(scope="module")
def site(
    space: None, tmp_path_factory: pytest.TempPathFactory, metadata_clients: tuple[int, list[str]]
) -> Iterator[Site]:
    key = tmp_path_factory.mktemp("ssh") / "id_ed25519"
    subprocess.run(("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)), check=True)
    port, clients = metadata_clients
    backend = DockerBackend(api_port=port)
    try:
        public = {server: backend.public_address() for server in (FIRST, SECOND, BALANCER)}
        backend.create_network(network_id=NETWORK, ip_range="10.99.0.0/16")
        macs: dict[int, str] = {}

        def make(server: int, *, name: str, image: str) -> None:
            backend.create_server(
                server=Machine(
                    id=server,
                    name=name,
                    image=image,
                    public_ipv4=public[server],
                    ssh_keys=(key.with_suffix(".pub").read_text(),),
                    user_data=USER_DATA,
                )
            )
            macs[server] = backend.attach(
                resource="server", resource_id=server, network_id=NETWORK, ip=PRIVATE[server]
            )

        with ThreadPoolExecutor() as pool:
            futures = [
                pool.submit(make, FIRST, name="demo-control-plane-1", image="debian-13"),
                pool.submit(make, SECOND, name="demo-worker-1", image="debian-12"),
            ]
            for future in futures:
                future.result()
        site = Site(backend=backend, key=key, public=public, macs=macs, metadata_clients=clients)
        for server in (FIRST, SECOND):
            site.await_ssh(server)
            site.ssh(server, "cloud-init status --wait")
        yield site
    finally:
        backend.close()
        assert not left_behind(backend.owner)


def is_booted(container: str) -> bool:
    """Return whether systemd has started everything."""
    command = ("docker", "exec", container, "systemctl", "is-system-running")
    return completed(command).stdout.strip() == "running"


def left_behind(owner: str) -> list[str]:
    """Return everything in docker that belongs to a backend."""
    label = f"--filter=label={OWNER_LABEL}={owner}"
    listings = (("ps", "--all"), ("network", "ls"), ("volume", "ls"))
    return [name for listing in listings for name in docker(*listing, "--quiet", label).split()]


@pytest.mark.parametrize(("server", "name"), [(FIRST, "demo-control-plane-1"), (SECOND, "demo-worker-1")])
def test_cloud_init_configures_a_server(site: Site, server: int, name: str) -> None:
    assert site.ssh(server, "cloud-init status --wait").endswith("status: done")
    assert site.ssh(server, "hostname; hostname --fqdn").split() == [name, name]
    assert site.ssh(server, "systemctl is-system-running --wait") == "running"
    assert "manage_etc_hosts" in site.ssh(server, "cat /etc/hosts")
    assert site.ssh(server, "cat /srv/index.html") == "served"


def test_every_server_has_its_own_host_keys(site: Site) -> None:
    keys = {
        site.ssh(server, "cat /etc/ssh/ssh_host_ed25519_key.pub").split()[1] for server in (FIRST, SECOND)
    }

    assert len(keys) == 2


def test_the_private_interface_matches_the_api(site: Site) -> None:
    links = {link["address"]: link for link in json.loads(site.ssh(FIRST, "ip -json address"))}

    private = links[site.macs[FIRST]]
    assert private["mtu"] == 1450
    assert [address["local"] for address in private["addr_info"]] == [PRIVATE[FIRST]]
    assert site.ssh(FIRST, "ip route show default") == f"default via {layout.GATEWAY} dev eth0"
    # 1450 bytes with headers, which must not be fragmented.
    site.ssh(FIRST, f"ping -c 1 -W 2 -M do -s 1422 {PRIVATE[SECOND]}")


def test_only_members_reach_a_private_network(site: Site) -> None:
    assert site.connects(FIRST, PRIVATE[SECOND], WEB)
    assert not is_open(PRIVATE[SECOND], WEB)


def test_metadata_requests_reach_the_api_with_the_servers_address(site: Site) -> None:
    path = "/hetzner/v1/metadata"

    assert site.ssh(SECOND, f"curl --silent http://169.254.169.254{path}") == path
    assert site.metadata_clients[-1] == site.public[SECOND]


@pytest.fixture
def node_port(site: Site) -> Iterator[str]:
    """Forward a port of the first server to the second one's web server, as kube-proxy does."""
    rules = (
        "table ip node-port {",
        "chain prerouting {\ntype nat hook prerouting priority dstnat;",
        f"tcp dport {NODE_PORT} dnat to {PRIVATE[SECOND]}:{WEB}\n}}",
        "chain postrouting {\ntype nat hook postrouting priority srcnat;",
        f"ip daddr {PRIVATE[SECOND]} masquerade\n}}\n}}",
    )
    _nft(FIRST, "-f", "-", input="\n".join(rules))
    site.ssh(FIRST, "sysctl --write net.ipv4.ip_forward=1")
    yield site.public[FIRST]
    _nft(FIRST, "delete table ip node-port")


@pytest.fixture
def unprotected(site: Site) -> Iterator[None]:
    """Remove the firewall after the test."""
    yield
    site.backend.apply_firewall(server_id=FIRST, rules=None)


def test_a_firewall_closes_what_it_does_not_allow(site: Site, node_port: str, unprotected: None) -> None:
    assert is_open(site.public[FIRST], WEB)
    assert is_open(node_port, NODE_PORT)

    site.allow()

    assert is_open(site.public[FIRST], 22)
    assert not is_open(site.public[FIRST], WEB)
    assert not is_open(node_port, NODE_PORT)
    assert not site.connects(SECOND, site.public[FIRST], WEB)


def test_a_firewall_lets_answers_and_the_private_network_through(
    site: Site, node_port: str, unprotected: None
) -> None:
    site.allow()

    assert site.ssh(
        FIRST, f"curl --silent --max-time 5 --output /dev/null --write-out ok {layout.MIRROR_URL}"
    )
    assert site.connects(SECOND, PRIVATE[FIRST], WEB)
    assert site.connects(SECOND, PRIVATE[FIRST], NODE_PORT)


def test_a_rule_only_allows_its_sources_and_protocol(site: Site, node_port: str, unprotected: None) -> None:
    ping = ("ping", "-c", "1", "-W", "1", site.public[FIRST])
    site.allow(
        rule(port=f"{NODE_PORT}-{NODE_PORT + 1}"), rule(port=str(WEB), source_ips=[f"{layout.GATEWAY}/32"])
    )

    assert is_open(node_port, NODE_PORT)
    assert is_open(site.public[FIRST], WEB)
    assert not site.connects(SECOND, site.public[FIRST], WEB)
    assert _from_outside(*ping) != 0

    site.allow(rule(protocol="icmp"))

    assert _from_outside(*ping) == 0


def test_outbound_rules_block_everything_else(site: Site, unprotected: None) -> None:
    allowed = {**rule(port="80"), "direction": "out", "destination_ips": [f"{layout.MIRROR_ADDRESS}/32"]}
    site.allow(allowed)

    assert site.connects(FIRST, layout.MIRROR_ADDRESS, 80)
    assert not site.connects(FIRST, site.public[SECOND], 22)
    assert site.connects(FIRST, PRIVATE[SECOND], WEB)
    assert is_open(site.public[FIRST], 22)


@pytest.fixture(scope="module")
def balancer(site: Site) -> str:
    """Make a load balancer for both web servers that checks their HTTPS port; return its public address."""
    site.backend.create_load_balancer(
        load_balancer_id=BALANCER, name="demo", public_ipv4=site.public[BALANCER]
    )
    site.backend.attach(
        resource="load_balancer", resource_id=BALANCER, network_id=NETWORK, ip=PRIVATE[BALANCER]
    )
    balance(site, targets=(FIRST, SECOND))
    return site.public[BALANCER]


def balance(site: Site, *, targets: Sequence[int]) -> None:
    http_check = {"domain": None, "path": "/readyz", "status_codes": ["200"], "tls": True}
    service = {
        **{"protocol": "tcp", "listen_port": 80, "destination_port": WEB, "proxyprotocol": False},
        "health_check": {
            **{"protocol": "http", "port": TLS, "interval": 1, "timeout": 5, "retries": 2},
            "http": http_check,
        },
    }
    site.backend.configure_load_balancer(
        load_balancer_id=BALANCER, services=[service], targets=[PRIVATE[target] for target in targets]
    )


def healthy(site: Site) -> set[str]:
    health = site.backend.target_health(load_balancer_id=BALANCER)
    return {target for (target, port), passes in health.items() if passes and port == 80}


def test_a_load_balancer_skips_targets_that_fail_its_check(site: Site, balancer: str) -> None:
    for server, text in ((FIRST, "first"), (SECOND, "second")):
        site.ssh(server, f"echo {text} > /srv/index.html")
    both = {PRIVATE[FIRST], PRIVATE[SECOND]}
    until(lambda: healthy(site), wanted=both, what="healthy targets")
    assert {get(balancer, 80) for _ in range(4)} == {"first", "second"}

    site.ssh(FIRST, "systemctl stop tls")

    until(lambda: healthy(site), wanted={PRIVATE[SECOND]}, what="healthy targets")
    assert {get(balancer, 80) for _ in range(4)} == {"second"}
    # A new configuration keeps the known health.
    balance(site, targets=(FIRST, SECOND))
    assert {get(balancer, 80) for _ in range(4)} == {"second"}

    site.ssh(FIRST, "systemctl start tls")
    until(lambda: healthy(site), wanted=both, what="healthy targets")


def test_a_load_balancer_is_in_the_private_network(site: Site, balancer: str) -> None:
    assert site.connects(SECOND, PRIVATE[BALANCER], 80)


def test_a_new_configuration_drops_no_connection(site: Site, balancer: str) -> None:
    with socket.create_connection((balancer, 80), timeout=5) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n")
        balance(site, targets=(SECOND,))
        balance(site, targets=(FIRST, SECOND))
        connection.sendall(b"\r\n")

        assert connection.recv(4096).startswith(b"HTTP/1.0 200")


def test_a_load_balancer_may_be_private(site: Site) -> None:
    site.backend.create_load_balancer(load_balancer_id=PRIVATE_BALANCER, name="private", public_ipv4="")
    site.backend.attach(
        resource="load_balancer",
        resource_id=PRIVATE_BALANCER,
        network_id=NETWORK,
        ip=PRIVATE[PRIVATE_BALANCER],
    )

    (container,) = json.loads(
        docker("container", "inspect", f"kubeadm-deploys-hcloud-load-balancer-{PRIVATE_BALANCER}")
    )
    assert list(container["NetworkSettings"]["Networks"]) == [f"kubeadm-deploys-hcloud-network-{NETWORK}"]
    site.backend.delete_load_balancer(load_balancer_id=PRIVATE_BALANCER)


def test_a_reboot_keeps_everything(site: Site, unprotected: None) -> None:
    seen = (
        'ip -json address | grep --only-matching \'"address":"[^"]*"\'; ip route show default; '
        "ip -brief -4 address | tr -s ' @' ' '| cut -d' ' -f1,4-; cat /etc/ssh/*.pub /etc/machine-id; hostname"
    )
    site.allow()
    before = site.ssh(FIRST, seen)

    site.backend.reboot(server_id=FIRST)
    site.await_ssh(FIRST)

    assert site.ssh(FIRST, seen) == before
    assert site.ssh(FIRST, "cloud-init status --wait").endswith("status: done")
    until(lambda: site.connects(SECOND, PRIVATE[FIRST], WEB), what="the web server in the private network")
    assert not is_open(site.public[FIRST], WEB)
    assert site.ssh(FIRST, "curl --silent http://169.254.169.254/again") == "/again"


def test_a_server_that_is_off_keeps_its_address(site: Site) -> None:
    site.backend.power(server_id=SECOND, on=False)
    assert site.backend.public_address() not in site.public.values()

    site.backend.power(server_id=SECOND, on=True)
    site.await_ssh(SECOND)


def test_servers_are_not_listed_as_docker_hosts_of_a_cluster(site: Site) -> None:
    assert not {host.address for host in hosts.list_hosts()} & set(site.public.values())


@pytest.fixture
def other() -> Iterator[DockerBackend]:
    """Make another backend with one server that has no special settings."""
    backend = DockerBackend()
    try:
        backend.create_network(network_id=921, ip_range="10.98.0.0/16")
        backend.create_server(
            server=Machine(
                id=PLAIN,
                name="plain",
                image="debian-13",
                public_ipv4=backend.public_address(),
                ssh_keys=(),
                user_data="",
            )
        )
        yield backend
    finally:
        backend.close()


def test_cloud_init_succeeds_without_user_data(other: DockerBackend) -> None:
    container = f"kubeadm-deploys-hcloud-{PLAIN}"

    until(lambda: is_booted(container), what="the end of the boot")
    assert docker("exec", container, "cloud-init", "status", "--wait").strip().endswith("status: done")


def test_close_removes_everything_of_its_backend_and_nothing_else(site: Site, other: DockerBackend) -> None:
    assert len(left_behind(other.owner)) > 2

    other.close()

    assert not left_behind(other.owner)
    assert left_behind(site.backend.owner)


def test_leftovers_of_a_killed_process_are_removed_by_the_next(site: Site) -> None:
    script = (
        "import os; from tests.lab.hetzner.docker_backend import DockerBackend; backend = DockerBackend();"
        "backend.create_network(network_id=922, ip_range='10.97.0.0/16'); print(backend.owner, flush=True);"
        "os.kill(os.getpid(), 9)"
    )
    killed = completed((sys.executable, "-c", script), cwd=ROOT)
    owner = killed.stdout.strip()
    assert left_behind(owner), killed.stderr

    remove_leftovers()

    assert not left_behind(owner)
    assert left_behind(site.backend.owner)


def _nft(server: int, *arguments: str, input: str | None = None) -> None:
    docker(
        *("run", "--rm", "--interactive", f"--network=container:kubeadm-deploys-hcloud-{server}"),
        *("--cap-add=NET_ADMIN", "--entrypoint=nft", docker_images.appliance_image(), *arguments),
        input=input,
    )


def _from_outside(*command: str) -> int:
    """Run a command in a container on the public network, and return its exit code."""
    (program, *arguments) = command
    image = docker_images.server_image(name="debian-13")
    run = ("docker", "run", "--rm", f"--network={layout.NETWORK}", f"--entrypoint={program}", image)
    return completed((*run, *arguments)).returncode
