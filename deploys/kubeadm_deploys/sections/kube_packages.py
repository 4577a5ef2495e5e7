"""Guide section "Installing kubeadm, kubelet and kubectl".

Afterwards apt has the repository of the wanted minor release and its key, and kubelet, kubeadm and kubectl
are installed in the wanted release, pinned and held. Source: Kubernetes documentation, "Installing kubeadm".
"""

import base64
from collections.abc import Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from pyinfra import host
from pyinfra.api import FactBase, Host, State, deploy, operation
from pyinfra.api.command import FunctionCommand, StringCommand
from pyinfra.operations import server
from typing_extensions import override

from kubeadm_deploys.cluster.kubelet_turns import EXCHANGED_FILES, SECONDS
from kubeadm_deploys.cluster.leader import wait_for_kubeadm
from kubeadm_deploys.documents import apt_key, node_kubelet
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import packages, text_files, units
from kubeadm_deploys.operations.failure import calling
from kubeadm_deploys.operations.managed_files import differing_files, write_files
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import ask, read_for_plan
from kubeadm_deploys.scripts import script, text


@dataclass(frozen=True, kw_only=True)
class KubePackagesState:
    """Version by installed package, ``held`` packages, the keyring's bytes, and sha256 of ``files`` by path.

    ``kubelet`` holds ``enabled`` and ``active`` if its unit is that, ``has-node`` if kubeadm made the machine a
    node, and ``half-changed`` if a change of its configuration has not ended, or goes on. ``files`` are apt's, and those
    with the kubelet's own fields (``documents/node_kubelet.py``).
    """

    versions: dict[str, str] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    kubelet: frozenset[str] = frozenset()
    keyring: bytes = b""
    files: dict[str, str] = field(default_factory=dict)


class KubePackages(FactBase[KubePackagesState]):
    """Read packages, holds and apt's sources in one command."""

    @override
    def command(self, packages: tuple[str, ...], keyring: str, paths: tuple[str, ...]) -> StringCommand:
        return script("read-kube-packages", " ".join(packages), keyring, *paths)

    @override
    def process(self, output: list[str]) -> KubePackagesState:
        values = lines.parse(output)
        return KubePackagesState(
            versions=lines.by_prefix(values, "package:"),
            held=frozenset(lines.by_prefix(values, "held:")),
            kubelet=frozenset(lines.by_prefix(values, "kubelet:")),
            keyring=base64.b64decode(values.get("keyring", "")),
            files=lines.files(values),
        )


KUBERNETES_PACKAGES = ("kubelet", "kubeadm", "kubectl")
HELD_PACKAGES = (*KUBERNETES_PACKAGES, "cri-tools", "kubernetes-cni")

TOOLS = ("ca-certificates", "conntrack", "cri-tools", "ethtool", "iptables", "socat")
"""What kubeadm's preflight, the kubelet and kube-proxy need on the machine; not every Debian has it."""

KEYRING = "/etc/apt/keyrings/kubernetes-apt-keyring.gpg"
SOURCES_FILE = "/etc/apt/sources.list.d/kubernetes.list"
PREFERENCES_FILE = "/etc/apt/preferences.d/kubernetes"

_KUBELET_IS_WELL = text("library/kubelet") + "kubelet_runs 40"


def apt_files(options: ClusterOptions) -> Mapping[str, str]:
    """Return the contents of apt's source and pin by path."""
    repository = artifacts.kubernetes_apt_repository(options.kubernetes_minor)
    url = artifacts.mirrored(url=repository, mirror=options.mirror)
    return {
        SOURCES_FILE: f"deb [signed-by={KEYRING}] {url} /\n",
        PREFERENCES_FILE: (
            f"Package: {' '.join(KUBERNETES_PACKAGES)}\n"
            f"Pin: version {options.kubernetes_version}-*\n"
            # Above 1000, a pin also downgrades a newer package.
            "Pin-Priority: 1001\n"
        ),
    }


def wanted_packages(*, found: KubePackagesState, options: ClusterOptions) -> list[str]:
    """Return what apt has to install: packages that are missing or of another release."""
    kubernetes = [
        f"{package}={options.kubernetes_version}-*"
        for package in KUBERNETES_PACKAGES
        if not found.versions.get(package, "").startswith(f"{options.kubernetes_version}-")
    ]
    return kubernetes + [tool for tool in TOOLS if tool not in found.versions]


def key_is_right(*, found: KubePackagesState, options: ClusterOptions) -> bool:
    """Return whether the keyring holds the wanted key and no other, and apt still accepts it.

    Repositories renew their key before it expires and keep its fingerprint, so an expired key is fetched
    again.
    """
    try:
        apt_key.pinned_key(
            found.keyring, fingerprint=options.kubernetes_apt_key_fingerprint, now=datetime.now(UTC)
        )
    except ValueError:
        return False
    return True


def reading(options: ClusterOptions) -> Reading[KubePackagesState]:
    """Return what the section reads of a machine."""
    return Reading.of(
        KubePackages,
        packages=(*HELD_PACKAGES, *TOOLS),
        keyring=KEYRING,
        paths=(*apt_files(options), *node_kubelet.PATHS),
    )


def what_counts(found: KubePackagesState, *, options: ClusterOptions) -> object:
    """Return what the choice of operations depends on, except whether the kubelet runs at this moment.

    Updates of Debian's own tools do not count: they may come at any time.
    """
    return (
        wanted_packages(found=found, options=options),
        key_is_right(found=found, options=options),
        found.held.intersection(HELD_PACKAGES),
        found.files,
    )


def kubelet_fails(*, found: KubePackagesState) -> bool:
    """Return whether the kubelet does not run on a machine that is a node, or will not run after a reboot."""
    if "has-node" in found.kubelet:
        return not found.kubelet >= {"enabled", "active"}
    # apt enables the kubelet when it installs it.
    return "kubelet" in found.versions and "enabled" not in found.kubelet


@operation()
def kubelet_configuration_settled() -> Generator[FunctionCommand | StringCommand, None, None]:
    """Give a kubelet its configuration from before if it does not run with the one that a run was cut off at.

    A change that goes on in a unit of its own is waited for.
    """
    yield calling(_unit_has_ended)
    yield script("settle-kubelet-configuration", str(SECONDS), *EXCHANGED_FILES)


def _unit_has_ended(state: State, host: Host) -> bool:
    wait_for_kubeadm(host)
    return True


@deploy("Kubernetes packages")
def install_kube_packages(*, options: ClusterOptions) -> None:
    """Install and hold kubelet, kubeadm and kubectl of one minor release, and run the kubelet of a node.

    A held package keeps its release in ordinary upgrades; only another ``kubernetes_version`` changes it.
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
    # apt releases a held package when it installs it.
    if missing or not found.held.issuperset(HELD_PACKAGES):
        server.shell(
            name="Hold the Kubernetes packages", commands=[f"apt-mark hold {' '.join(HELD_PACKAGES)}"]
        )
    if "half-changed" in found.kubelet:
        kubelet_configuration_settled(name="End the change of the kubelet's configuration that was cut off")
    if kubelet_fails(found=found):
        is_node = "has-node" in found.kubelet
        units.running(
            name="Run the kubelet", unit="kubelet.service", check=_KUBELET_IS_WELL if is_node else "true"
        )


def upgrade_commands(
    machine: Host, *, names: Collection[str], options: ClusterOptions
) -> Iterator[StringCommand]:
    """Read one machine, and yield the commands that give some of the Kubernetes packages the options' release.

    + names: of packages

    Raises:
        NotRead: the machine did not answer.
        OperationValueError: the key of the repository is not the expected one.
    """
    wanted = apt_files(options)
    found = ask(machine, reading(options))
    if not key_is_right(found=found, options=options):
        yield packages.key_command(
            machine,
            url=wanted_key_url(options),
            fingerprint=options.kubernetes_apt_key_fingerprint,
            dest=KEYRING,
        )
    if differing := differing_files(wanted=wanted, found=found.files):
        yield text_files.write_command({path: wanted[path].encode() for path in sorted(differing)})
    missing = [
        package
        for package in wanted_packages(found=found, options=options)
        if package.partition("=")[0] in names
    ]
    if missing:
        yield packages.install_command(missing)
    if missing or not found.held.issuperset(HELD_PACKAGES):
        yield StringCommand(f"apt-mark hold {' '.join(HELD_PACKAGES)}")


def restart_command() -> StringCommand:
    """Return the command that restarts a node's kubelet, and fails if it does not become healthy."""
    return units.running_command("kubelet.service", check=_KUBELET_IS_WELL)


def wanted_key_url(options: ClusterOptions) -> str:
    """Return the URL at which the repository publishes its armoured key."""
    repository = artifacts.kubernetes_apt_repository(options.kubernetes_minor)
    return artifacts.mirrored(url=f"{repository}Release.key", mirror=options.mirror)
