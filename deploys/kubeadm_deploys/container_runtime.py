"""Guide sections "cgroup drivers", "containerd", "runc" and "CNI plugins".

Afterwards containerd (from its release tarball, as a systemd unit), runc and the reference CNI plugins are
there in the wanted releases, and the running daemon puts containers into systemd's cgroups.
Source: containerd's docs/getting-started.md, "Option 1", and Kubernetes' "Container Runtimes".
"""

from collections.abc import Mapping
from functools import partial

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys import artifacts
from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.container_runtime import ContainerRuntime, ContainerRuntimeState
from kubeadm_deploys.facts.reading import read_for_plan
from kubeadm_deploys.managed_files import write_files
from kubeadm_deploys.operations import packages, release, units
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.text import render

CONFIG_FILE = "/etc/containerd/config.toml"
UNIT_FILE = "/etc/systemd/system/containerd.service"
DPKG_FILE = "/etc/dpkg/dpkg.cfg.d/kubeadm-deploys"

CNI_PLUGINS = (
    "bandwidth",
    "bridge",
    "dhcp",
    "dummy",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "sbr",
    "static",
    "tap",
    "tuning",
    "vlan",
    "vrf",
)
"""The plugins that a release of containernetworking/plugins holds."""

# containerd starts although its CRI plugin refuses the configuration, so it is asked.
_SERVES_KUBERNETES = (
    "/usr/local/bin/ctr plugins list | grep -E '^io.containerd.grpc.v1 +cri +.*ok *$' >/dev/null || "
    "{ echo 'the CRI plugin of containerd is not running' >&2; exit 1; }"
)

_MIRROR_FILES = {
    registry: f"/etc/containerd/certs.d/{registry}/hosts.toml" for registry in artifacts.REGISTRIES
}


def configuration_files(options: ClusterOptions) -> Mapping[str, str]:
    """Every file of the section with its content."""
    contents = {
        CONFIG_FILE: render(
            "containerd-config.toml.j2",
            schema=artifacts.containerd_config_version(options.containerd_version),
            sandbox_image=artifacts.SANDBOX_IMAGES[options.kubernetes_minor],
            restrict_oom_score_adj=options.containerd_restrict_oom_score_adj,
        ),
        UNIT_FILE: render("containerd.service.j2"),
        # The kubelet's package brings older plugins along (kubernetes-cni) and would put them over these.
        DPKG_FILE: "path-exclude=/opt/cni/bin/*\n",
    }
    if options.mirror:
        for registry, path in _MIRROR_FILES.items():
            contents[path] = render("hosts.toml.j2", registry=registry, mirror=options.mirror)
    return contents


def reading(options: ClusterOptions) -> Reading[ContainerRuntimeState]:
    """What the section reads of a machine."""
    return Reading.of(ContainerRuntime, paths=tuple(configuration_files(options)))


def outdated_components(*, found: ContainerRuntimeState, options: ClusterOptions) -> set[str]:
    """Which of containerd, runc and cni_plugins are missing or of another release."""
    programs = {
        "containerd": ("containerd", "containerd-shim-runc-v2", "ctr"),
        "runc": ("runc",),
    }
    outdated = {
        component
        for component, names in programs.items()
        if any(found.versions.get(name) != getattr(options, f"{component}_version") for name in names)
    }
    if any(found.plugins.get(plugin) != options.cni_plugins_version for plugin in CNI_PLUGINS):
        outdated.add("cni_plugins")
    return outdated


def what_counts(found: ContainerRuntimeState, *, options: ClusterOptions) -> object:
    """What the section's operations are chosen by, but for whether containerd runs at this moment.

    Calico puts plugins of its own beside the others as soon as its pod starts.
    """
    return outdated_components(found=found, options=options), found.has_curl, found.files


def installed_releases(found: ContainerRuntimeState) -> dict[str, str]:
    """By component, as the cluster's record calls it, the release that a machine has; none that is not known.

    Plugins of several releases are none: they are replaced as a whole.
    """
    plugins = {found.plugins[plugin] for plugin in CNI_PLUGINS if plugin in found.plugins}
    releases = {
        "containerd": found.versions.get("containerd", ""),
        "runc": found.versions.get("runc", ""),
        "cni-plugins": plugins.pop() if len(plugins) == 1 else "",
    }
    return {component: release for component, release in releases.items() if release}


def needs_restart(*, found: ContainerRuntimeState, outdated: set[str], differing: set[str]) -> bool:
    """Whether the daemon has to be started, or again because it runs with something that changed.

    runc, the CNI plugins and the registries' hosts.toml are read at every use.
    """
    running_well = found.active and found.enabled and found.up_to_date and found.systemd_cgroup != "false"
    return not running_well or "containerd" in outdated or bool({CONFIG_FILE, UNIT_FILE} & differing)


def verified_file(*, component: str, architecture: str, options: ClusterOptions) -> artifacts.ReleaseFile:
    """The release file of a component for a machine, with the URL to fetch it from and its sha256.

    Raises:
        DeployError: no checksum is known for this architecture.
    """
    file = artifacts.release_file(
        component=component, version=getattr(options, f"{component}_version"), variant=architecture
    )
    checksum = artifacts.expected_sha256(file=file, checksums=options.checksums)
    if not checksum:
        raise DeployError(
            f"{component}_version: no checksum is known for {file.url} ({architecture}), which this machine lacks and "
            "has to fetch; add it to checksums"
        )
    return artifacts.ReleaseFile(url=artifacts.mirrored(url=file.url, mirror=options.mirror), sha256=checksum)


@deploy("Container runtime")
def install_container_runtime(*, options: ClusterOptions) -> None:
    """Install and configure containerd, runc and the CNI plugins, and run containerd.

    A release that is already there in the wanted version is left alone; another one is replaced. containerd
    is restarted when its program, unit or configuration changed since it was started; containers run on.

    Raises:
        DeployError: no checksum is known for the machine's architecture.
    """
    wanted = configuration_files(options)
    found = read_for_plan(host, reading(options), counts=partial(what_counts, options=options))
    outdated = outdated_components(found=found, options=options)
    files = {
        component: verified_file(component=component, architecture=found.architecture, options=options)
        for component in outdated
    }

    if outdated and not found.has_curl:
        packages.installed(name="Install curl", packages=["ca-certificates", "curl"])
    differing = write_files(wanted=wanted, found=found.files)
    if "containerd" in outdated:
        release.tarball(
            name=f"Install containerd {options.containerd_version}",
            url=files["containerd"].url,
            sha256=files["containerd"].sha256,
            folder="/usr/local/bin",
            strip="bin",
        )
    if "runc" in outdated:
        release.file(
            name=f"Install runc {options.runc_version}",
            url=files["runc"].url,
            sha256=files["runc"].sha256,
            dest="/usr/local/sbin/runc",
            mode="0755",
        )
    if "cni_plugins" in outdated:
        release.tarball(
            name=f"Install the CNI plugins {options.cni_plugins_version}",
            url=files["cni_plugins"].url,
            sha256=files["cni_plugins"].sha256,
            folder="/opt/cni/bin",
        )
    if needs_restart(found=found, outdated=outdated, differing=differing):
        units.running(name="Run containerd", unit="containerd.service", check=_SERVES_KUBERNETES)
