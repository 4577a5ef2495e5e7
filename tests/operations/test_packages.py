"""The script that installs packages, with the real apt on a made-up system; installations are simulated."""

import os
import subprocess
from pathlib import Path

import pytest

from kubeadm_deploys.operations.packages import install_command
from tests.support.remote_scripts import with_programs

OFFERED = """\
Package: {name}
Version: {version}
Architecture: amd64
Maintainer: nobody <nobody@example.com>
Filename: ./{name}.deb
Size: 1
SHA256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
Description: made up
{more}
"""
INSTALLED = """\
Package: {name}
Status: {want} ok installed
Version: {version}
Architecture: amd64
Maintainer: nobody <nobody@example.com>
Description: made up

"""

# Runs the real apt-get, but only simulates installations.
APT_GET = """\
#!/bin/sh
echo "suspend=$NEEDRESTART_SUSPEND mode=${{NEEDRESTART_MODE-unset}} $*" >> {log}
case " $* " in *' install '*) set -- --simulate "$@" ;; esac
exec /usr/bin/apt-get "$@"
"""


class System:
    """A system for apt: installed packages, and a single repository with offered ones."""

    def __init__(self, folder: Path, *, installed: str, offered: str) -> None:
        for place in ("repository", "lists/partial", "cache/archives/partial", "bin"):
            (folder / place).mkdir(parents=True)
        (folder / "repository/Packages").write_text(offered)
        (folder / "status").write_text(installed)
        (folder / "sources.list").write_text(f"deb [trusted=yes] file:{folder}/repository ./\n")
        self.log = folder / "log"
        self.programs = folder / "bin"
        # Not dpkg of the machine that runs the tests, which may have been interrupted.
        programs = {"apt-get": APT_GET.format(log=self.log), "dpkg": "#!/bin/sh\n", "ls": "#!/bin/sh\n"}
        for name, text in programs.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        settings = {
            "Dir::State::status": folder / "status",
            "Dir::State::Lists": folder / "lists",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::SourceList": folder / "sources.list",
            **dict.fromkeys(("Dir::Etc::SourceParts", "Dir::Etc::Preferences"), "/dev/null"),
            "Dir::Etc::PreferencesParts": "/dev/null",
            "APT::Architecture": "amd64",
            "APT::Architectures": "amd64",
            "APT::Sandbox::User": "root",
        }
        (folder / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("NEEDRESTART")},
            "APT_CONFIG": str(folder / "apt.conf"),
        }

    def install(self, *packages: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", with_programs(install_command(list(packages)), self.programs)],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
        )


@pytest.fixture
def system(tmp_path: Path) -> System:
    """A system with a newer, held kubelet, and with a package that conflicts with an offered one."""
    return System(
        tmp_path,
        installed=INSTALLED.format(name="corporate-firewall", version="7", want="install")
        + INSTALLED.format(name="kubelet", version="1.36.4-1.1", want="hold"),
        offered=OFFERED.format(name="iptables", version="1.8.9-2", more="Conflicts: corporate-firewall\n")
        + OFFERED.format(name="kubelet", version="1.36.3-1.1", more="")
        + OFFERED.format(name="socat", version="1.7", more=""),
    )


def test_an_installation_removes_no_other_packages(system: System) -> None:
    done = system.install("socat", "iptables")
    assert done.returncode == 1
    assert "Remv" not in done.stdout
    assert done.stderr.splitlines()[-1] == (
        "for socat iptables, apt would have to remove corporate-firewall, so nothing was installed; if nothing "
        "needs it, remove it by hand"
    )


def test_a_downgrade_of_our_own_packages_is_not_a_removal(system: System) -> None:
    done = system.install("kubelet=1.36.3-*", "socat")
    assert done.returncode == 0, done.stderr
    planned = [
        line.partition("(")[0] for line in done.stdout.splitlines() if line.startswith(("Inst", "Remv"))
    ]
    assert planned == ["Inst kubelet [1.36.4-1.1] ", "Inst socat "]


def test_an_installation_restarts_no_other_services(system: System) -> None:
    assert system.install("socat").returncode == 0
    calls = system.log.read_text().splitlines()
    assert len(calls) == 2
    assert all(call.startswith("suspend=1 mode=unset ") for call in calls)


def test_a_failure_without_a_removal_prints_only_apts_message(system: System) -> None:
    done = system.install("not-to-be-had")
    assert done.returncode == 1
    assert "Unable to locate package not-to-be-had" in done.stderr
    assert "remove" not in done.stderr
