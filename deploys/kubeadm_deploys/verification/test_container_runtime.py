"""containerd, runc and the CNI plugins are the expected releases, with systemd as cgroup driver."""

import re
import tomllib

import pytest

from kubeadm_deploys.verification.inventory import Machine
from kubeadm_deploys.verification.remote import Answers

CNI_PLUGINS = (
    *("bandwidth", "bridge", "dhcp", "dummy", "firewall", "host-device", "host-local", "ipvlan", "loopback"),
    *("macvlan", "portmap", "ptp", "sbr", "static", "tap", "tuning", "vlan", "vrf"),
)
"""The plugins in a release of the reference plugins."""

CALICO_REPLACES = {"bandwidth", "host-local", "loopback", "portmap", "tuning"}
"""Reference plugins that Calico's installer replaces with its own builds."""

COMMANDS = {
    "unit": (
        "systemctl show containerd.service --timestamp=unix "
        "--property=ActiveState,UnitFileState,ExecMainStartTimestamp,MainPID,NeedDaemonReload"
    ),
    "program": 'readlink "/proc/$(systemctl show containerd.service --property=MainPID --value)/exe"',
    "versions": "ctr version",
    "configuration": "containerd config dump",
    "configuration time": "stat --format=%Y /etc/containerd/config.toml",
    "runc": "command -v runc && runc --version",
    # Without a CNI command a plugin prints its name and release.
    "plugins": (
        "cd /opt/cni/bin && unset CNI_COMMAND && "
        f'for plugin in {" ".join(CNI_PLUGINS)}; do echo "$plugin: $("./$plugin" 2>&1 </dev/null | head -n 1)"; done'
    ),
}


def test_containerd_is_running_and_enabled(answers: Answers) -> None:
    unit = _unit(answers)
    assert unit["ActiveState"] == "active"
    assert unit["UnitFileState"] == "enabled"
    assert unit["NeedDaemonReload"] == "no", "the unit file has changed; run systemctl daemon-reload"


def test_running_daemon_is_the_program_on_disk(answers: Answers) -> None:
    """If the program was replaced while the daemon runs, the link ends with "(deleted)"."""
    assert answers["program"].text == "/usr/local/bin/containerd"


def test_client_and_daemon_are_of_one_release(answers: Answers, machine: Machine) -> None:
    versions = re.findall(r"Version:\s+v?(\S+)", answers["versions"].text)
    assert len(versions) == 2 and len(set(versions)) == 1, versions
    assert versions[0] == machine.data.get("containerd_version", versions[0])


def test_configuration_makes_runc_use_systemd_cgroups(answers: Answers) -> None:
    runtimes = [
        plugin["containerd"]["runtimes"]
        for plugin in tomllib.loads(answers["configuration"].text)["plugins"].values()
        if "runtimes" in plugin.get("containerd", {})
    ]
    assert len(runtimes) == 1, "containerd has no CRI runtimes"
    assert runtimes[0]["runc"]["options"]["SystemdCgroup"] is True


def test_daemon_runs_with_the_configuration_on_disk(answers: Answers) -> None:
    """The daemon reads its file only at start; test_nodes also checks the cgroups of running pods."""
    started = int(_unit(answers)["ExecMainStartTimestamp"].lstrip("@"))
    written = int(answers["configuration time"].text)
    assert written <= started, "config.toml is newer than the running daemon; restart containerd"


def test_runc_is_the_release_that_containerd_finds(answers: Answers, machine: Machine) -> None:
    path, version, *_ = answers["runc"].lines
    assert path == "/usr/local/sbin/runc"
    release = version.removeprefix("runc version ")
    assert release == machine.data.get("runc_version", release)


@pytest.mark.parametrize("plugin", CNI_PLUGINS)
def test_cni_plugin_runs(answers: Answers, plugin: str) -> None:
    assert _plugins(answers)[plugin].startswith("CNI ")


def test_cni_plugins_are_of_one_release(answers: Answers, machine: Machine) -> None:
    plugins = _plugins(answers)
    releases = {line.rpartition(" ")[2] for plugin, line in plugins.items() if plugin not in CALICO_REPLACES}
    assert len(releases) == 1, plugins
    wanted = machine.data.get("cni_plugins_version")
    assert wanted is None or releases == {f"v{wanted}"}


def _unit(answers: Answers) -> dict[str, str]:
    """Return systemd's properties of the daemon."""
    return dict(line.split("=", 1) for line in answers["unit"].lines)


def _plugins(answers: Answers) -> dict[str, str]:
    """Return the name and release that each CNI plugin prints."""
    return dict(line.split(": ", 1) for line in answers["plugins"].text.splitlines())
