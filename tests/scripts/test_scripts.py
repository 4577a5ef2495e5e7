"""Scripts under the real shell: a command that fails halfway fails the script, and is not taken for empty."""

import hashlib
import subprocess
import tarfile
from pathlib import Path

import pytest
from pyinfra.api.command import StringCommand

from kubeadm_deploys.facts.cluster_health import NodesReady, WorkloadsAvailable
from kubeadm_deploys.facts.endpoint_name import HOSTS_FILE, ApiEndpoint
from kubeadm_deploys.operations import release, units
from kubeadm_deploys.scripts import script
from kubeadm_deploys.sections.swap import Swap
from tests.support.remote_scripts import with_programs


def shell(command: str | StringCommand, *, programs: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command, with the programs of a folder first in the path."""
    text = with_programs(command, programs or "")
    return subprocess.run(["sh", "-c", text], capture_output=True, text=True, timeout=60)


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    """A folder with a base64 and a sha256sum that fail halfway through a file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("base64", "sha256sum"):
        (folder / name).write_text("#!/bin/sh\necho MTI3LjAu\necho 'read error' >&2\nexit 1\n")
        (folder / name).chmod(0o755)
    return folder


def test_a_file_that_cannot_be_read_is_not_taken_for_missing(tmp_path: Path, failing: Path) -> None:
    present, missing = tmp_path / "present", tmp_path / "missing"
    present.write_text("content\n")
    command = script("read-files", str(missing), str(present))
    checksum = hashlib.sha256(b"content\n").hexdigest()
    assert shell(command).stdout == f"file:{present} {checksum}\n"
    done = shell(command, programs=failing)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "read error\n")


def test_a_hosts_file_that_is_only_read_in_part_is_not_written_back(tmp_path: Path, failing: Path) -> None:
    hosts = tmp_path / "hosts"
    script = ApiEndpoint().command().get_raw_value().replace(HOSTS_FILE, str(hosts))
    assert shell(script).stdout == f"hosts:{hosts}\n"
    hosts.write_text("127.0.0.1 localhost\n")
    assert shell(script).stdout == f"hosts:{hosts} MTI3LjAuMC4xIGxvY2FsaG9zdAo=\n"
    done = shell(script, programs=failing)
    assert (done.returncode, done.stdout) == (1, "")


def test_an_fstab_that_is_only_read_in_part_is_not_written_back(tmp_path: Path, failing: Path) -> None:
    (tmp_path / "fstab").write_text("/dev/vda2 none swap sw 0 0\n")
    script = Swap().command().get_raw_value().replace("/etc/fstab", str(tmp_path / "fstab"))
    assert "fstab L2Rldi92ZGEyIG5vbmUgc3dhcCBzdyAwIDAK\n" in shell(script).stdout
    done = shell(script, programs=failing)
    assert done.returncode == 1
    assert "fstab" not in done.stdout


def test_an_archive_without_the_wanted_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\n")
    archive = tmp_path / "release.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "program", "bin/program")
        tar.add(tmp_path / "program", "bin/more/program")

    def unpack(strip: str) -> subprocess.CompletedProcess[str]:
        (command,) = release.tarball._inner(
            url=archive.as_uri(),
            sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
            folder=str(tmp_path / "installed"),
            strip=strip,
        )
        return shell(command)

    assert unpack("sbin").returncode != 0
    assert list((tmp_path / "installed").iterdir()) == []
    done = unpack("bin")
    assert (done.returncode, done.stderr) == (0, "")
    installed = sorted(
        str(path.relative_to(tmp_path / "installed"))
        for path in (tmp_path / "installed").rglob("*")
        if path.is_file()
    )
    assert installed == ["more/program", "program"]


@pytest.mark.parametrize(
    ("fact", "asked", "shown"),
    [
        (
            NodesReady().command(nodes=("a", "b"), timeout=9),
            "wait --for=condition=Ready --timeout=9s node/a node/b",
            [],
        ),
        (
            WorkloadsAvailable().command(workloads=("deployment/coredns", "daemonset/x"), timeout=9),
            "--namespace kube-system rollout status --timeout=9s deployment/coredns",
            ["--namespace kube-system logs deployment/coredns --all-containers --tail 5"],
        ),
    ],
)
def test_a_wait_that_times_out_shows_the_cluster(
    tmp_path: Path, fact: StringCommand, asked: str, shown: list[str]
) -> None:
    """kubectl's own options: a request has a limit, a watch has its own."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\necho "$*" >&2\ncase "$*" in *wait*|*rollout*) exit 1 ;; esac\n')
    kubectl.chmod(0o755)
    done = shell(fact, programs=tmp_path)
    watch = "--kubeconfig /etc/kubernetes/admin.conf --cache-dir /run/kubeadm-deploys-kubectl"
    calls = [f"{watch} {asked}"] + [
        f"{watch} --request-timeout=30s {request}"
        for request in (*shown, "get nodes,pods --all-namespaces --output wide")
    ]
    assert (done.returncode, done.stdout, done.stderr.splitlines()) == (1, "", calls)
    kubectl.write_text("#!/bin/sh\n")
    assert shell(fact, programs=tmp_path).returncode == 0


def test_only_the_script_itself_says_that_a_unit_does_not_run(tmp_path: Path) -> None:
    for name in ("systemctl", "journalctl"):
        (tmp_path / name).write_text('#!/bin/sh\n[ "$1" != restart ]\n')
        (tmp_path / name).chmod(0o755)
    done = shell(units.running_command("kubelet.service"), programs=tmp_path)
    assert done.returncode == 1 and units.does_not_run(done.stderr)
    (tmp_path / "systemctl").write_text("#!/bin/sh\n")
    done = shell(units.running_command("kubelet.service", check="false"), programs=tmp_path)
    assert done.returncode == 1 and units.does_not_run(done.stderr)
    assert not units.does_not_run("the connection was lost; result unknown, the next run reads it")
