"""The one table of what is fetched from where, and the mirror rule.

A release file is known by its upstream URL. With a mirror, the same URL is looked up under it by host and
path: ``https://github.com/a/b`` becomes ``http://mirror/github.com/a/b``, the apt repository and the image
registries too, so that one tree serves everything and every name stays the upstream one.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from kubeadm_deploys.checksums import SHA256

KUBERNETES_VERSION = "1.37.2"
CONTAINERD_VERSION = "2.3.4"
RUNC_VERSION = "1.4.3"
CNI_PLUGINS_VERSION = "1.9.1"
CALICO_VERSION = "3.31.0"
HCLOUD_CLOUD_CONTROLLER_VERSION = "1.35.0"
HCLOUD_CSI_VERSION = "2.22.1"

OLDEST_HCLOUD_CLOUD_CONTROLLER = "1.35.0"
"""Older ones do not know the feature gate that the manifest sets."""

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
"""By Kubernetes minor, the pause image that ``kubeadm config images list`` of that minor names."""

REGISTRIES = ("registry.k8s.io", "quay.io", "docker.io")
"""The image registries whose hosts a mirror stands for."""

ARCHITECTURES = ("amd64", "arm64")

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
"""The commits that released 1.35.0 and 2.22.1. What runs is the image of the version that the options name."""


@dataclass(frozen=True)
class ReleaseFile:
    """A file of a release: its upstream URL and its sha256, empty when this package does not know it."""

    url: str
    sha256: str


def release_file(*, component: str, version: str, variant: str) -> ReleaseFile:
    """The file of a release; ``variant`` is the architecture (amd64, arm64) or the manifest's name."""
    url = _URLS[component].format(version=version, variant=variant)
    return ReleaseFile(url=url, sha256=SHA256[component].get(version, {}).get(variant, ""))


def expected_sha256(*, file: ReleaseFile, checksums: Mapping[str, str]) -> str:
    """The sha256 that a download must have: the user's own word first; empty when nobody knows it."""
    return checksums.get(file.url) or file.sha256


def hcloud_manifests() -> dict[str, ReleaseFile]:
    """The manifests of Hetzner's cloud controller manager and CSI driver, by file name."""
    return {
        name: release_file(component=component, version=commit, variant=name)
        for component, (commit, name) in _HCLOUD_MANIFESTS.items()
    }


def calico_manifest(encapsulation: str) -> str:
    """The release manifest for an encapsulation: the VXLAN one runs no BGP daemon."""
    return "calico-vxlan.yaml" if encapsulation == "VXLAN" else "calico.yaml"


def containerd_config_version(containerd_version: str) -> int | None:
    """The schema of containerd's own configuration file (2, 3 or 4), None for a release that is too old.

    Source: containerd's docs/cri/config.md and RELEASES.md.
    """
    release = tuple(int(part) for part in containerd_version.split("."))
    for oldest, schema in (((2, 3, 0), 4), ((2, 0, 0), 3), ((1, 7, 0), 2)):
        if release >= oldest:
            return schema
    return None


def kubernetes_apt_repository(minor: str) -> str:
    """The flat apt repository of one Kubernetes minor, with a trailing slash."""
    return f"https://pkgs.k8s.io/core:/stable:/v{minor}/deb/"


def mirrored(*, url: str, mirror: str) -> str:
    """Where to fetch an upstream URL: from the mirror by host and path, or from upstream without one."""
    return f"{mirror}/{url.removeprefix('https://')}" if mirror else url
