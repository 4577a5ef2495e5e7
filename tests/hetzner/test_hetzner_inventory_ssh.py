"""The inventory on Hetzner: SSH's files, host keys and jump hosts, as ssh and pyinfra read them."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyinfra import logger
from pyinfra.api.exceptions import InventoryError
from pyinfra.connectors.sshuserclient.config import SSHConfig

from kubeadm_deploys.hetzner.api.state_folder import (
    forget_known_hosts,
    prepare_known_hosts,
    write_private_file,
)
from kubeadm_deploys.hetzner.inventory.ssh import explain_changed_keys, parse_jump_host, ssh_config
from tests.support.hetzner_inventory import clean_logger, ssh_says

__all__ = ["clean_logger"]


def test_a_private_file_is_written_atomically(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    write_private_file(path, "one")
    path.chmod(0o644)
    write_private_file(path, "two")
    assert path.read_text() == "two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_host_keys_are_kept_until_their_server_is_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "known_hosts"
    forget_known_hosts(folder, servers=[1])
    for name in ("1", "2", "jump_host"):
        prepare_known_hosts(folder / name, entry="10.0.0.2")
    forget_known_hosts(folder, servers=[1, 3])
    assert sorted(path.name for path in folder.iterdir()) == ["1", "jump_host"]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


@pytest.mark.parametrize("learnt_at", ["10.0.0.2", "203.0.113.7", "|1|c2FsdA==|aGFzaA=="])
def test_a_server_keeps_its_host_key_at_another_address(tmp_path: Path, learnt_at: str) -> None:
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
def test_the_jump_host_keeps_its_name_where_possible(
    text: str, name: str, user: str, address: str, port: int
) -> None:
    jump_host = parse_jump_host(text, cluster_name="demo", servers=("demo-control-plane-1", "10.0.0.2"))
    assert (jump_host.name, jump_host.user, jump_host.address, jump_host.port) == (name, user, address, port)


def test_an_ipv6_jump_host_without_brackets_is_refused() -> None:
    with pytest.raises(InventoryError, match=r"write it like .* admin@\[2001:db8::1\]:22"):
        parse_jump_host("root@2001:db8::1", cluster_name="demo", servers=())


def config_file(folder: Path, *, jump: str = "", users_config: Path = Path("/nowhere")) -> Path:
    """Write the ssh_config of two servers with private addresses; return its path."""
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


def pyinfra_settings(config: Path, host: str) -> dict[str, Any]:
    """Return what pyinfra reads from the file."""
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
    assert pyinfra_settings(config, server_host)["proxyjump"] == name
    for hop in (ssh_says(config, name), pyinfra_settings(config, name)):
        assert (hop["hostname"], hop["user"], hop["port"]) == (address, "admin", port)
        assert hop["userknownhostsfile"].split()[0] == str(tmp_path / "known_hosts/jump_host")
        assert hop["stricthostkeychecking"] == "accept-new"
        assert "proxyjump" not in hop


def test_the_users_own_file_supplies_the_rest(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text(
        "Host bastion\n    HostName 203.0.113.5\n    User somebody\nHost *\n    ServerAliveInterval 7\n"
    )
    config = config_file(tmp_path, jump="admin@bastion", users_config=own)
    for hop in (ssh_says(config, "bastion"), pyinfra_settings(config, "bastion")):
        assert (hop["hostname"], hop["user"], hop["serveraliveinterval"]) == ("203.0.113.5", "admin", "7")


def test_a_known_hosts_path_with_a_space_is_left_out_for_the_jump_host(tmp_path: Path) -> None:
    folder = tmp_path / "my project"
    folder.mkdir()
    assert str(folder) not in pyinfra_settings(config_file(folder, jump="a@bastion"), "bastion").get(
        "userknownhostsfile", ""
    )


def test_a_server_that_does_not_answer_yet_causes_no_traceback() -> None:
    """Run in a separate process, because pytest captures every log."""
    script = (
        "import logging\n"
        "from kubeadm_deploys.remote.workarounds import quiet_paramiko\n"
        "quiet_paramiko()\n"
        "logging.getLogger('paramiko.transport').error('Traceback (most recent call last):')\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stderr == ""


@pytest.mark.usefixtures("clean_logger")
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
