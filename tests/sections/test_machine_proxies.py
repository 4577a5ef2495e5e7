"""The proxies of a machine: which hosts are reached directly, and the files for containerd, apt and downloads."""

import ipaddress
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from pyinfra.api.command import StringCommand

from kubeadm_deploys.cluster.kubeadm import kubeadm
from kubeadm_deploys.documents.templates import sha256
from kubeadm_deploys.facts.machine import MachineState, Route, network_of
from kubeadm_deploys.model.nodes import Node
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.model.proxies import NO_PROXIES, Proxies, proxies_of
from kubeadm_deploys.operations import release
from kubeadm_deploys.scripts import text
from kubeadm_deploys.sections import machine_proxies
from kubeadm_deploys.sections.machine_proxies import (
    MachineProxies,
    MachineProxiesState,
    intact_files,
    mark_of,
    proxy_files,
)
from tests.support.remote_scripts import with_programs

PROXY = "http://bob:p%40ss@10.9.9.9:3128"
CP, W1, W2 = (
    Node(host=ip, name=f"n{ip[-1]}", ip=ip, address=ip) for ip in ("10.0.0.2", "10.0.0.3", "10.0.1.4")
)
NETWORK = ipaddress.IPv4Network("10.0.0.0/24")
OPTIONS = ClusterOptions(
    cluster_name="demo",
    http_proxy=PROXY,
    https_proxy="http://10.9.9.9:3129",
    no_proxy=[".corp.example", "registry.example"],
    dns_domain="demo.local",
    api_load_balancer_address="10.7.7.7",
    mirror="http://10.0.0.9:8080",
)
ALWAYS = ("10.244.0.0/16", "10.96.0.0/12", "api.demo.internal", "10.7.7.7", ".svc", ".svc.demo.local")


def proxies(*nodes: Node, network: ipaddress.IPv4Network | None = NETWORK) -> Proxies:
    return proxies_of(OPTIONS, node=CP, nodes=nodes, network=network)


def test_the_clusters_own_names_addresses_and_networks_are_reached_directly() -> None:
    local, user = ("localhost", "127.0.0.1"), (".corp.example", "registry.example")
    assert proxies(CP, W1, W2).direct == (*local, "10.0.0.0/24", "10.0.1.4", *ALWAYS, *user, "10.0.0.9")
    # Without the network nothing says that the mirror is on it.
    nodes = ("10.0.0.2", "10.0.0.3", "10.0.1.4")
    assert proxies(CP, W1, W2, network=None).direct == (*local, *nodes, *ALWAYS, *user)


def test_a_new_node_of_the_same_network_changes_the_list_of_apt_only() -> None:
    files = [proxy_files(proxies(*nodes), nodes=nodes) for nodes in ([CP], [CP, W1])]
    differing = [path for path in machine_proxies.FILES if files[0][path] != files[1][path]]
    assert differing == [machine_proxies.APT_FILE]
    assert mark_of(files[0]) == mark_of(files[1])


@pytest.mark.parametrize(
    ("host", "bypassed"),
    [
        ("10.0.0.77", True),
        ("10.1.0.77", False),
        ("registry.example", True),
        ("a.registry.example", True),
        ("oregistry.example", False),
        ("a.corp.example", True),
        ("github.com", False),
    ],
)
def test_hosts_are_matched_as_go_and_curl_match_them(host: str, bypassed: bool) -> None:
    assert proxies(CP).bypasses(host) is bypassed


def test_the_network_of_an_address_is_the_most_specific_one() -> None:
    def machine(*networks: str) -> MachineState:
        return MachineState(
            routes=tuple(Route(network=ipaddress.IPv4Network(network)) for network in networks)
        )

    assert network_of(machine("0.0.0.0/1", "10.0.0.0/8", "10.0.0.0/24", "10.1.0.0/24"), CP.ip) == NETWORK
    assert network_of(machine("0.0.0.0/1", "10.1.0.0/24"), CP.ip) is None


def test_shells_and_containerd_get_the_same_variables(tmp_path: Path) -> None:
    file = tmp_path / "proxies.env"
    file.write_text(machine_proxies.environment(proxies(CP)))
    lines = dict(line.split("=", 1) for line in file.read_text().splitlines())
    done = subprocess.run(
        ["env", "-i", "sh", "-c", f"set -a; . {file}; exec /usr/bin/env"],
        capture_output=True,
        text=True,
        check=True,
    )
    sourced = dict(line.split("=", 1) for line in done.stdout.splitlines())
    assert lines.items() <= sourced.items()
    assert lines["http_proxy"] == lines["HTTP_PROXY"] == PROXY
    assert lines["no_proxy"] == lines["NO_PROXY"] == ",".join(proxies(CP).direct)


def test_apt_gets_every_host_by_its_name() -> None:
    lines = machine_proxies.apt_configuration(proxies(CP, W1), nodes=[CP, W1]).splitlines()
    assert lines[:2] == [f'Acquire::http::Proxy "{PROXY}";', 'Acquire::https::Proxy "http://10.9.9.9:3129";']
    direct = {line.split("::")[3] for line in lines[2:]}
    user = ("registry.example", "10.0.0.9")
    hosts = ("localhost", "127.0.0.1", "api.demo.internal", "10.7.7.7", *user, CP.ip, W1.ip)
    assert direct == {f'{name} "DIRECT";' for name in hosts}
    assert len(lines) == 2 + 2 * len(direct)


def test_without_proxies_there_are_no_files() -> None:
    assert proxies_of(ClusterOptions(no_proxy="a"), node=CP, nodes=[CP], network=NETWORK) is NO_PROXIES
    assert proxy_files(NO_PROXIES, nodes=[CP]) == {}
    assert mark_of({}) == ""


def test_the_password_is_in_private_files_only() -> None:
    files = proxy_files(proxies(CP), nodes=[CP])
    holding = {path for path, content in files.items() if "p%40ss" in content}
    assert (
        holding
        == set(machine_proxies.private(files))
        == {machine_proxies.ENVIRONMENT_FILE, machine_proxies.APT_FILE}
    )
    assert "p%40ss" not in repr(proxies(CP)) + repr(OPTIONS)


def test_a_file_with_a_password_that_others_can_read_is_written_again(tmp_path: Path) -> None:
    wanted = proxy_files(proxies(CP), nodes=[CP])
    secret, apt, drop_in = machine_proxies.FILES
    found = MachineProxiesState(
        files={path: sha256(content) for path, content in wanted.items()},
        readable=frozenset({secret, drop_in}),
    )
    assert intact_files(found, wanted=wanted).keys() == {apt, drop_in}
    for name, mode in (("private", 0o600), ("readable", 0o604)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    command = MachineProxies().command(
        paths=tuple(str(tmp_path / name) for name in ("private", "readable", "none"))
    )
    done = subprocess.run(["sh", "-c", command.get_raw_value()], capture_output=True, text=True, check=True)
    assert MachineProxies().process(done.stdout.splitlines()).readable == {str(tmp_path / "readable")}


def test_what_containerd_runs_with_is_read() -> None:
    files = proxy_files(proxies(CP), nodes=[CP])
    state = MachineProxies().process([f"running {mark_of(files)}", "file:/a 1f"])
    assert state == MachineProxiesState(files={"/a": "1f"}, running=mark_of(files))
    assert MachineProxies().process(["running "]).running == ""
    assert MachineProxies().process([]).running is None


@pytest.mark.parametrize(
    ("mark", "ours", "running"), [("ab12", True, "ab12"), ("", True, ""), ("ab12", False, None)]
)
def test_the_mark_is_read_from_the_process_of_our_containerd(
    tmp_path: Path, mark: str, ours: bool, running: str | None
) -> None:
    containerd = tmp_path / "containerd"
    shutil.copy(str(shutil.which("sleep")), containerd)
    with subprocess.Popen([containerd, "60"], env={"A": "b", "KUBEADM_DEPLOYS_PROXIES": mark}) as process:
        program(tmp_path, "systemctl", f"echo {process.pid}")
        command = with_programs(MachineProxies().command(paths=()), tmp_path)
        if ours:
            command = command.replace("/usr/local/bin/containerd", str(containerd))
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
        process.kill()
    assert (MachineProxies().process(done.stdout.splitlines()).running, done.stderr) == (running, "")


def test_without_containerd_nothing_runs(tmp_path: Path) -> None:
    program(tmp_path, "systemctl", "echo 0")
    command = with_programs(MachineProxies().command(paths=()), tmp_path)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def run(command: StringCommand, *, programs: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    shell = with_programs(command, programs).replace("/run/kubeadm-deploys", f"{programs}/kubeadm-deploys")
    return subprocess.run(
        ["sh", "-c", shell.replace("/etc/kubeadm-deploys", str(programs))],
        input=str(command.connector_arguments.get("_stdin", "")),
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_downloads_use_the_options_proxies_and_not_the_machines(tmp_path: Path) -> None:
    program(tmp_path, "curl", 'echo "<$http_proxy><$no_proxy>" >&2; exit 1')
    (command,) = release.file._inner(url="http://a/b", sha256="0", dest=f"{tmp_path}/to/file", mode="0755")
    machine = {"http_proxy": "http://elsewhere:1"}
    assert "<><>" in run(command, programs=tmp_path, **machine).stderr
    (tmp_path / "proxies.env").write_text("http_proxy=http://ours:1\nno_proxy=b\n")
    assert "<http://ours:1><b>" in run(command, programs=tmp_path, **machine).stderr


def test_kubeadm_runs_without_proxies_even_if_systemd_has_some(tmp_path: Path) -> None:
    # systemd-run's options are left out up to the shell that it starts.
    program(
        tmp_path,
        "systemd-run",
        'until [ "$1" = sh ]; do shift; done\nexport https_proxy=http://p:1 NO_PROXY=x\nexec "$@"',
    )
    program(tmp_path, "kubeadm", "env; cat")
    done = run(kubeadm("init", stdin="the document\n"), programs=tmp_path, HTTP_PROXY="http://p:1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the document" in done.stdout and "PATH=" in done.stdout
    assert "proxy" not in done.stdout.lower()


def test_image_pulls_get_the_file() -> None:
    assert f"EnvironmentFile=-{machine_proxies.ENVIRONMENT_FILE} " in text("pull-images")
    assert machine_proxies.ENVIRONMENT_FILE in text("library/proxies")
