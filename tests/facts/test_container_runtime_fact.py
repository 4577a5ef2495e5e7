"""Reading the container runtime: the script on a fake machine in a folder."""

import re
import subprocess
from pathlib import Path

from kubeadm_deploys.scripts import text
from kubeadm_deploys.sections.container_runtime import ContainerRuntime, ContainerRuntimeState

UNIT = """\
MainPID=1
ExecMainStartTimestamp={started}
ActiveState=active
UnitFileState=enabled
"""


def program(path: Path, prints: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\ncat <<'E'\n{prints}\nE\n")
    path.chmod(0o755)


def read(
    root: Path, *, plugins: str = "", unit: str = "ActiveState=inactive\nUnitFileState=\n"
) -> ContainerRuntimeState:
    """Run the script on a machine whose programs and files are in this folder."""
    for name in ("systemd-detect-virt", "crictl"):
        program(root / "bin" / name, "")
    program(root / "bin/dpkg", "amd64")
    program(root / "bin/systemctl", unit)
    done = run(root, plugins=plugins)
    assert (done.returncode, done.stderr) == (0, "")
    return ContainerRuntime().process(done.stdout.splitlines())


def run(root: Path, *, plugins: str) -> "subprocess.CompletedProcess[str]":
    """Run the script with the programs and files in this folder; plugins have one second."""
    script = re.sub(
        r"(?<![\w/])(?=/etc/|/usr/local/|/opt/|/proc/)", str(root), text("read-container-runtime")
    )
    script = script.replace("timeout 60 ", "timeout 1 ")
    command = ["sh", "-c", f"PATH={root}/bin:$PATH\n{script}", "read-container-runtime", plugins]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_releases_of_plugins_are_what_they_print(tmp_path: Path) -> None:
    for name, prints in {
        "bridge": "CNI bridge plugin v1.9.1\nCNI protocol versions supported: 0.1.0, 1.1.0",
        "dhcp": "a warning\nCNI dhcp plugin 1.9.1-dirty",
        "tap": "CNI tap plugin version unknown",
        "vlan": "v1.2.3",
        "calico": "CNI calico plugin v3.31.0",
    }.items():
        program(tmp_path / "opt/cni/bin" / name, prints)
    found = read(tmp_path, plugins="bridge dhcp tap vlan missing")
    # Plugins of a pod network are not asked.
    assert found.plugins == {"bridge": "1.9.1", "dhcp": "1.9.1", "tap": "", "vlan": ""}


def test_the_releases_of_programs_are_the_first_that_they_print(tmp_path: Path) -> None:
    for path, prints in {
        "usr/local/bin/containerd": "containerd github.com/containerd/containerd/v2 v2.3.4 61f9fd88f79f",
        "usr/local/bin/containerd-shim-runc-v2": "containerd-shim-runc-v2:\n  Version:  v2.3.4\n  Go version: go1.26.1",
        "usr/local/bin/ctr": "ctr github.com/containerd/containerd/v2 2.3.4-rc.1",
        "usr/local/sbin/runc": "runc version 1.4.3\nspec: 1.3.0\nlibseccomp: 2.5.4",
    }.items():
        program(tmp_path / path, prints)
    releases = {"containerd": "2.3.4", "containerd-shim-runc-v2": "2.3.4", "ctr": "2.3.4", "runc": "1.4.3"}
    assert read(tmp_path).versions == releases
    program(tmp_path / "usr/local/bin/ctr", "ctr of somebody")
    del releases["ctr"]
    assert read(tmp_path).versions == releases


def test_plugins_that_do_not_end_are_not_taken_for_missing(tmp_path: Path) -> None:
    read(tmp_path)
    path = tmp_path / "opt/cni/bin/bridge"
    program(path, "")
    path.write_text("#!/bin/sh\nexec sleep 30\n")
    done = run(tmp_path, plugins="bridge")
    assert done.returncode == 1
    assert "did not print their releases" in done.stderr


def test_a_plugin_that_waits_for_its_input_gets_none(tmp_path: Path) -> None:
    path = tmp_path / "opt/cni/bin/bridge"
    program(path, "")
    path.write_text("#!/bin/sh\necho CNI bridge plugin v1.9.1\ncat\n")
    assert read(tmp_path, plugins="bridge").plugins == {"bridge": "1.9.1"}


def test_a_daemon_that_runs_with_an_older_configuration_is_seen(tmp_path: Path) -> None:
    config = tmp_path / "etc/containerd/config.toml"
    config.parent.mkdir(parents=True)
    config.touch(0o600)
    process = tmp_path / "proc/1"
    process.mkdir(parents=True)
    (process / "exe").symlink_to("/usr/local/bin/containerd")
    for started, current in (("2020-01-01 00:00:00 UTC", False), ("2100-01-01 00:00:00 UTC", True)):
        found = read(tmp_path, unit=UNIT.format(started=started))
        assert (found.active, found.enabled, found.up_to_date) == (True, True, current)
    found = read(tmp_path)
    assert (found.active, found.enabled, found.up_to_date) == (False, False, False)
