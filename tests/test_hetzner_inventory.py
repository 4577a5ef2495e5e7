"""The inventory of servers on Hetzner: from the API's answers to hosts that pyinfra and ssh can reach."""

import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyinfra import logger
from pyinfra.api.exceptions import InventoryError
from pyinfra.connectors.sshuserclient.config import SSHConfig

from kubeadm_deploys.hetzner import inventory
from kubeadm_deploys.hetzner.client import HetznerError
from kubeadm_deploys.hetzner.description import ClusterDescription
from kubeadm_deploys.hetzner.inventory_answer import Answer, current_answer, read_record
from kubeadm_deploys.hetzner.inventory_files import (
    forget_known_hosts,
    prepare_known_hosts,
    write_private_file,
)
from kubeadm_deploys.hetzner.inventory_hosts import (
    cluster_data,
    groups_of,
    hosts_of,
    idle_servers,
    load_balancer_addresses,
    running_servers,
)
from kubeadm_deploys.hetzner.inventory_ssh import explain_changed_keys, parse_jump_host, ssh_config
from kubeadm_deploys.hetzner.names import recorded_servers
from kubeadm_deploys.verification.inventory import Machine, read_machines
from tests.hetzner_cluster import client_of, described, make, wait_for_actions, write_key
from tests.lab.hetzner.server import Api, running

ROOT = Path(__file__).parents[1]
NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
STATE = Path("/project/.kubeadm-deploys/demo")


def server(name: str = "demo-worker-1", *, number: int = 42, **changes: Any) -> dict[str, Any]:
    """A server as the API writes it, cut to what is not the same for all."""
    role = "control-plane" if "control-plane" in name else "worker"
    return {
        "id": number,
        "name": name,
        "status": "running",
        "labels": {
            "kubeadm-deploys/cluster": "demo",
            "kubeadm-deploys/role": role,
            "kubeadm-deploys/pool": name.removeprefix("demo-").rpartition("-")[0],
        },
        "public_net": {
            "ipv4": {"id": 1, "ip": "203.0.113.7", "blocked": False, "dns_ptr": "static.example"},
            "ipv6": {"id": 2, "ip": "2001:db8:0:3f3::/64", "blocked": False, "dns_ptr": []},
            "floating_ips": [],
            "firewalls": [{"id": 3, "status": "applied"}],
        },
        "private_net": [private("10.0.0.3")],
        "location": {"id": 1, "name": "fsn1", "network_zone": "eu-central"},
        "datacenter": {"id": 4, "name": "fsn1-dc14", "location": {"name": "somewhere-else"}},
        **changes,
    }


def private(ip: str, *, network: int = 5, mac: str = "86:00:00:9e:43:53") -> dict[str, Any]:
    return {"network": network, "ip": ip, "alias_ips": [], "mac_address": mac}


def load_balancer(**changes: Any) -> dict[str, Any]:
    return {
        "id": 6,
        "name": "demo",
        "labels": {"kubeadm-deploys/cluster": "demo"},
        "private_net": [{"network": 5, "ip": "10.0.0.9"}],
        "public_net": {
            "enabled": True,
            "ipv4": {"ip": "203.0.113.9", "dns_ptr": "lb.example"},
            "ipv6": {"ip": "2001:db8:0:40f::1", "dns_ptr": None},
        },
        **changes,
    }


@pytest.fixture
def demo(tmp_path: Path) -> ClusterDescription:
    return described(write_key(tmp_path))


def described_as(folder: Path, *, name: str = "demo", **settings: object) -> ClusterDescription:
    return described(write_key(folder), name=name, **settings)


def data_of(machine: dict[str, Any], description: ClusterDescription, **variables: Any) -> dict[str, Any]:
    hosts = hosts_of([machine], description=description, variables=variables, balancer=None, state=STATE)
    return hosts[machine["name"]]


def test_a_server_becomes_a_host_with_what_only_it_has(demo: ClusterDescription) -> None:
    assert data_of(server(), demo) == {
        "ssh_hostname": "203.0.113.7",
        "ssh_known_hosts_file": "/project/.kubeadm-deploys/demo/known_hosts/42",
        "node_name": "demo-worker-1",
        "node_ip": "10.0.0.3",
        "node_interface_mac": "86:00:00:9e:43:53",
        "provider_id": "hcloud://42",
        "hcloud_location": "fsn1",
    }


def test_the_node_ip_is_the_one_in_the_clusters_network(demo: ClusterDescription) -> None:
    interfaces = [
        private("192.168.7.2", network=8, mac="86:00:00:00:00:01"),
        private("10.0.1.4", mac="86:00:00:00:00:02"),
        private("10.1.0.2", network=9, mac="86:00:00:00:00:03"),
    ]
    data = data_of(server(private_net=interfaces), demo)
    assert (data["node_ip"], data["node_interface_mac"]) == ("10.0.1.4", "86:00:00:00:00:02")


@pytest.mark.parametrize(
    ("connect_by", "address"),
    [("public_ipv4", "203.0.113.7"), ("public_ipv6", "2001:db8:0:3f3::1"), ("private", "10.0.0.3")],
)
def test_the_user_chooses_the_address_that_ssh_uses(tmp_path: Path, connect_by: str, address: str) -> None:
    description = described_as(tmp_path, connect_by=connect_by)
    assert data_of(server(), description)["ssh_hostname"] == address


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_server_needs_the_wanted_address_and_no_other(tmp_path: Path, family: str) -> None:
    description = described_as(tmp_path, connect_by=f"public_{family}")
    other = {"ipv4": "ipv6", "ipv6": "ipv4"}[family]
    assert data_of(server(public_net={**server()["public_net"], other: None}), description)
    without = server("demo-worker-7", public_net={**server()["public_net"], family: None})
    with pytest.raises(InventoryError, match=f"server demo-worker-7 has no public_{family} address"):
        data_of(without, description)


def test_servers_outside_the_network_are_named_all_at_once(demo: ClusterDescription) -> None:
    servers = [
        server("demo-worker-1", private_net=[]),
        server("demo-worker-2", private_net=[private("10.9.0.2")]),
    ]
    with pytest.raises(InventoryError) as error:
        hosts_of(servers, description=demo, variables={}, balancer=None, state=STATE)
    assert "server demo-worker-1 has no private address in hetzner.network 10.0.0.0/16 (it has: none)" in str(
        error.value
    )
    assert "`hcloud server attach-to-network demo-worker-2 --network demo`" in str(error.value)


def test_servers_that_do_not_run_are_left_out_and_named() -> None:
    servers = [
        server("demo-worker-10"),
        server("demo-worker-3", status="off"),
        server("demo-worker-2"),
        server("demo-worker-1", status="deleting"),
    ]
    assert [each["name"] for each in running_servers(servers)] == ["demo-worker-2", "demo-worker-10"]
    assert idle_servers(servers) == "demo-worker-1 (deleting), demo-worker-3 (off)"


def test_groups_are_the_roles_and_the_pools_of_workers() -> None:
    servers = [
        server("demo-control-plane-1"),
        server("demo-worker-1"),
        server("demo-gpu-1"),
        server("demo-gpu-2"),
    ]
    hosts = {each["name"]: {"node_name": each["name"]} for each in servers}
    groups = groups_of(servers, inventory="staging", shared={"ssh_user": "root"}, hosts=hosts)
    names = list(hosts)
    assert groups == {
        "all": (names, {"ssh_user": "root"}),
        "staging": names,
        "control_plane": [("demo-control-plane-1", {"node_name": "demo-control-plane-1"})],
        "workers": [(name, {"node_name": name}) for name in names[1:]],
        "worker": ["demo-worker-1"],
        "gpu": ["demo-gpu-1", "demo-gpu-2"],
    }


@pytest.mark.parametrize(
    ("label", "value", "sentence"),
    [
        ("role", "master", "label kubeadm-deploys/role is 'master', it must be one of control-plane, worker"),
        ("role", None, "label kubeadm-deploys/role is None"),
        ("pool", "workers", "label kubeadm-deploys/pool is 'workers', which is another group's name"),
        ("pool", "staging", "label kubeadm-deploys/pool is 'staging', which is another group's name"),
    ],
)
def test_labels_that_name_no_group_are_refused(label: str, value: str | None, sentence: str) -> None:
    labels = {**server()["labels"], f"kubeadm-deploys/{label}": value}
    strange = server("demo-worker-5", labels={key: text for key, text in labels.items() if text})
    with pytest.raises(InventoryError, match=f"server demo-worker-5: {re.escape(sentence)}"):
        groups_of([strange], inventory="staging", shared={}, hosts={"demo-worker-5": {}})


def test_the_load_balancers_addresses_are_added_to_the_users(demo: ClusterDescription) -> None:
    hosts = hosts_of(
        [server()],
        description=demo,
        variables={"certificate_sans": ("api.example.com",)},
        balancer=load_balancer(),
        state=STATE,
    )
    shared = cluster_data(demo, endpoint="", balancer=load_balancer())
    assert shared["load_balancer_address"] == "10.0.0.9"
    assert hosts["demo-worker-1"]["certificate_sans"] == [
        "api.example.com",
        "10.0.0.9",
        "203.0.113.9",
        "2001:db8:0:40f::1",
    ]


def test_a_private_load_balancer_has_one_address(demo: ClusterDescription) -> None:
    hidden = load_balancer(public_net={"enabled": False, "ipv4": {"ip": None}, "ipv6": {"ip": None}})
    assert load_balancer_addresses(hidden, description=demo) == ["10.0.0.9"]


def test_a_load_balancer_outside_the_network_is_named(demo: ClusterDescription) -> None:
    with pytest.raises(InventoryError, match="`hcloud load-balancer attach-to-network demo --network demo`"):
        load_balancer_addresses(load_balancer(private_net=[]), description=demo)


def test_what_the_description_says_of_ssh_is_left_to_it(demo: ClusterDescription) -> None:
    assert "ssh_known_hosts_file" not in data_of(server(), demo, ssh_known_hosts_file="/mine")


def test_the_private_key_is_named_only_where_there_is_one(tmp_path: Path) -> None:
    description = described_as(tmp_path)
    assert "ssh_key" not in cluster_data(description, endpoint="", balancer=None)
    (tmp_path / "id_ed25519").touch()
    assert cluster_data(description, endpoint="", balancer=None)["ssh_key"] == str(tmp_path / "id_ed25519")


def answer(*, age: float = 0, endpoint: str = "", **changes: Any) -> Answer:
    values = {"servers": [server()], "load_balancers": [], **changes}
    return Answer(endpoint=endpoint, time=NOON - timedelta(seconds=age), **values)


class Calls:
    """An API that counts how often it is asked."""

    def __init__(self, error: HetznerError | None = None) -> None:
        self.count = 0
        self.error = error

    def __call__(self) -> Answer:
        self.count += 1
        if self.error:
            raise self.error
        return answer(servers=[])


def ask(
    folder: Path, calls: Calls, *, age: float | None, mode: str | None = None, endpoint: str = ""
) -> Answer:
    """What is used at noon, with a recorded answer of that age in the folder."""
    record = folder / "state" / "servers.json"
    if age is not None:
        current_answer(
            lambda: answer(age=age),
            record=record,
            endpoint="",
            environment={"HETZNER_INVENTORY": "refresh"},
            now=NOON,
        )
    environment = {} if mode is None else {"HETZNER_INVENTORY": mode}
    used, is_new = current_answer(calls, record=record, endpoint=endpoint, environment=environment, now=NOON)
    assert is_new == (used.servers == [])
    return used


@pytest.mark.parametrize(
    ("age", "mode", "asked"),
    [
        (None, None, 1),
        (0, None, 0),
        (59, None, 0),
        (60, None, 1),
        (-5, None, 1),
        (59, "", 0),
        (None, "refresh", 1),
        (1, "refresh", 1),
        (1, "offline", 0),
        (10**6, "offline", 0),
    ],
)
def test_when_the_api_is_asked(tmp_path: Path, age: float | None, mode: str | None, asked: int) -> None:
    calls = Calls()
    used = ask(tmp_path, calls, age=age, mode=mode)
    assert calls.count == asked
    assert used.servers == ([] if asked else [server()])


def test_an_answer_is_recorded_for_the_operator_alone(tmp_path: Path) -> None:
    ask(tmp_path, Calls(), age=None)
    record = tmp_path / "state" / "servers.json"
    assert record.stat().st_mode & 0o777 == 0o600
    assert record.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in record.parent.iterdir()] == ["servers.json"]
    assert json.loads(record.read_text()) == {
        "endpoint": "",
        "time": "2026-11-24T12:00:00+00:00",
        "servers": [],
        "load_balancers": [],
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"time": "x"}', '{"time": "2026-11-24T12:00:00"}'])
def test_a_record_that_cannot_be_understood_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "servers.json").write_text(text)
    assert read_record(tmp_path / "servers.json", endpoint="") is None


def test_a_record_of_another_endpoint_is_none(tmp_path: Path) -> None:
    calls = Calls()
    ask(tmp_path, calls, age=1, endpoint="http://127.0.0.1:1/v1")
    assert calls.count == 1


@pytest.mark.parametrize(
    ("age", "words"),
    [(3, "3 seconds ago"), (119, "119 seconds ago"), (600, "10 minutes ago"), (10800, "3 hours ago")],
)
@pytest.mark.parametrize("code", ["", "server_error", "unavailable", "rate_limit_exceeded", 429, 502])
def test_without_the_api_the_recorded_answer_is_used_and_its_age_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, code: str | int, age: float, words: str
) -> None:
    calls = Calls(HetznerError("the API is away", code=code))
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        if age < 60:
            age += 60
            words = "63 seconds ago"
        assert ask(tmp_path, calls, age=age).servers == [server()]
    assert [record.message for record in caplog.records] == [
        f"--> Warning: the API is away; going on with the servers of {words}"
    ]


@pytest.mark.parametrize("code", ["unauthorized", "forbidden", "not_found", 401, 403, 404])
def test_no_recorded_answer_stands_in_for_a_no(tmp_path: Path, code: str | int) -> None:
    with pytest.raises(HetznerError, match="go away"):
        ask(tmp_path, Calls(HetznerError("go away", code=code)), age=3600)


@pytest.mark.parametrize(("age", "mode"), [(3600, "refresh"), (None, None)])
def test_a_silent_api_is_an_error_without_an_answer_to_use(
    tmp_path: Path, age: float | None, mode: str | None
) -> None:
    with pytest.raises(HetznerError, match="away"):
        ask(tmp_path, Calls(HetznerError("away")), age=age, mode=mode)


def test_offline_says_how_old_the_answer_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        ask(tmp_path, Calls(), age=3 * 86400, mode="offline")
    assert "offline, the servers are those of 3 days ago" in caplog.text


def test_offline_needs_an_answer(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"no answer of the API is recorded in .*; run once without it"):
        ask(tmp_path, Calls(), age=None, mode="offline")


def test_another_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match="HETZNER_INVENTORY: 'yes' is neither 'refresh' nor 'offline'"):
        ask(tmp_path, Calls(), age=1, mode="yes")


def test_a_whole_file_appears_at_once_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_private_file(path, "one")
    path.chmod(0o644)
    write_private_file(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_host_keys_are_kept_until_their_server_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "known_hosts"
    forget_known_hosts(folder, servers=[1])
    for name in ("1", "2", "jump_host"):
        prepare_known_hosts(folder / name, entry="10.0.0.2")
    forget_known_hosts(folder, servers=[1, 3])
    assert sorted(path.name for path in folder.iterdir()) == ["1", "jump_host"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("learnt_at", ["10.0.0.2", "203.0.113.7", "|1|c2FsdA==|aGFzaA=="])
def test_the_key_of_a_server_stays_its_key_at_another_address(tmp_path: Path, learnt_at: str) -> None:
    path = tmp_path / "1"
    path.write_text(f"{learnt_at} ssh-ed25519 AAAA\n{learnt_at} ssh-rsa BBBB\n")
    prepare_known_hosts(path, entry="10.0.0.2")
    assert path.read_text() == "10.0.0.2 ssh-ed25519 AAAA\n10.0.0.2 ssh-rsa BBBB\n"


@pytest.mark.parametrize(
    ("text", "name", "user", "address", "port"),
    [
        ("admin@bastion.example.com", "bastion.example.com", "admin", "bastion.example.com", 22),
        ("admin@Bastion:2222", "Bastion", "admin", "Bastion", 2222),
        ("root@203.0.113.5", "203.0.113.5", "root", "203.0.113.5", 22),
        ("root@10.0.0.2", "demo-jump-host", "root", "10.0.0.2", 22),
        ("root@demo-control-plane-1:22", "demo-jump-host", "root", "demo-control-plane-1", 22),
        ("root@[2001:db8::1]:2200", "demo-jump-host", "root", "2001:db8::1", 2200),
        ("root@[2001:db8::1]", "demo-jump-host", "root", "2001:db8::1", 22),
    ],
)
def test_the_jump_host_keeps_its_name_unless_it_cannot(
    text: str, name: str, user: str, address: str, port: int
) -> None:
    jump_host = parse_jump_host(text, cluster_name="demo", servers=("demo-control-plane-1", "10.0.0.2"))
    assert (jump_host.name, jump_host.user, jump_host.address, jump_host.port) == (name, user, address, port)


def test_an_ipv6_jump_host_without_brackets_is_refused() -> None:
    with pytest.raises(InventoryError, match=r"write it like .* admin@\[2001:db8::1\]:22"):
        parse_jump_host("root@2001:db8::1", cluster_name="demo", servers=())


def config_file(folder: Path, *, jump: str = "", users_config: Path = Path("/nowhere")) -> Path:
    """The file of a cluster of two servers, reached by their private addresses."""
    hosts = {
        name: {
            "ssh_hostname": address,
            "ssh_user": "root",
            "ssh_key": "/keys/id",
            "ssh_known_hosts_file": f"/my project/known_hosts/{number}",
        }
        for number, name, address in (
            (1, "demo-control-plane-1", "10.0.0.2"),
            (2, "demo-worker-1", "10.0.0.3"),
        )
    }
    jump_host = parse_jump_host(jump, cluster_name="demo", servers=("10.0.0.2",)) if jump else None
    path = folder / "ssh_config"
    path.write_text(
        ssh_config(
            hosts,
            jump_host=jump_host,
            known_hosts=folder / "known_hosts/jump_host",
            users_config=users_config,
        )
    )
    return path


def ssh_says(config: Path, host: str) -> dict[str, str]:
    """What ssh itself makes of the file."""
    shown = subprocess.run(["ssh", "-G", "-F", config, host], capture_output=True, text=True, check=True)
    return dict(line.partition(" ")[::2] for line in shown.stdout.splitlines())


def pyinfra_says(config: Path, host: str) -> dict[str, Any]:
    """What pyinfra makes of the file."""
    with config.open() as file:
        parsed = SSHConfig()
        parsed.parse(file)
    return dict(parsed.lookup(host))


def test_users_reach_a_server_by_its_name(tmp_path: Path) -> None:
    settings = ssh_says(config_file(tmp_path), "demo-worker-1")
    assert settings["hostname"] == "10.0.0.3"
    assert settings["user"] == "root"
    assert settings["identityfile"] == "/keys/id"
    assert settings["userknownhostsfile"] == "/my project/known_hosts/2"
    assert settings["stricthostkeychecking"] == "accept-new"
    assert "proxyjump" not in settings


@pytest.mark.parametrize("server_host", ["demo-worker-1", "10.0.0.3"])
@pytest.mark.parametrize(
    ("jump", "name", "address", "port"),
    [
        ("admin@bastion:2222", "bastion", "bastion", "2222"),
        ("admin@10.0.0.2:2222", "demo-jump-host", "10.0.0.2", "2222"),
        ("admin@[2001:db8::1]:2222", "demo-jump-host", "2001:db8::1", "2222"),
    ],
)
def test_ssh_and_pyinfra_go_through_the_jump_host(
    tmp_path: Path, jump: str, name: str, address: str, port: str, server_host: str
) -> None:
    config = config_file(tmp_path, jump=jump)
    assert ssh_says(config, server_host)["proxyjump"] == name
    assert pyinfra_says(config, server_host)["proxyjump"] == name
    for hop in (ssh_says(config, name), pyinfra_says(config, name)):
        assert (hop["hostname"], hop["user"], hop["port"]) == (address, "admin", port)
        assert hop["userknownhostsfile"].split()[0] == str(tmp_path / "known_hosts/jump_host")
        assert hop["stricthostkeychecking"] == "accept-new"
        assert "proxyjump" not in hop


def test_the_users_own_file_says_the_rest(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text(
        "Host bastion\n    HostName 203.0.113.5\n    User somebody\nHost *\n    ServerAliveInterval 7\n"
    )
    config = config_file(tmp_path, jump="admin@bastion", users_config=own)
    for hop in (ssh_says(config, "bastion"), pyinfra_says(config, "bastion")):
        assert (hop["hostname"], hop["user"], hop["serveraliveinterval"]) == ("203.0.113.5", "admin", "7")


def test_pyinfra_cannot_read_a_path_with_a_blank_for_the_jump_host(tmp_path: Path) -> None:
    folder = tmp_path / "my project"
    folder.mkdir()
    assert str(folder) not in pyinfra_says(config_file(folder, jump="a@bastion"), "bastion").get(
        "userknownhostsfile", ""
    )


@pytest.fixture
def clean_logger() -> Iterator[None]:
    filters = list(logger.filters)
    yield
    logger.filters[:] = filters


@pytest.mark.usefixtures("clean_logger")
def test_a_server_that_does_not_answer_yet_is_no_traceback() -> None:
    """In a process of its own, because pytest takes every log."""
    script = (
        "import logging\n"
        "from kubeadm_deploys.hetzner.inventory_ssh import quiet_paramiko\n"
        "quiet_paramiko()\n"
        "logging.getLogger('paramiko.transport').error('Traceback (most recent call last):')\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stderr == ""


@pytest.mark.parametrize("entry", ["10.0.0.3", "[10.0.0.3]:2222"])
def test_pyinfras_advice_for_a_changed_key_names_the_right_file(
    caplog: pytest.LogCaptureFixture, entry: str
) -> None:
    explain_changed_keys({"10.0.0.3": [Path("/my project/known_hosts/2")]})
    logger.warning(f"    ssh-keygen -R {entry}")
    logger.warning("    ssh-keygen -R 192.0.2.1")
    logger.warning("something else")
    assert [record.message for record in caplog.records] == [
        "    rm '/my project/known_hosts/2'",
        "    ssh-keygen -R 192.0.2.1",
        "something else",
    ]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """The double, with the environment and the folder of a user who works with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HETZNER_INVENTORY", raising=False)
    with running() as api:
        monkeypatch.setenv("HCLOUD_TOKEN", api.token)
        monkeypatch.setenv("HCLOUD_ENDPOINT", api.url)
        yield api


def project(
    folder: Path, *, name: str = "demo", inventory: str = "hetzner", text: str = "", **settings: object
) -> ClusterDescription:
    """A pair of files, as a user has them."""
    description = described_as(folder, name=name, **settings)
    data = folder / "inventories" / "group_data"
    data.mkdir(parents=True, exist_ok=True)
    (folder / "inventories" / f"{inventory}.py").write_text((ROOT / "inventories/hetzner.py").read_text())
    variables = {"ssh_key": str(folder / "id_ed25519.pub"), **settings}
    (data / f"{inventory}.py").write_text(f"cluster_name = {name!r}\n{text}\nhetzner = {variables!r}\n")
    return description


def groups(name: str = "hetzner") -> dict[str, list[str]]:
    """The names in each group of an inventory of the working directory."""
    found = inventory.hetzner_groups(f"inventories/{name}.py")
    lists = {group: hosts[0] if isinstance(hosts, tuple) else hosts for group, hosts in found.items()}
    return {
        group: [host[0] if isinstance(host, tuple) else host for host in hosts]
        for group, hosts in lists.items()
    }


def pyinfra(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyinfra", *arguments], capture_output=True, text=True, check=False
    )


def machines() -> dict[str, Machine]:
    """What the verification suites make of the inventory."""
    return {
        each.name: each for each in read_machines("inventories/hetzner.py", ssh_config=Path("ssh_config"))
    }


@pytest.mark.usefixtures("clean_logger")
@pytest.mark.parametrize(
    ("control_planes", "workers", "calls"),
    [(1, 1, ["/servers"]), (3, 2, ["/servers", "/load_balancers"]), (1, 49, ["/servers"])],
)
def test_calls(api: Api, tmp_path: Path, control_planes: int, workers: int, calls: list[str]) -> None:
    pools = {"worker": {"count": workers}}
    make(api, project(tmp_path, control_plane={"count": control_planes}, worker_pools=pools))
    api.calls.clear()
    found = groups()
    assert [call.path for call in api.calls] == calls
    assert (len(found["control_plane"]), len(found["workers"])) == (control_planes, workers)


@pytest.mark.usefixtures("clean_logger")
def test_a_second_inventory_within_a_minute_asks_nothing_until_servers_are_made(
    api: Api, tmp_path: Path
) -> None:
    make(api, project(tmp_path))
    groups()
    api.calls.clear()
    assert groups()["workers"] == ["demo-worker-1"]
    assert not api.calls
    make(api, project(tmp_path, worker_pools={"worker": {"count": 2}}))
    assert groups()["workers"] == ["demo-worker-1", "demo-worker-2"]


@pytest.mark.usefixtures("clean_logger")
def test_the_keys_files_may_be_elsewhere(api: Api, tmp_path: Path) -> None:
    make(api, project(tmp_path))
    (tmp_path / "id_ed25519.pub").unlink()
    shared = inventory.hetzner_groups("inventories/hetzner.py")["all"][1]
    assert "ssh_key" not in shared


@pytest.mark.usefixtures("clean_logger")
def test_two_clusters_do_not_see_each_other(api: Api, tmp_path: Path) -> None:
    make(api, project(tmp_path))
    staging = project(
        tmp_path, name="demo-staging", inventory="staging", worker_pools={"worker": {"count": 2}}
    )
    with pytest.raises(InventoryError, match=r"--data description=inventories/group_data/staging.py`"):
        groups("staging")
    make(api, staging)
    assert groups()["all"] == ["demo-control-plane-1", "demo-worker-1"]
    assert groups("staging")["all"] == [
        "demo-staging-control-plane-1",
        "demo-staging-worker-1",
        "demo-staging-worker-2",
    ]


@pytest.mark.usefixtures("clean_logger")
def test_a_stopped_server_is_left_out_and_a_deleted_one_forgotten(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HETZNER_INVENTORY", "refresh")
    make(api, project(tmp_path, worker_pools={"worker": {"count": 3}}))
    ids = {name.name: number for number, name in api.state.servers.items()}
    groups()
    client = client_of(api)
    client.request("POST", f"/servers/{ids['demo-worker-1']}/actions/poweroff")
    client.request("DELETE", f"/servers/{ids['demo-worker-2']}")
    wait_for_actions(api)
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        assert groups()["workers"] == ["demo-worker-3"]
    assert [record.message for record in caplog.records] == [
        "--> Warning: left out, because not running: demo-worker-1 (off)"
    ]
    kept = {ids[name] for name in ("demo-control-plane-1", "demo-worker-1", "demo-worker-3")}
    assert ids["demo-worker-2"] not in kept
    folder = tmp_path / ".kubeadm-deploys" / "demo" / "known_hosts"
    assert {int(path.name) for path in folder.iterdir()} == kept


@pytest.mark.usefixtures("clean_logger")
def test_several_control_planes_without_a_load_balancer_are_warned_of(
    api: Api, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(api, project(tmp_path, control_plane={"count": 3}))
    (balancer,) = api.state.load_balancers
    client_of(api).request("DELETE", f"/load_balancers/{balancer}")
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        groups()
    assert "no load balancer 'demo' is before the control planes; make it with" in caplog.text


@pytest.mark.usefixtures("clean_logger")
@pytest.mark.parametrize("fault", ["500", "503", "429", "drop-before"])
def test_a_fault_of_the_api_ends_in_the_recorded_answer(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    make(api, project(tmp_path))
    groups()
    record = recorded_servers("demo")
    old = json.loads(record.read_text())
    record.write_text(json.dumps({**old, "time": "2026-01-01T00:00:00+00:00"}))
    api.faults.order(fault=fault, path="/servers", times=None, seconds=60)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="pyinfra"):
        assert groups()["all"] == ["demo-control-plane-1", "demo-worker-1"]
    assert time.monotonic() - began < 5
    assert re.search(r"going on with the servers of \d+ days ago", caplog.text)
    assert json.loads(record.read_text())["time"].startswith("2026-01-01")
    monkeypatch.setenv("HETZNER_INVENTORY", "refresh")
    with pytest.raises(HetznerError, match="the cluster's servers"):
        groups()


def test_pyinfra_reads_it_in_a_folder_of_the_users_own(api: Api, tmp_path: Path) -> None:
    (tmp_path / "id_ed25519").touch()
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data" / "all.py").write_text("ssh_user = 'admin'\n")
    (tmp_path / "inventories" / "group_data").mkdir(parents=True)
    (tmp_path / "inventories" / "group_data" / "gpu.py").write_text("x_disk = 'fast'\n")
    text = "cloud_provider = 'none'\nx_disk = 'slow'\ncertificate_sans = ['api.example.com']"
    pools = {"worker": {"count": 1}, "gpu": {"count": 1}}
    make(api, project(tmp_path, text=text, control_plane={"count": 3}, worker_pools=pools))
    shown = pyinfra("inventories/hetzner.py", "debug-inventory")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout + shown.stderr == (shown.stdout + shown.stderr).replace(api.token, "")
    assert api.token not in recorded_servers("demo").read_text()

    found = machines()
    assert list(found) == [*(f"demo-control-plane-{n}" for n in (1, 2, 3)), "demo-gpu-1", "demo-worker-1"]
    gpu = found["demo-gpu-1"]
    assert set(gpu.groups) == {"hetzner", "workers", "gpu"}
    # What the user wrote beats what the inventory finds out, and the pool's data those of the whole cluster.
    assert (gpu.data["ssh_user"], gpu.data["cloud_provider"], gpu.data["x_disk"]) == ("admin", "none", "fast")
    (balancer,) = api.state.load_balancers
    shape = client_of(api).request("GET", f"/load_balancers/{balancer}")["load_balancer"]
    address = shape["private_net"][0]["ip"]
    public = shape["public_net"]
    assert gpu.data["load_balancer_address"] == address
    assert gpu.data["certificate_sans"] == [
        "api.example.com",
        address,
        public["ipv4"]["ip"],
        public["ipv6"]["ip"],
    ]
    assert gpu.data["hcloud_endpoint"] == api.url
    assert gpu.data["ssh_key"] == str(tmp_path / "id_ed25519")
    assert Path(gpu.data["ssh_known_hosts_file"]).is_absolute()


def test_a_hundred_servers_take_less_than_three_seconds(api: Api, tmp_path: Path) -> None:
    pools = {"worker": {"count": 90}, "gpu": {"count": 9}}
    make(api, project(tmp_path, worker_pools=pools))
    api.calls.clear()
    began = time.monotonic()
    found = pyinfra("inventories/hetzner.py", "debug-inventory")
    took = time.monotonic() - began
    assert found.returncode == 0, found.stderr
    names = re.findall(r"^\[(.*?)\]", found.stdout + found.stderr, flags=re.MULTILINE)
    assert names == [
        "demo-control-plane-1",
        *(f"demo-gpu-{number}" for number in range(1, 10)),
        *(f"demo-worker-{number}" for number in range(1, 91)),
    ]
    assert [call.path for call in api.calls] == ["/servers"] * 2
    assert took < 3


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "no server belongs to cluster 'demo': make some with `pyinfra -y @local deploys/servers.py`"),
        ({"HCLOUD_TOKEN": ""}, "HCLOUD_TOKEN is not set"),
        ({"HCLOUD_TOKEN": "wrong"}, "the API does not know the token in HCLOUD_TOKEN"),
        ({"HETZNER_INVENTORY": "never"}, "HETZNER_INVENTORY: 'never' is neither"),
        ({"HETZNER_INVENTORY": "offline"}, "no answer of http://127.0.0.1:"),
        ({"HCLOUD_ENDPOINT": "http://127.0.0.1:9/v1"}, "the API cannot be reached"),
    ],
)
@pytest.mark.usefixtures("api")
def test_without_servers_pyinfra_says_why_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    project(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    run = pyinfra("inventories/hetzner.py", "debug-inventory")
    assert run.returncode == 1
    assert sentence in run.stdout + run.stderr
    assert "Traceback" not in run.stdout + run.stderr


def test_a_cluster_that_is_switched_off_is_refused(api: Api, tmp_path: Path) -> None:
    make(api, project(tmp_path))
    for number in api.state.servers:
        client_of(api).request("POST", f"/servers/{number}/actions/poweroff")
    wait_for_actions(api)
    run = pyinfra("inventories/hetzner.py", "debug-inventory")
    assert run.returncode == 1
    assert (
        "no server of cluster 'demo' is running: demo-control-plane-1 (off), demo-worker-1 (off); start them"
        in run.stdout + run.stderr
    )


@pytest.mark.usefixtures("clean_logger")
def test_a_folder_that_cannot_be_made_is_named(api: Api, tmp_path: Path) -> None:
    make(api, project(tmp_path))
    (tmp_path / ".kubeadm-deploys").write_text("a file in the place of the folder\n")
    with pytest.raises(
        InventoryError, match=r"kubeadm-deploys.*: Not a directory; start pyinfra in a folder"
    ):
        groups()


def test_the_verification_reaches_the_servers_offline_through_the_jump_host(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(api, project(tmp_path, connect_by="private", jump_host="admin@bastion.example.com:2222"))
    machines()
    monkeypatch.setenv("HETZNER_INVENTORY", "offline")
    monkeypatch.delenv("HCLOUD_TOKEN")
    capsys.readouterr()
    worker = machines()["demo-worker-1"]
    assert "offline, the servers are those of" in capsys.readouterr().err
    settings = ssh_says(Path("ssh_config"), "demo-worker-1")
    assert settings["hostname"] == worker.data["node_ip"]
    assert settings["userknownhostsfile"] == worker.data["ssh_known_hosts_file"]
    assert settings["proxyjump"] == "bastion.example.com"
    # The hop is an ssh of its own, started with the same file.
    hop = ssh_says(Path("ssh_config"), "bastion.example.com")
    assert (hop["user"], hop["port"], hop["batchmode"]) == ("admin", "2222", "yes")
    assert hop["stricthostkeychecking"] == "accept-new"
    assert Path(hop["userknownhostsfile"].split()[0]).name == "jump_host"
