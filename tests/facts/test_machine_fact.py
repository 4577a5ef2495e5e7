"""Reading a machine: the parser of the script's output, and the script on the machine that runs the tests."""

import ipaddress
import os
import socket
import subprocess
import time
from pathlib import Path, PurePosixPath

import pytest

from kubeadm_deploys.facts.kubeadm_node import SAVED_ETCD
from kubeadm_deploys.facts.machine import DISKS, Disk, Machine, MachineState, Route
from tests.support.bare_path import link_essentials
from tests.support.remote_scripts import with_path

OUTPUT = """\
started 1000.500000000
os debian 12
architecture amd64
kernel 6.1.0-28-amd64
container none
systemd yes
missing:ip
no-module:br_netfilter
cgroup 2 cpuset cpu io memory hugetlb pids rdma misc
memory 2014840
cpus 2
disk:/ 9437184 20971520 /
disk:/var/lib/etcd 1048576 2097152 /var/lib/etcd
hostname cp-1
machine-id 3d1219c7c4c5404aaa1f6d2a48adfda4
product-uuid 4C4C4544-0035
mtu:lo 65536
mtu:enp7s0 1450
mac:enp7s0 86:00:00:12:34:56
address:127.0.0.1 lo
address:10.0.0.2 enp7s0
route 10.0.0.0/16 via 10.0.0.1 dev enp7s0
route blackhole 10.244.0.64/26 proto 80
route 10.0.0.1 dev enp7s0 scope link
route unreachable default metric 4278198272
route \tnexthop via 10.0.0.1 dev enp7s0 weight 1
kernel-route wg0 0000600A 0000F0FF
kernel-route eth0 00000000 00000000
kernel-route * 4000F40A C0FFFFFF
listener 6443 nginx
listener 10250
kernel-listener 094B
process:k3s-server
data:/var/lib/rancher/k3s
docker 3
tasks:k8s.io 7
tasks:default 1
etcd-entry:member
kubelet 1.36.3-1.1
api-server 1.36.3
finished 1002.000000000
"""


def test_the_scripts_output_is_parsed() -> None:
    state = Machine().process(OUTPUT.splitlines())
    assert state.os == ("debian", "12")
    assert (state.architecture, state.kernel) == ("amd64", "6.1.0-28-amd64")
    assert (state.in_container, state.systemd) == (False, True)
    assert (state.missing_tools, state.missing_modules) == (("ip",), ("br_netfilter",))
    assert state.cgroup == 2 and {"cpuset", "memory", "pids"} <= state.controllers
    assert (state.memory // 1024**2, state.cpus) == (1967, 2)
    assert state.disks == {
        "/": Disk(mount="/", free=9 * 1024**3, size=20 * 1024**3),
        "/var/lib/etcd": Disk(mount="/var/lib/etcd", free=1024**3, size=2 * 1024**3),
    }
    assert (state.hostname, state.product_uuid) == ("cp-1", "4c4c4544-0035")
    assert state.machine_id == "3d1219c7c4c5404aaa1f6d2a48adfda4"
    assert state.macs == {"enp7s0": "86:00:00:12:34:56"}
    assert state.addresses == {"127.0.0.1": "lo", "10.0.0.2": "enp7s0"}
    assert (state.mtu_of("10.0.0.2"), state.mtu_of("10.0.0.9")) == (1450, 0)
    assert state.routes == (
        Route(network=ipaddress.IPv4Network("10.0.0.0/16"), device="enp7s0"),
        Route(network=ipaddress.IPv4Network("10.244.0.64/26"), protocol="80"),
        Route(network=ipaddress.IPv4Network("10.0.0.1/32"), device="enp7s0"),
        Route(network=ipaddress.IPv4Network("10.96.0.0/12"), device="wg0"),
    )
    assert state.listeners == ((2379, ""), (6443, "nginx"), (10250, ""))
    assert (state.processes, state.leftovers) == (frozenset({"k3s-server"}), ("/var/lib/rancher/k3s",))
    assert (state.docker, state.tasks) == (3, {"k8s.io": 7, "default": 1})
    assert state.etcd_entries == frozenset({"member"})
    assert (state.kubelet, state.api_server) == ("1.36.3-1.1", "1.36.3")


def test_missing_values_are_not_an_error() -> None:
    assert Machine().process(["started N", "memory ", "cpus ", "disk:/   "]) == MachineState()


def test_other_facts_of_the_command_do_not_make_the_clock_less_certain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The script finished after a second, and the other facts took a minute more.
    now = iter((100.0, 161.5))
    monkeypatch.setattr(time, "time", lambda: next(now))
    fact = Machine()
    fact.command()
    fact.ended = 1061.3
    clock = fact.process(["started 1000.2", "finished 1001.2"]).clock
    assert clock is not None
    assert (round(clock.least, 3), round(clock.most, 3)) == (899.8, 900.2)


def test_the_clocks_uncertainty_is_the_time_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    # Sent at 100.0, arrived 0.2 s later at a clock that is 900 s ahead; the script took 5 s.
    now = iter((100.0, 105.5))
    monkeypatch.setattr(time, "time", lambda: next(now))
    fact = Machine()
    fact.command()
    clock = fact.process(["started 1000.2", "finished 1005.2"]).clock
    assert clock is not None
    assert (round(clock.least, 3), round(clock.most, 3)) == (899.7, 900.2)
    assert clock.least <= 900 <= clock.most


def this_machine(*, path: str = os.environ["PATH"]) -> MachineState:
    """Run the script on this machine; it must neither fail nor print errors."""
    fact = Machine()
    script = with_path(fact.command(), path)
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return fact.process(done.stdout.splitlines())


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        # A separate filesystem has the first, a machine that was joined again the second.
        (["lost+found"], set()),
        (["lost+found", PurePosixPath(SAVED_ETCD).name], set()),
        (["lost+found", "member"], {"member"}),
        (["default.etcd", "lost+found2"], {"default.etcd", "lost+found2"}),
    ],
)
def test_only_etcds_own_entries_count_as_etcd_data(
    tmp_path: Path, entries: list[str], found: set[str]
) -> None:
    for entry in entries:
        (tmp_path / entry).mkdir()
    script = Machine().command().get_raw_value()
    script = script.replace("/var/lib/etcd/", f"{tmp_path}/")
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True)
    assert Machine().process(done.stdout.splitlines()).etcd_entries == found


@pytest.fixture
def bare_path(tmp_path: Path) -> str:
    return link_essentials(tmp_path)


def test_this_machine_is_read() -> None:
    state = this_machine()
    assert state.clock is not None and state.clock.least <= 0 <= state.clock.most
    assert state.clock.most - state.clock.least < 5
    assert state.kernel == os.uname().release
    assert state.hostname == socket.gethostname()
    assert state.memory == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024 * 1024
    assert state.cpus == len(os.sched_getaffinity(0))
    assert state.cgroup in (0, 1, 2)
    assert set(state.disks) == set(DISKS) and all(disk.size > disk.free > 0 for disk in state.disks.values())
    assert "127.0.0.1" in state.addresses


def test_without_iproute_and_curl_files_in_proc_are_read(bare_path: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as bound:
        port = server.getsockname()[1]
        bound.bind(("127.0.0.1", 0))
        with socket.create_connection(("127.0.0.1", port)) as client:
            bare = this_machine(path=bare_path)
            full = this_machine()
            others = {bound.getsockname()[1], client.getsockname()[1]}
    assert "ip" in bare.missing_tools
    assert set(bare.addresses) >= {address for address, name in full.addresses.items() if name == "lo"}
    assert {route.network for route in bare.routes} <= {route.network for route in full.routes}
    # Other ports of this machine may change meanwhile.
    listening = {port for port, _ in bare.listeners}
    assert port in listening
    assert not others & listening
    assert (bare.memory, bare.cpus, bare.disks.keys()) == (full.memory, full.cpus, full.disks.keys())


def test_a_failing_program_counts_as_missing(bare_path: str) -> None:
    broken = Path(bare_path, "ss")
    broken.write_text("#!/bin/sh\necho broken >&2\nexit 2\n")
    broken.chmod(0o755)
    assert this_machine(path=bare_path).hostname == socket.gethostname()


@pytest.mark.parametrize(("rows", "read"), [(4, True), (3, False)])
def test_disks_are_unknown_if_one_of_them_has_no_row(bare_path: str, rows: int, read: bool) -> None:
    fake_df = Path(bare_path, "df")
    fake_df.unlink()
    row = "/dev/vda1 100 60 40 60% /somewhere"
    fake_df.write_text("#!/bin/sh\ncat <<'END'\nFilesystem\n" + f"{row}\n" * rows + "END\n")
    fake_df.chmod(0o755)
    disk = Disk(mount="/somewhere", free=40 * 1024, size=100 * 1024)
    assert this_machine(path=bare_path).disks == (dict.fromkeys(DISKS, disk) if read else {})


@pytest.mark.parametrize(("status", "routed"), [(0, True), (2, False)])
def test_a_route_to_the_gateway_of_pods_is_one_that_ip_finds(
    bare_path: str, status: int, routed: bool
) -> None:
    fake_ip = Path(bare_path, "ip")
    fake_ip.write_text(f'#!/bin/sh\nif [ "$*" = "-4 route get 169.254.1.1" ]; then exit {status}; fi\n')
    fake_ip.chmod(0o755)
    assert this_machine(path=bare_path).gateway_route is routed


def test_listeners_are_read_with_their_programs(bare_path: str) -> None:
    fake_ss = Path(bare_path, "ss")
    fake_ss.write_text(
        "#!/bin/sh\ncat <<'END'\n"
        'LISTEN 0 4096 127.0.0.1:2379 0.0.0.0:* users:(("etcd",pid=7,fd=3))\n'
        'LISTEN 0 4096 *:6443 *:* users:(("kube-apiserver",pid=9,fd=3),("x",pid=9,fd=4))\n'
        "LISTEN 0 128 [::]:22 [::]:*\nEND\n"
    )
    fake_ss.chmod(0o755)
    assert this_machine(path=bare_path).listeners == ((22, ""), (2379, "etcd"), (6443, "kube-apiserver"))
