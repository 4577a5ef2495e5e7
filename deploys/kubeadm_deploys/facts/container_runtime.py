"""Which containerd, runc and CNI plugins are on a machine, and what the running daemon runs."""

from dataclasses import dataclass, field

from pyinfra.api import FactBase
from pyinfra.api.command import StringCommand
from typing_extensions import override

from kubeadm_deploys.facts import lines

_SCRIPT = r"""
echo "architecture $(dpkg --print-architecture)"
echo "container $(systemd-detect-virt --container 2>/dev/null)"
if command -v curl >/dev/null; then echo 'curl present'; fi
release() { sed -n 's/.*\bv\?\([0-9]\+\.[0-9]\+\.[0-9]\+\).*/\1/p' | head -n 1; }
for binary in containerd containerd-shim-runc-v2 ctr; do
  path=/usr/local/bin/$binary
  if [ -x "$path" ]; then
    case $binary in containerd-shim*) flag=-v ;; *) flag=--version ;; esac
    echo "version:$binary $("$path" $flag 2>/dev/null | release)"
  fi
done
if [ -x /usr/local/sbin/runc ]; then echo "version:runc $(/usr/local/sbin/runc --version 2>/dev/null | head -n 1 | release)"; fi
for plugin in /opt/cni/bin/*; do
  # A CNI plugin that is started without a command says who it is.
  if [ -x "$plugin" ]; then
    echo "plugin:${plugin##*/} $(timeout 5 "$plugin" </dev/null 2>&1 | sed -n 's/^CNI .* plugin //p' | release)"
  fi
done
show() { systemctl show containerd.service --property="$1" --value; }
echo "active $(show ActiveState)"
echo "enabled $(show UnitFileState)"
if [ "$(show ActiveState)" = active ]; then
  pid=$(show MainPID)
  started=$(date -d "$(show ExecMainStartTimestamp)" +%s)
  echo "running $(readlink "/proc/$pid/exe")"
  if command -v crictl >/dev/null; then
    echo "systemd_cgroup $(crictl --runtime-endpoint unix:///run/containerd/containerd.sock info --output go-template \
      --template '{{.config.containerd.runtimes.runc.options.SystemdCgroup}}' 2>/dev/null)"
  fi
  for path in /etc/containerd/config.toml /etc/systemd/system/containerd.service; do
    if [ "$(stat -c %Y "$path" 2>/dev/null || echo 0)" -gt "$started" ]; then echo "stale $path"; fi
  done
fi
"""


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
        return StringCommand(_SCRIPT, lines.files_script(paths), _separator="\n")

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
