"""What other software left on a machine: the real script in a folder, and what is made of its output."""

import re
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.documents.node_kubelet import UNIT_FILE
from kubeadm_deploys.facts.machine import Machine, MachineState
from kubeadm_deploys.scripts import text

REPOSITORY = "https://pkgs.k8s.io/core:/stable:/v1.37/deb/"
NFT = """\
table inet filter {
	chain input {
		type filter hook input priority filter; policy drop;
	}
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
table ip nat {
	chain PREROUTING {
		type nat hook prerouting priority dstnat; policy accept;
	}
}
"""


def read(root: Path, *, active: str = "none", nft: str = "") -> MachineState:
    """Run the script on a fake machine on which one unit is active."""
    programs = root / "bin"
    programs.mkdir(parents=True, exist_ok=True)
    for name, script in {
        "systemctl": f'#!/bin/sh\nshift\nfor unit; do if [ "$unit" = "{active}" ]; then echo active; else echo inactive; fi; done\n',
        "nft": f"#!/bin/sh\ncat <<'E'\n{nft}E\n",
    }.items():
        (programs / name).write_text(script)
        (programs / name).chmod(0o755)
    script = re.sub(r"(?<![\w/])(?=/etc/|/usr/local/)", str(root), text("library/leftovers"))
    done = subprocess.run(
        ["sh", "-c", f"PATH={programs}:$PATH\n{script}\nleftovers"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return Machine().process([line.replace(str(root), "") for line in done.stdout.splitlines()])


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_a_clean_machine_has_none(tmp_path: Path) -> None:
    write(tmp_path, "etc/default/kubelet", "KUBELET_EXTRA_ARGS=\n")
    write(tmp_path, "etc/apt/sources.list.d/debian.sources", "URIs: http://archive.example/debian\n")
    write(tmp_path, "etc/ufw/ufw.conf", "ENABLED=no\n")
    assert read(tmp_path) == Machine().process([])


def test_files_of_another_pod_network(tmp_path: Path) -> None:
    for name in ("00-bridge.conflist", "87-podman.conf", "notes.txt"):
        write(tmp_path, f"etc/cni/net.d/{name}", "{}\n")
    assert sorted(read(tmp_path).cni_configurations) == ["00-bridge.conflist", "87-podman.conf"]


@pytest.mark.parametrize(
    "line",
    [
        "KUBELET_EXTRA_ARGS=--node-ip=127.0.0.9",
        'KUBELET_EXTRA_ARGS="--node-ip=127.0.0.9"',
        "export KUBELET_EXTRA_ARGS='--node-ip=127.0.0.9'",
        "KUBELET_EXTRA_ARGS=--v=9\nKUBELET_EXTRA_ARGS=--node-ip=127.0.0.9",
    ],
)
def test_arguments_of_the_kubelet(tmp_path: Path, line: str) -> None:
    write(tmp_path, "etc/default/kubelet", f"# KUBELET_EXTRA_ARGS=--no\n{line}\n")
    assert read(tmp_path).kubelet_arguments == "--node-ip=127.0.0.9"


def test_units_that_override_the_kubelets_package(tmp_path: Path) -> None:
    paths = ["etc/systemd/system/kubelet.service", "etc/systemd/system/kubelet.service.d/20-x.conf"]
    for path in paths:
        write(tmp_path, path, "[Service]\n")
    write(tmp_path, UNIT_FILE.removeprefix("/"), "ours\n")
    assert read(tmp_path).kubelet_units == tuple(f"/{path}" for path in paths)


def test_only_drop_ins_with_a_command_count_for_containerd(tmp_path: Path) -> None:
    folder = "etc/systemd/system/containerd.service.d"
    write(tmp_path, f"{folder}/proxy.conf", "[Service]\nEnvironment=HTTPS_PROXY=http://proxy:3128\n")
    write(tmp_path, f"{folder}/old.conf", "[Service]\nExecStart=\nExecStart=/usr/bin/containerd\n")
    assert read(tmp_path).containerd_units == (f"/{folder}/old.conf",)


@pytest.mark.parametrize(
    ("path", "line", "key"),
    [
        ("sysctl.conf", "net.ipv4.ip_forward=0", "net.ipv4.ip_forward"),
        ("sysctl.d/zz.conf", " -net/ipv4/ip_forward = 0", "net/ipv4/ip_forward"),
        ("sysctl.d/zz.conf", "net.ipv4.conf.all.forwarding = 0", "net.ipv4.conf.all.forwarding"),
        (
            "sysctl.d/l.conf",
            "net.bridge.bridge-nf-call-iptables = 0",
            "net.bridge.bridge-nf-call-iptables",
        ),
        # Ours is applied later.
        ("sysctl.d/99-sysctl.conf", "net.ipv4.ip_forward=0", ""),
        ("sysctl.d/k8s.conf", "net.ipv4.ip_forward = 0", ""),
        ("sysctl.conf", "net.ipv4.ip_forward=1", ""),
        ("sysctl.conf", "#net.ipv4.ip_forward=0", ""),
        ("sysctl.conf", "net.ipv6.conf.all.forwarding=0", ""),
    ],
)
def test_files_that_turn_sysctls_off(tmp_path: Path, path: str, line: str, key: str) -> None:
    write(tmp_path, f"etc/{path}", f"# A comment\n{line}\n")
    assert read(tmp_path).sysctl_files == ({f"/etc/{path}": key} if key else {})


@pytest.mark.parametrize(
    ("line", "module"),
    [
        ("blacklist br_netfilter", "br_netfilter"),
        ("install overlay /bin/false", "overlay"),
        ("install vxlan /usr/bin/true", "vxlan"),
        ("blacklist overlayfs", ""),
        ("#blacklist overlay", ""),
        ("install overlay /sbin/modprobe --ignore-install overlay", ""),
    ],
)
def test_modules_that_are_blocked(tmp_path: Path, line: str, module: str) -> None:
    write(tmp_path, "etc/modprobe.d/cis.conf", f"{line}\n")
    assert read(tmp_path).blocked_modules == ({module: "/etc/modprobe.d/cis.conf"} if module else {})


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("sources.list", f"deb [signed-by=/x] {REPOSITORY} /\n", True),
        ("sources.list.d/k8s.list", f"deb {REPOSITORY.rstrip('/')} /\n", True),
        ("sources.list.d/k8s.sources", f"Types: deb\nURIs: {REPOSITORY}\nSuites: /\nSigned-By: /x\n", True),
        ("sources.list.d/k8s.sources", f"Enabled: no\nTypes: deb\nURIs: {REPOSITORY}\nSuites: /\n", False),
        ("sources.list.d/k8s.list", f"# deb {REPOSITORY} /\n", False),
        ("sources.list.d/k8s.list.disabled", f"deb {REPOSITORY} /\n", False),
    ],
)
def test_sources_of_the_same_repository(tmp_path: Path, name: str, content: str, found: bool) -> None:
    write(tmp_path, f"etc/apt/{name}", content)
    sources = read(tmp_path).apt_sources
    assert [url.rstrip("/") for url in sources.values()] == [REPOSITORY.rstrip("/")] * found
    assert list(sources) == [f"/etc/apt/{name}"] * found


def test_firewalls(tmp_path: Path) -> None:
    write(tmp_path, "etc/ufw/ufw.conf", "LOGLEVEL=low\nENABLED=yes\n")
    found = read(tmp_path, active="firewalld", nft=NFT).firewalls
    assert found == ("ufw", "firewalld", "nftables chain inet filter input")


def test_network_manager_counts_unless_it_leaves_the_pods_interfaces_alone(tmp_path: Path) -> None:
    assert read(tmp_path / "a", active="NetworkManager").network_managers == ("NetworkManager",)
    conf = "[keyfile]\nunmanaged-devices=interface-name:cali*;interface-name:tunl*\n"
    write(tmp_path / "b", "etc/NetworkManager/conf.d/calico.conf", conf)
    assert read(tmp_path / "b", active="NetworkManager").network_managers == ()


def test_a_network_file_for_all_names_counts(tmp_path: Path) -> None:
    write(tmp_path, "etc/systemd/network/all.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n")
    write(tmp_path, "etc/systemd/network/wired.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n")
    found = read(tmp_path, active="systemd-networkd").network_managers
    assert found == ("/etc/systemd/network/all.network",)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("https_proxy=http://bob:hunter2@10.0.0.7:3128\nno_proxy=localhost\n", ("https_proxy",)),
        ('export HTTP_PROXY="http://10.0.0.7:3128"\n', ("HTTP_PROXY",)),
        ("#http_proxy=http://10.0.0.7:3128\nhttp_proxy=\nNO_PROXY=x\n", ()),
    ],
)
def test_proxies_of_the_machines_environment_are_read_without_their_values(
    tmp_path: Path, text: str, names: tuple[str, ...]
) -> None:
    write(tmp_path, "etc/environment", text)
    assert read(tmp_path).environment_proxies == names
    assert "hunter2" not in str(read(tmp_path))


CONTAINERD = """#!/bin/sh
# containerd --config FILE config dump
if grep -q broken "$2"; then
  echo 'time="now" level=error msg="Failure unmarshaling TOML"' >&2
  echo 'containerd: failed to unmarshal TOML at row 1' >&2
  exit 1
fi
cat "$2"
"""


def test_drop_ins_with_which_containerd_would_not_start_are_named(tmp_path: Path) -> None:
    folder = "etc/containerd/conf.d"
    write(tmp_path, "usr/local/bin/containerd", CONTAINERD)
    (tmp_path / "usr/local/bin/containerd").chmod(0o755)
    write(tmp_path, f"{folder}/a.toml", "broken = [\npassword = 'hunter2'\n")
    write(tmp_path, f"{folder}/b.toml", "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'x']\n")
    write(tmp_path, f"{folder}/c.toml", "[plugins.'io.containerd.cri.v1.images'.registry.mirrors]\n")
    write(tmp_path, f"{folder}/d.toml.off", "broken\n")
    assert read(tmp_path).broken_drop_ins == {
        f"/{folder}/a.toml": "failed to unmarshal TOML at row 1",
        f"/{folder}/b.toml": (
            "has registry.mirrors, which excludes the config_path of /etc/containerd/config.toml"
        ),
    }


def test_drop_ins_are_not_checked_before_containerd_is_installed(tmp_path: Path) -> None:
    write(tmp_path, "etc/containerd/conf.d/a.toml", "broken\n")
    assert read(tmp_path).broken_drop_ins == {}
