"""The upstream URLs of everything that is fetched, and the rule for mirrors.

A release file is identified by its upstream URL. A mirror serves the same URL by host and path:
``https://github.com/a/b`` becomes ``http://mirror/github.com/a/b``. This includes the apt repository and the
image registries, so one tree serves everything and every upstream name stays the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from packaging.version import Version

from kubeadm_deploys.model.checksums import SHA256

KUBERNETES_VERSION = "1.37.2"
CONTAINERD_VERSION = "2.3.4"
RUNC_VERSION = "1.4.3"
CNI_PLUGINS_VERSION = "1.9.1"
CALICO_VERSION = "3.31.0"
HCLOUD_CLOUD_CONTROLLER_VERSION = "1.35.0"
HCLOUD_CSI_VERSION = "2.22.1"

OLDEST_HCLOUD_CLOUD_CONTROLLER = "1.35.0"
"""Older releases lack the feature gate that the manifest sets."""

KUBERNETES_APT_KEY_FINGERPRINT = "DE15B14486CD377B9E876E1A234654DA9A296436"
"""The key of pkgs.k8s.io (isv:kubernetes OBS project); one key signs all minors from 1.28 on."""

SANDBOX_IMAGES = {
    "1.31": "registry.k8s.io/pause:3.10",
    "1.32": "registry.k8s.io/pause:3.10",
    "1.33": "registry.k8s.io/pause:3.10",
    "1.34": "registry.k8s.io/pause:3.10.1",
    "1.35": "registry.k8s.io/pause:3.10.1",
    "1.36": "registry.k8s.io/pause:3.10.2",
    "1.37": "registry.k8s.io/pause:3.10.2",
}
"""By Kubernetes minor, the pause image that its ``kubeadm config images list`` prints."""

ETCD_MINORS = {
    **dict.fromkeys(("1.31", "1.32", "1.33"), (3, 5)),
    **dict.fromkeys(("1.34", "1.35", "1.36"), (3, 6)),
    "1.37": (3, 7),
}
"""By Kubernetes minor, the minor release of the etcd that its kubeadm installs.

Source: Kubernetes' cmd/kubeadm/app/constants/constants.go, SupportedEtcdVersion.
"""

REGISTRIES = ("registry.k8s.io", "quay.io", "docker.io")
"""The image registries that a mirror replaces."""

_SERVERS = {"docker.io": "registry-1.docker.io"}
"""The servers of registries whose name in images is not their server."""

ARCHITECTURES = ("amd64", "arm64")

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
"""The plugins in a release of containernetworking/plugins."""

_URLS = {
    "containerd": (
        "https://github.com/containerd/containerd/releases/download/"
        "v{version}/containerd-{version}-linux-{variant}.tar.gz"
    ),
    "runc": "https://github.com/opencontainers/runc/releases/download/v{version}/runc.{variant}",
    "cni_plugins": (
        "https://github.com/containernetworking/plugins/releases/download/"
        "v{version}/cni-plugins-linux-{variant}-v{version}.tgz"
    ),
    "calico": "https://raw.githubusercontent.com/projectcalico/calico/v{version}/manifests/{variant}",
    "hcloud_cloud_controller": (
        "https://raw.githubusercontent.com/hetznercloud/hcloud-cloud-controller-manager/{version}/deploy/{variant}"
    ),
    "hcloud_csi": (
        "https://raw.githubusercontent.com/hetznercloud/csi-driver/{version}/deploy/kubernetes/{variant}"
    ),
}

_HCLOUD_MANIFESTS = {
    "hcloud_cloud_controller": ("cfbbbd9d6f249e835f4499f4a2aa10ee59b2eb07", "ccm-networks.yaml"),
    "hcloud_csi": ("3186e78786031b759e875315a64eb79869f277e4", "hcloud-csi.yml"),
}
"""The commits of releases 1.35.0 and 2.22.1. The image version comes from the options."""


@dataclass(frozen=True)
class ReleaseFile:
    """A release file: its upstream URL and its sha256, empty if this package does not know it."""

    url: str
    sha256: str


def release_file(*, component: str, version: str, variant: str) -> ReleaseFile:
    """Return the file of a release; ``variant`` is the architecture (amd64, arm64) or the manifest's name."""
    url = _URLS[component].format(version=version, variant=variant)
    return ReleaseFile(url=url, sha256=SHA256[component].get(version, {}).get(variant, ""))


def expected_sha256(*, file: ReleaseFile, checksums: Mapping[str, str]) -> str:
    """Return the sha256 that a download must have: the user's, else the built-in one, else empty."""
    return checksums.get(file.url) or file.sha256


def hcloud_manifests() -> dict[str, ReleaseFile]:
    """Return the manifests of Hetzner's cloud controller manager and CSI driver, by file name."""
    return {
        name: release_file(component=component, version=commit, variant=name)
        for component, (commit, name) in _HCLOUD_MANIFESTS.items()
    }


def calico_manifest(encapsulation: str) -> str:
    """Return the name of the release manifest for an encapsulation; that for VXLAN runs no BGP daemon."""
    return "calico-vxlan.yaml" if encapsulation == "VXLAN" else "calico.yaml"


def containerd_config_version(containerd_version: Version) -> int | None:
    """Return the schema version of containerd's configuration (2, 3 or 4), None if the release is too old.

    Source: containerd's docs/cri/config.md and RELEASES.md.
    """
    for oldest, schema in (("2.3", 4), ("2.0", 3), ("1.7", 2)):
        if containerd_version >= Version(oldest):
            return schema
    return None


def kubernetes_apt_repository(minor: str) -> str:
    """Return the URL of the flat apt repository of a Kubernetes minor, with a trailing slash."""
    return f"https://pkgs.k8s.io/core:/stable:/v{minor}/deb/"


def registry_server(registry: str) -> str:
    """Return the server of a registry, given by the host with which the names of its images begin."""
    return _SERVERS.get(registry, registry)


def mirrored(*, url: str, mirror: str) -> str:
    """Return the URL to fetch: the upstream URL, or its place on the mirror if there is one."""
    return f"{mirror}/{url.removeprefix('https://')}" if mirror else url
