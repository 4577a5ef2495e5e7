"""Which containerd, runc and CNI plugins are on a machine, and what the running daemon runs."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class ContainerRuntimeState:
    """What is there.

    ``versions`` by program (containerd, containerd-shim-runc-v2, ctr, runc) and ``plugins`` by name, each a
    release or empty when the program does not say; sha256 of ``files`` by path. ``up_to_date`` is whether
    the running daemon is the installed program and was started after its configuration was written;
    ``systemd_cgroup`` is the daemon's own answer (true, false, empty when crictl is not there to ask).
    """

    architecture: str = ""
    in_container: bool = False
    has_curl: bool = False
    versions: dict[str, str] = field(default_factory=dict)
    plugins: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    active: bool = False
    enabled: bool = False
    up_to_date: bool = False
    systemd_cgroup: str = ""


class ContainerRuntime(FactBase[ContainerRuntimeState]):
    """Installed and running container runtime, in one command."""

    @override
    def command(self, paths: tuple[str, ...]) -> StringCommand:
        return script("read-container-runtime", *paths)

    @override
    def process(self, output: list[str]) -> ContainerRuntimeState:
        values = lines.parse(output)
        return ContainerRuntimeState(
            architecture=values.get("architecture", ""),
            in_container=values.get("container", "none") not in ("none", ""),
            has_curl="curl" in values,
            versions=lines.by_prefix(values, "version:"),
            plugins=lines.by_prefix(values, "plugin:"),
            files=lines.files(values),
            active=values.get("active") == "active",
            enabled=values.get("enabled") == "enabled",
            # The kernel marks the program of a process as deleted once its file was replaced.
            up_to_date=values.get("running") == "/usr/local/bin/containerd" and "stale" not in values,
            systemd_cgroup=values.get("systemd_cgroup", ""),
        )
