"""Guide sections "cgroup drivers", "containerd", "runc" and "CNI plugins".

Afterwards containerd (from its release tarball, as a systemd unit), runc and the reference CNI plugins are
installed in the wanted releases, and the running daemon puts containers into systemd's cgroups.
Source: containerd's docs/getting-started.md, "Option 1", and Kubernetes' "Container Runtimes".
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from pyinfra import host
from pyinfra.api import FactBase, deploy
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError
from typing_extensions import override

from kubeadm_deploys.documents.templates import render
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.model.registries import passwords
from kubeadm_deploys.operations import packages, release, text_files, units
from kubeadm_deploys.operations.managed_files import differing_files, write_files
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import read_for_plan
from kubeadm_deploys.scripts import script, text


@dataclass(frozen=True, kw_only=True)
class ContainerRuntimeState:
    """What is installed and running.

    ``versions`` by program (containerd, containerd-shim-runc-v2, ctr, runc) and ``plugins`` by name are
    releases, empty if the program does not report one; ``files`` are sha256 by path. ``up_to_date`` is
    whether the daemon runs the installed program and was started after its configuration was written;
    ``systemd_cgroup`` is the daemon's own answer (true, false, or empty without crictl to ask it).
    ``config_readable`` is whether others than root may read the configuration, ``registry_files`` are the
    hosts.toml of registries by path, each ``ours`` or ``theirs``.
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
    config_readable: bool = False
    registry_files: dict[str, str] = field(default_factory=dict)


class ContainerRuntime(FactBase[ContainerRuntimeState]):
    """Read the installed and running container runtime in one command."""

    @override
    def command(self, plugins: tuple[str, ...], paths: tuple[str, ...]) -> StringCommand:
        return script("read-container-runtime", " ".join(plugins), *paths)

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
            # The kernel marks the program of a process as deleted once its file is replaced.
            up_to_date=values.get("running") == "/usr/local/bin/containerd" and "stale" not in values,
            systemd_cgroup=values.get("systemd_cgroup", ""),
            config_readable="config-readable" in values,
            registry_files=lines.by_prefix(values, "registry:"),
        )


CONFIG_FILE = "/etc/containerd/config.toml"
UNIT_FILE = "/etc/systemd/system/containerd.service"
DPKG_FILE = "/etc/dpkg/dpkg.cfg.d/kubeadm-deploys"

_PROGRAMS = "/usr/local/bin"
_CONTAINERD_STRIP = "bin"
_RUNC = "/usr/local/sbin/runc"
_CNI_FOLDER = "/opt/cni/bin"


_WOULD_SERVE_KUBERNETES = text("library/containerd-drop-ins") + "check_containerd_configuration"

# containerd starts even if its CRI plugin refuses the configuration, so the plugin is checked.
SERVES_KUBERNETES = (
    "/usr/local/bin/ctr plugins list | grep -E '^io.containerd.grpc.v1 +cri +.*ok *$' >/dev/null || "
    "{ echo 'the CRI plugin of containerd is not running' >&2; exit 1; }"
)


def registry_files(options: ClusterOptions) -> Mapping[str, str]:
    """Return the hosts.toml of every registry that has mirrors, by path; ``registries`` replaces ``mirror``."""
    mirrors: dict[str, tuple[str, ...]] = {}
    if options.mirror:
        mirrors = {registry: (f"{options.mirror}/v2/{registry}",) for registry in artifacts.REGISTRIES}
    mirrors |= {host: registry.mirrors for host, registry in options.registries.items() if registry.mirrors}
    return {
        f"/etc/containerd/certs.d/{host}/hosts.toml": render(
            "hosts.toml.j2", registry=host, server=artifacts.registry_server(host), mirrors=urls
        )
        for host, urls in mirrors.items()
    }


def _credentials(options: ClusterOptions) -> list[dict[str, str]]:
    """Return the credentials as containerd looks them up: by server."""
    return [
        {
            "server": artifacts.registry_server(host),
            "username": options.registries[host].username,
            "password": password,
        }
        for host, password in passwords(options.registries).items()
    ]


def configuration_files(options: ClusterOptions) -> Mapping[str, str]:
    """Return every file of the section with its content.

    Raises:
        InputError: the password of a registry is not in the environment.
    """
    return {
        CONFIG_FILE: render(
            "containerd-config.toml.j2",
            schema=artifacts.containerd_config_version(options.containerd_version),
            sandbox_image=artifacts.SANDBOX_IMAGES[options.kubernetes_minor],
            restrict_oom_score_adj=options.containerd_restrict_oom_score_adj,
            credentials=_credentials(options),
        ),
        UNIT_FILE: render("containerd.service.j2"),
        # kubernetes-cni, which the kubelet's package depends on, would overwrite these plugins with older
        # ones.
        DPKG_FILE: "path-exclude=/opt/cni/bin/*\n",
        **registry_files(options),
    }


def reading(options: ClusterOptions) -> Reading[ContainerRuntimeState]:
    """Return what the section reads of a machine."""
    paths = (CONFIG_FILE, UNIT_FILE, DPKG_FILE, *registry_files(options))
    return Reading.of(ContainerRuntime, plugins=artifacts.CNI_PLUGINS, paths=paths)


def outdated_components(*, found: ContainerRuntimeState, options: ClusterOptions) -> set[str]:
    """Return which of containerd, runc and cni_plugins are missing or of another release."""
    programs = {
        "containerd": ("containerd", "containerd-shim-runc-v2", "ctr"),
        "runc": ("runc",),
    }
    outdated = {
        component
        for component, names in programs.items()
        if any(found.versions.get(name) != options.release(component) for name in names)
    }
    if any(found.plugins.get(plugin) != options.release("cni_plugins") for plugin in artifacts.CNI_PLUGINS):
        outdated.add("cni_plugins")
    return outdated


def what_counts(found: ContainerRuntimeState, *, options: ClusterOptions) -> object:
    """Return what the choice of operations depends on, except whether containerd runs at this moment.

    Plugins that a pod network adds when its pod starts do not count.
    """
    return (
        outdated_components(found=found, options=options),
        found.has_curl,
        found.files,
        found.config_readable,
        found.registry_files,
    )


def installed_releases(found: ContainerRuntimeState) -> dict[str, str]:
    """Return the known releases of a machine by component, named as in the cluster's record.

    Plugins of several releases are left out: they are replaced as a whole.
    """
    plugins = {found.plugins[plugin] for plugin in artifacts.CNI_PLUGINS if plugin in found.plugins}
    releases = {
        "containerd": found.versions.get("containerd", ""),
        "runc": found.versions.get("runc", ""),
        "cni-plugins": plugins.pop() if len(plugins) == 1 else "",
    }
    return {component: release for component, release in releases.items() if release}


def needs_restart(*, found: ContainerRuntimeState, outdated: set[str], differing: set[str]) -> bool:
    """Return whether the daemon has to be started, or restarted because something that it runs with changed.

    runc, the CNI plugins and the registries' hosts.toml are read at every use.
    """
    return not runs_well(found) or "containerd" in outdated or bool({CONFIG_FILE, UNIT_FILE} & differing)


def runs_well(found: ContainerRuntimeState) -> bool:
    """Return whether the daemon runs with what is installed, also after a reboot."""
    return found.active and found.enabled and found.up_to_date and found.systemd_cgroup != "false"


def unwanted_registry_files(*, found: ContainerRuntimeState, wanted: Mapping[str, str]) -> list[str]:
    """Return the hosts.toml that this project wrote for registries that no longer have mirrors."""
    return sorted(
        path for path, owner in found.registry_files.items() if owner == "ours" and path not in wanted
    )


def refuse_files_of_others(*, found: ContainerRuntimeState, wanted: Mapping[str, str]) -> None:
    """Check that no hosts.toml that is to be written is somebody else's.

    Raises:
        DeployError: names each such file.
    """
    theirs = [path for path in wanted if found.registry_files.get(path) == "theirs"]
    if theirs:
        raise DeployError(
            f"{', '.join(theirs)}: was not written by this project and would be replaced; move it away, or leave the "
            "mirrors of this registry out of the options; no changes were made"
        )


def verified_file(*, component: str, architecture: str, options: ClusterOptions) -> artifacts.ReleaseFile:
    """Return the release file of a component for a machine: the URL to fetch it from and its sha256.

    Raises:
        DeployError: no checksum is known for this architecture.
    """
    file = artifacts.release_file(
        component=component, version=options.release(component), variant=architecture
    )
    checksum = artifacts.expected_sha256(file=file, checksums=options.checksums)
    if not checksum:
        raise DeployError(
            f"{component}_version: no checksum is known for {file.url} ({architecture}), which this machine "
            "has to fetch; add it to checksums"
        )
    return artifacts.ReleaseFile(url=artifacts.mirrored(url=file.url, mirror=options.mirror), sha256=checksum)


def upgrade_commands(*, found: ContainerRuntimeState, options: ClusterOptions) -> Iterator[StringCommand]:
    """Yield the commands that give one machine the options' releases, the restart of containerd last.

    ``found`` is what was read on the machine.

    Raises:
        DeployError: no checksum is known for the machine's architecture, or somebody else has configured a
            registry that has mirrors in the options.
        InputError: the password of a registry is not in the environment.
    """
    wanted = configuration_files(options)
    refuse_files_of_others(found=found, wanted=wanted)
    outdated = outdated_components(found=found, options=options)
    files = {
        component: verified_file(component=component, architecture=found.architecture, options=options)
        for component in outdated
    }
    if outdated and not found.has_curl:
        yield packages.install_command(["ca-certificates", "curl"])
    differing = differing_files(wanted=wanted, found=found.files)
    if differing:
        private = {CONFIG_FILE} if any(registry.username for registry in options.registries.values()) else ()
        yield text_files.write_command(
            {path: wanted[path].encode() for path in sorted(differing)}, private=private
        )
    if "containerd" in outdated:
        file = files["containerd"]
        yield release.tarball_command(
            url=file.url, sha256=file.sha256, folder=_PROGRAMS, strip=_CONTAINERD_STRIP
        )
    if "runc" in outdated:
        file = files["runc"]
        yield release.file_command(url=file.url, sha256=file.sha256, dest=_RUNC, mode="0755")
    if "cni_plugins" in outdated:
        file = files["cni_plugins"]
        yield release.tarball_command(url=file.url, sha256=file.sha256, folder=_CNI_FOLDER)
    if needs_restart(found=found, outdated=outdated, differing=differing):
        yield units.running_command(
            "containerd.service", before=_WOULD_SERVE_KUBERNETES, check=SERVES_KUBERNETES
        )


@deploy("Container runtime")
def install_container_runtime(*, options: ClusterOptions) -> None:
    """Install and configure containerd, runc and the CNI plugins, and run containerd.

    A component in the wanted release is left alone; another release is replaced. containerd is restarted if
    its program, unit or configuration changed since it was started; containers keep running.

    Raises:
        DeployError: no checksum is known for the machine's architecture, or somebody else has configured a
            registry that has mirrors in the options.
        InputError: the password of a registry is not in the environment.
    """
    wanted = configuration_files(options)
    found = read_for_plan(host, reading(options), counts=partial(what_counts, options=options))
    outdated = outdated_components(found=found, options=options)
    files = {
        component: verified_file(component=component, architecture=found.architecture, options=options)
        for component in outdated
    }

    refuse_files_of_others(found=found, wanted=wanted)
    private = {CONFIG_FILE} if any(registry.username for registry in options.registries.values()) else set()
    if outdated and not found.has_curl:
        packages.installed(name="Install curl", packages=["ca-certificates", "curl"])
    unsafe = private if found.config_readable else set()
    intact = {path: checksum for path, checksum in found.files.items() if path not in unsafe}
    differing = write_files(wanted=wanted, found=intact, private=private)
    if unwanted := unwanted_registry_files(found=found, wanted=wanted):
        first, *others = unwanted
        more = f" and {len(others)} more" if others else ""
        text_files.removed(name=f"Remove {first}{more}", paths=unwanted)
    if "containerd" in outdated:
        release.tarball(
            name=f"Install containerd {options.containerd_version}",
            url=files["containerd"].url,
            sha256=files["containerd"].sha256,
            folder=_PROGRAMS,
            strip=_CONTAINERD_STRIP,
        )
    if "runc" in outdated:
        release.file(
            name=f"Install runc {options.runc_version}",
            url=files["runc"].url,
            sha256=files["runc"].sha256,
            dest=_RUNC,
            mode="0755",
        )
    if "cni_plugins" in outdated:
        release.tarball(
            name=f"Install the CNI plugins {options.cni_plugins_version}",
            url=files["cni_plugins"].url,
            sha256=files["cni_plugins"].sha256,
            folder=_CNI_FOLDER,
        )
    if needs_restart(found=found, outdated=outdated, differing=differing):
        units.running(
            name="Run containerd",
            unit="containerd.service",
            before=_WOULD_SERVE_KUBERNETES,
            check=SERVES_KUBERNETES,
        )
