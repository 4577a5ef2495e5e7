"""Single sections on bare hosts, used as another project uses the package: from its wheel."""

import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from kubeadm_deploys.model.artifacts import KUBERNETES_VERSION
from tests.e2e.conftest import ROOT, Cluster, Run, completed, docker_hosts, run_command
from tests.e2e.registry import PASSWORD, USER, private_registry
from tests.lab.docker import docker

KEY = "kubernetes_apt_key_fingerprint"

PROJECT = {
    "inventory.py": """
servers = [("@docker/{host}", {{"role": "runtime"}})]
""",
    # It also has a folder "deploys", like the product's own project.
    "deploys/machine.py": """
from pyinfra import host
from kubeadm_deploys import ClusterOptions, configure_bridged_traffic, install_container_runtime
from kubeadm_deploys.inventory.data import read_checksums
from pathlib import Path

options = ClusterOptions(
    runc_version=host.data.get("runc", "1.4.3"),
    containerd_version=host.data.get("containerd", "2.3.4"),
    mirror=host.data.get("mirror", {mirror!r}),
    checksums=read_checksums(Path(host.data.get("sums", {checksums!r}))) if {checksums!r} else {{}},
    containerd_restrict_oom_score_adj=True,
    registries=host.data.get("registries", {{}}),
)
configure_bridged_traffic()
install_container_runtime(options=options)
""",
    "deploys/packages.py": """
from kubeadm_deploys import ClusterOptions, install_kube_packages

install_kube_packages(options=ClusterOptions(mirror={mirror!r}{key}))
""",
    "deploys/no_swap.py": """
from kubeadm_deploys import ClusterOptions, disable_swap

disable_swap(options=ClusterOptions(swap="off"))
""",
}


class Project:
    """Another project that uses pyinfra, with the package installed from its wheel."""

    def __init__(self, *, folder: Path, environment: Path, host: str, cluster: Cluster) -> None:
        self.folder, self.environment, self.host, self.cluster = folder, environment, host, cluster

    def run(self, deploy: str, *arguments: str) -> Run:
        return run_command(
            "-y",
            "--json",
            *arguments,
            "inventory.py",
            deploy,
            folder=self.folder,
            program=(str(self.environment / "bin/pyinfra"),),
        )

    def verify(self, *suites: str) -> Run:
        modules = [f"kubeadm_deploys.verification.{suite}" for suite in suites]
        return run_command(
            "--pyargs",
            *modules,
            "--inventory",
            "inventory.py",
            "-p",
            "no:cacheprovider",
            folder=self.folder,
            program=(str(self.environment / "bin/pytest"),),
        )

    def shell(self, command: str) -> str:
        return self.cluster.shell(self.host, command)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a virtual environment with only the wheel and its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    built = completed(build)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=True)
    installed = completed([str(folder / "venv/bin/pip"), "install", "--quiet", f"{wheel}[verification]"])
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return folder / "venv"


@pytest.fixture(scope="module")
def project(lab: None, environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    with docker_hosts("sections", folder=folder, workers=0, takes=0, debian=(13,)) as cluster:
        (host,) = cluster.hosts
        for name, text in PROJECT.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                text.format(
                    host=host.name,
                    mirror=host.data.get("mirror", ""),
                    checksums=host.data.get("checksums", ""),
                    key=f", {KEY}={host.data[KEY]!r}" if KEY in host.data else "",
                )
            )
        yield Project(folder=folder, environment=environment, host=host.name, cluster=cluster)


def test_two_sections_are_imported_from_the_wheel_and_verified(project: Project) -> None:
    run = project.run("deploys/machine.py", "--data=runc=1.4.2")
    assert run.exit_code == 0, run.output
    assert "runc version 1.4.2" in project.shell("runc --version")
    assert project.run("deploys/machine.py", "--data=runc=1.4.2").changed == []
    verified = project.verify("test_bridged_traffic", "test_container_runtime")
    assert verified.exit_code == 0, verified.output


def test_a_wrong_checksum_stops_the_host_and_keeps_the_installed_file(
    project: Project, tmp_path: Path
) -> None:
    url = "https://github.com/opencontainers/runc/releases/download/v1.4.3/runc.amd64"
    sums = tmp_path / "sums"
    sums.write_text(f"{'0' * 64}  {url}\n")
    before = project.shell("sha256sum /usr/local/sbin/runc; ls -A /usr/local/sbin")
    run = project.run("deploys/machine.py", "--data=runc=1.4.3", f"--data=sums={sums}")
    assert run.exit_code == 1
    assert f"expected {'0' * 64}; it was not installed" in run.output
    assert project.shell("sha256sum /usr/local/sbin/runc; ls -A /usr/local/sbin") == before


def test_the_url_of_a_mirror_that_does_not_answer_is_reported(project: Project) -> None:
    run = project.run("deploys/machine.py", "--data=runc=1.4.3", "--data=mirror=http://127.0.0.1:9")
    assert run.exit_code == 1
    assert (
        "cannot fetch http://127.0.0.1:9/github.com/opencontainers/runc/releases/download/v1.4.3"
        in run.output
    )


def test_another_release_replaces_the_installed_one(project: Project) -> None:
    run = project.run("deploys/machine.py", "--data=runc=1.4.3")
    assert "Container runtime | Install runc 1.4.3" in run.changed
    assert "runc version 1.4.3" in project.shell("runc --version")


# Holds a lock as apt does (fcntl); arguments: the file and the seconds.
HOLD_LOCK = (
    """perl -e '$lock = pack("s s x4 q q i x4", 1, 0, 0, 0, 0); open F, ">>", $ARGV[0]; """
    """fcntl(F, 6, $lock) or die "not locked: $!"; sleep $ARGV[1]'"""
)


# Ends when a process waits for the lock: our script between two tries, or an apt-get that has run no dpkg for
# three seconds.
AWAITED = {
    "/var/lib/apt/lists/lock": "until pgrep -fx 'sleep 2' > /dev/null; do sleep 0.1; done",
    "/var/lib/dpkg/lock-frontend": (
        "seen=0; until [ $seen -ge 30 ]; do sleep 0.1; seen=$((seen + 1)); "
        "if ! pgrep -f '[a]pt-get .* install' > /dev/null || pgrep -x dpkg > /dev/null; then seen=0; fi; done"
    ),
}
_TERMINATED = 128 + 15
"""Exit code of docker exec when SIGTERM ends the program."""


@pytest.mark.parametrize("lock", AWAITED)
def test_a_run_waits_for_apts_locks(project: Project, lock: str) -> None:
    project.shell(
        "if [ -x /usr/bin/kubectl ]; then apt-mark unhold kubectl && apt-get --yes --quiet=2 purge kubectl; fi"
    )
    holder = subprocess.Popen(["docker", "exec", project.host, "sh", "-c", f"{HOLD_LOCK} {lock} 600"])
    docker("exec", "--detach", project.host, "sh", "-c", f"{AWAITED[lock]}; pkill -TERM perl")
    run = project.run("deploys/packages.py")
    assert holder.wait(timeout=60) == _TERMINATED, "no process was seen waiting for the lock"
    assert run.exit_code == 0, run.output
    assert f"Kubernetes packages | Install kubelet, kubeadm and kubectl {KUBERNETES_VERSION}" in run.changed
    assert project.run("deploys/packages.py").changed == []
    verified = project.verify("test_kube_packages")
    assert verified.exit_code == 0, verified.output


# The states that a killed dpkg leaves: before a package's dependencies are unpacked, while it unpacks a
# package, and just after. The last two are too short to hit on purpose, so they are written into dpkg's
# status file.
LEFT_BEHIND = """
set -e
apt-mark unhold kubelet kubeadm kubectl
apt-get --yes --quiet=2 purge kubectl libxtables12 netbase ethtool
cd /tmp
apt-get --quiet=2 download iptables netbase ethtool
dpkg --unpack iptables_*.deb netbase_*.deb ethtool_*.deb
state() { sed -i "/^Package: $1$/,/^$/s/^Status: .*/Status: $2/" /var/lib/dpkg/status; }
state ethtool 'install reinstreq half-installed'
state netbase 'install reinstreq unpacked'
"""
STATES = "dpkg-query --show --showformat '${Package} ${db:Status-Abbrev}\\n' ethtool iptables netbase"


def test_a_run_finishes_what_a_killed_dpkg_left(project: Project) -> None:
    project.shell(LEFT_BEHIND)
    assert project.shell(STATES).split() == ["ethtool", "iHR", "iptables", "iU", "netbase", "iUR"]
    run = project.run("deploys/packages.py")
    assert run.exit_code == 0, run.output
    assert project.shell(STATES).split() == ["ethtool", "ii", "iptables", "ii", "netbase", "ii"]
    assert project.shell("dpkg --audit") == ""
    assert project.run("deploys/packages.py").changed == []


# A package whose dependency is in no repository: apt's own fix is to remove the package.
THEIRS = """
set -e
apt-mark unhold kubectl
apt-get --yes --quiet=2 purge kubectl
mkdir -p /tmp/theirs/DEBIAN
cat > /tmp/theirs/DEBIAN/control <<'END'
Package: theirs
Version: 1
Architecture: all
Maintainer: nobody
Description: somebody else's
Depends: not-to-be-had
END
dpkg-deb --build /tmp/theirs
dpkg --unpack /tmp/theirs.deb
"""


def test_a_foreign_broken_package_is_reported_and_not_removed(project: Project) -> None:
    project.shell(THEIRS)
    run = project.run("deploys/packages.py")
    assert run.exit_code == 1
    assert "theirs depends on not-to-be-had" in run.output
    assert project.shell("dpkg-query --show --showformat '${db:Status-Abbrev}' theirs") == "iU"
    project.shell("dpkg --purge theirs")
    assert project.run("deploys/packages.py").exit_code == 0


@pytest.mark.parametrize("containerd", ["2.2.3", "2.3.4"])
def test_a_registry_that_wants_a_password_is_used(
    project: Project, containerd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("E2E_REGISTRY_PASSWORD", PASSWORD)
    project.shell("command -v crictl")
    with private_registry() as registry:
        address = registry.address
        entry = {"mirrors": [f"http://{address}"], "username": USER, "password_env": "E2E_REGISTRY_PASSWORD"}
        run = project.run(
            "deploys/machine.py",
            f"--data=containerd={containerd}",
            f"--data=registries={json.dumps({address: entry})}",
        )
        assert run.exit_code == 0, run.output
        assert PASSWORD not in run.output
        assert f"v{containerd}" in project.shell("containerd --version").split()
        endpoint = "--runtime-endpoint unix:///run/containerd/containerd.sock"
        project.shell(f"crictl {endpoint} --timeout 60s pull {address}/team/image:1")
        # The blobs may be there from the other release; the manifest is asked for again.
        assert "manifests" in {path.split("/")[-2] for path in registry.served}


def test_containerd_is_not_restarted_with_a_broken_drop_in(project: Project) -> None:
    file = "/etc/containerd/conf.d/theirs.toml"
    started = "systemctl show containerd --property=MainPID --property=ActiveState"
    project.shell(f"mkdir -p $(dirname {file}) && printf 'version = [\\n' > {file}")
    before = project.shell(started)
    run = project.run("deploys/machine.py")
    assert run.exit_code == 1
    assert f"{file}: failed to unmarshal TOML at row 1" in run.output
    assert "correct the file or move it away; containerd was not restarted" in run.output
    assert project.shell(started) == before
    project.shell(f"rm -r $(dirname {file})")
    assert project.run("deploys/machine.py").exit_code == 0


@pytest.mark.skipif(
    len(Path("/proc/swaps").read_text().splitlines()) > 1, reason="this machine's swap must stay on"
)
def test_swap_stays_off_after_a_line_is_put_back_into_fstab(project: Project) -> None:
    line = "/dev/vda2 none swap sw 0 0"
    project.shell(rf"printf '# kept\n/dev/vda1 / ext4 rw 0 1\n{line}\n' > /etc/fstab")
    assert project.run("deploys/no_swap.py").changed == [
        "Swap | Comment out swap in /etc/fstab",
        "Swap | Mask the units that bring swap back",
    ]
    assert project.shell("cat /etc/fstab") == f"# kept\n/dev/vda1 / ext4 rw 0 1\n# {line}"
    assert project.run("deploys/no_swap.py").changed == []
    project.shell(f"echo '{line}' >> /etc/fstab")
    assert project.run("deploys/no_swap.py").changed == ["Swap | Comment out swap in /etc/fstab"]
    verified = project.verify("test_swap")
    assert verified.exit_code == 0, verified.output
