"""Guide section "Installing kubeadm, kubelet and kubectl".

Afterwards the apt repository of the wanted minor and its key are there, and kubelet, kubeadm and kubectl are
installed at the wanted release, pinned and held. Source: Kubernetes documentation, "Installing kubeadm".
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import server

from kubeadm_deploys import apt_key, artifacts
from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.kube_packages import KubePackages, KubePackagesState
from kubeadm_deploys.facts.reading import read_for_plan
from kubeadm_deploys.managed_files import write_files
from kubeadm_deploys.operations import packages, units
from kubeadm_deploys.options import ClusterOptions

KUBERNETES_PACKAGES = ("kubelet", "kubeadm", "kubectl")
HELD_PACKAGES = (*KUBERNETES_PACKAGES, "cri-tools", "kubernetes-cni")

TOOLS = ("ca-certificates", "conntrack", "cri-tools", "ethtool", "iptables", "socat")
"""What kubeadm's preflight, the kubelet and kube-proxy look for on the machine; not every Debian has them."""

KEYRING = "/etc/apt/keyrings/kubernetes-apt-keyring.gpg"
SOURCES_FILE = "/etc/apt/sources.list.d/kubernetes.list"
PREFERENCES_FILE = "/etc/apt/preferences.d/kubernetes"

# systemd starts one that fails anew every ten seconds, and calls it active for a moment each time.
_KUBELET_IS_WELL = """
port=$(sed -n 's/^healthzPort: *//p' /var/lib/kubelet/config.yaml)
deadline=$(($(date +%s) + 40))
until curl --fail --silent --output /dev/null --max-time 5 "http://127.0.0.1:${port:-10248}/healthz"; do
  if [ "$(date +%s)" -gt "$deadline" ]; then exit 1; fi
  sleep 1
done
"""


def apt_files(options: ClusterOptions) -> Mapping[str, str]:
    """apt's source and pin by path."""
    repository = artifacts.kubernetes_apt_repository(options.kubernetes_minor)
    url = artifacts.mirrored(url=repository, mirror=options.mirror)
    return {
        SOURCES_FILE: f"deb [signed-by={KEYRING}] {url} /\n",
        PREFERENCES_FILE: (
            f"Package: {' '.join(KUBERNETES_PACKAGES)}\n"
            f"Pin: version {options.kubernetes_version}-*\n"
            # Above 1000, a pin also moves a newer package back.
            "Pin-Priority: 1001\n"
        ),
    }


def wanted_packages(*, found: KubePackagesState, options: ClusterOptions) -> list[str]:
    """What apt has to install: packages that are missing or of another release."""
    kubernetes = [
        f"{package}={options.kubernetes_version}-*"
        for package in KUBERNETES_PACKAGES
        if not found.versions.get(package, "").startswith(f"{options.kubernetes_version}-")
    ]
    return kubernetes + [tool for tool in TOOLS if tool not in found.versions]


def key_is_right(*, found: KubePackagesState, options: ClusterOptions) -> bool:
    """Whether the keyring holds the key that was asked for and no other, and apt still accepts it.

    Repositories renew their key before it expires; the fingerprint stays, so what has expired is fetched anew.
    """
    try:
        apt_key.pinned_key(
            found.keyring, fingerprint=options.kubernetes_apt_key_fingerprint, now=datetime.now(UTC)
        )
    except ValueError:
        return False
    return True


def reading(options: ClusterOptions) -> Reading[KubePackagesState]:
    """What the section reads of a machine."""
    return Reading.of(
        KubePackages,
        packages=(*HELD_PACKAGES, *TOOLS),
        keyring=KEYRING,
        paths=tuple(apt_files(options)),
    )


def what_counts(found: KubePackagesState, *, options: ClusterOptions) -> object:
    """What the section's operations are chosen by, but for whether the kubelet runs at this moment.

    Debian's own tools may get an update at any time.
    """
    return (
        wanted_packages(found=found, options=options),
        key_is_right(found=found, options=options),
        found.held.intersection(HELD_PACKAGES),
        found.files,
    )


def kubelet_fails(*, found: KubePackagesState) -> bool:
    """Whether the kubelet does not run on a machine that is a node, or will not after a reboot."""
    if "has-node" in found.kubelet:
        return not found.kubelet >= {"enabled", "active"}
    # apt enables it when it is installed.
    return "kubelet" in found.versions and "enabled" not in found.kubelet


@deploy("Kubernetes packages")
def install_kube_packages(*, options: ClusterOptions) -> None:
    """Install kubelet, kubeadm and kubectl from the repository of their minor, hold them, and have a node's kubelet run.

    A held package stays at its release in ordinary upgrades; only another ``kubernetes_version`` moves it.
    """
    wanted = apt_files(options)
    found = read_for_plan(host, reading(options), counts=partial(what_counts, options=options))
    if not key_is_right(found=found, options=options):
        packages.repository_key(
            name="Install the key of the Kubernetes apt repository",
            url=wanted_key_url(options),
            fingerprint=options.kubernetes_apt_key_fingerprint,
            dest=KEYRING,
        )
    write_files(wanted=wanted, found=found.files)
    missing = wanted_packages(found=found, options=options)
    if missing:
        packages.installed(
            name=f"Install kubelet, kubeadm and kubectl {options.kubernetes_version}", packages=missing
        )
    # Installing a held package releases it.
    if missing or not found.held.issuperset(HELD_PACKAGES):
        server.shell(
            name="Hold the Kubernetes packages", commands=[f"apt-mark hold {' '.join(HELD_PACKAGES)}"]
        )
    if kubelet_fails(found=found):
        is_node = "has-node" in found.kubelet
        units.running(
            name="Run the kubelet", unit="kubelet.service", check=_KUBELET_IS_WELL if is_node else "true"
        )


def wanted_key_url(options: ClusterOptions) -> str:
    """Where the repository's armoured key is published."""
    repository = artifacts.kubernetes_apt_repository(options.kubernetes_minor)
    return artifacts.mirrored(url=f"{repository}Release.key", mirror=options.mirror)
