"""Guide section "Installing a Pod network add-on": Calico, for pod addresses, routes and NetworkPolicy.

The release manifest is not edited; a kustomization sets what a cluster decides (pod subnet, encapsulation,
MTU, node address). Source: Calico documentation, "Install Calico networking and network policy for
on-premises deployments" and "Configure MTU to maximize network performance".
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import PurePosixPath

from pyinfra import host, inventory
from pyinfra.api import FactBase, Host, State, deploy
from pyinfra.api.command import StringCommand
from pyinfra.api.exceptions import DeployError
from typing_extensions import override

from kubeadm_deploys.cluster import kubectl
from kubeadm_deploys.cluster.leader import active_hosts
from kubeadm_deploys.cluster.members import ask_planned_settings
from kubeadm_deploys.documents.templates import render
from kubeadm_deploys.facts.cluster_settings import CALICO_FOLDER
from kubeadm_deploys.facts.machine import NETWORK_MTUS, Machine, MachineState
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.nodes import API_PORT, Node, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import release, text_files
from kubeadm_deploys.operations.managed_files import differing_files, write_files
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import Reading
from kubeadm_deploys.remote.reading import ask, in_parallel, read_for_plan
from kubeadm_deploys.remote.run_parts import Decisions, part
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class CniFilesState:
    """sha256 of the CNI's ``files`` by path, and for manifests among them the ``releases`` of Calico by path."""

    files: dict[str, str] = field(default_factory=dict)
    releases: dict[str, str] = field(default_factory=dict)


class CniFiles(FactBase[CniFilesState]):
    """Read the files from which the CNI is applied in one command."""

    @override
    def command(self, paths: tuple[str, ...]) -> StringCommand:
        return script("read-cni-files", *paths)

    @override
    def process(self, output: list[str]) -> CniFilesState:
        values = lines.parse(output)
        return CniFilesState(
            files=lines.files(values),
            releases=lines.by_prefix(values, "release:"),
        )


FOLDER = CALICO_FOLDER

_KUSTOMIZATION = str(PurePosixPath(FOLDER, "kustomization.yaml"))

_WORKLOAD = "daemonset/calico-node"

CLUSTER_READING = kubectl.differs_reading(folder=FOLDER, workload=_WORKLOAD)
"""Whether the cluster's Calico differs from this machine's files."""

_OVERHEAD = {"VXLAN": 50, "IPIP": 20, "None": 0}
"""Bytes that each encapsulation adds to a packet."""


def pod_mtu(*, options: ClusterOptions, interface_mtus: Collection[int], current: int = 0) -> int:
    """Return the MTU of pod interfaces: the user's, else that of the nodes' interfaces minus the encapsulation.

    A larger packet would be lost on the way to one of the nodes, so the smallest interface counts.
    ``interface_mtus`` are those of all nodes; one that is unknown, or that no network has, may be smaller than
    the others, so then the MTU is not raised above ``current``, that of the cluster (0 without one). 0 if
    nothing is known.
    """
    if options.pod_mtu:
        return options.pod_mtu
    known = [mtu for mtu in interface_mtus if mtu in NETWORK_MTUS]
    limits = [min(known) - _OVERHEAD[options.encapsulation]] if known else []
    if current and len(known) < len(interface_mtus):
        limits.append(current)
    return min(limits, default=0)


def _wanted_mtu(state: State, *, options: ClusterOptions, topology: Topology) -> int:
    if options.pod_mtu:
        return options.pod_mtu

    def mtu_of(machine: Host) -> int:
        address = topology.node(machine.name).ip
        counts = partial(MachineState.mtu_of, address=address)
        return read_for_plan(machine, Reading(Machine), counts=counts).mtu_of(address)

    found = in_parallel(mtu_of, [inventory.get_host(name) for name in active_hosts(state)])
    mtus = [found.get(node.host, 0) for node in topology.nodes]
    settings = None if set(mtus) <= set(NETWORK_MTUS) else ask_planned_settings(state, topology)
    return pod_mtu(options=options, interface_mtus=mtus, current=settings.pod_mtu if settings else 0)


def kustomization(*, options: ClusterOptions, mtu: int) -> str:
    """Return the kustomization with this cluster's changes to Calico's release manifest."""
    return render(
        "calico-kustomization.yaml.j2",
        manifest=artifacts.calico_manifest(options.encapsulation),
        endpoint=options.endpoint,
        port=API_PORT,
        mtu=mtu,
        pod_subnet=options.pod_subnet,
        encapsulation=options.encapsulation,
        checksum_offload=options.vxlan_checksum_offload,
        skipped_plugins=artifacts.CNI_PLUGINS,
    )


def reading(*, options: ClusterOptions, node: Node) -> Reading[CniFilesState]:
    """Return what the section reads of a control plane."""
    paths = (_manifest_path(options), _KUSTOMIZATION)
    return Reading.of(CniFiles, paths=paths)


def _manifest_path(options: ClusterOptions) -> str:
    return str(PurePosixPath(FOLDER, artifacts.calico_manifest(options.encapsulation)))


def manifest_to_fetch(
    *, options: ClusterOptions, found: CniFilesState, path: str
) -> artifacts.ReleaseFile | None:
    """Return the release manifest with its sha256, None if it is already on the machine.

    A cluster may have a release whose checksum is no longer known: then a manifest of that release on the
    machine is accepted.

    Raises:
        DeployError: it has to be fetched, and no checksum is known for it.
    """
    file = artifacts.release_file(
        component="calico",
        version=options.release("calico"),
        variant=artifacts.calico_manifest(options.encapsulation),
    )
    checksum = artifacts.expected_sha256(file=file, checksums=options.checksums)
    if checksum:
        fetched = found.files.get(path) == checksum
        return None if fetched else artifacts.ReleaseFile(url=file.url, sha256=checksum)
    if found.releases.get(path) == options.release("calico"):
        return None
    raise DeployError(
        f"calico_version: no checksum is known for {file.url}, which this machine has to fetch because the "
        f"cluster has Calico {options.calico_version}; add it to checksums"
    )


@deploy("CNI")
def install_cni(*, options: ClusterOptions, topology: Topology) -> None:
    """Install Calico through the leader; every control plane keeps the files from which it is applied.

    Raises:
        DeployError: the MTU of no node's interface is known, or the manifest's checksum is not.
    """
    node = topology.node(host.name)
    if node not in topology.control_planes:
        return
    path = _manifest_path(options)
    found = read_for_plan(host, reading(options=options, node=node))
    mtu = _known_mtu(host, options=options, topology=topology)

    if file := manifest_to_fetch(options=options, found=found, path=path):
        release.file(
            name=f"Fetch Calico {options.calico_version}",
            url=artifacts.mirrored(url=file.url, mirror=options.mirror),
            sha256=file.sha256,
            dest=path,
            mode="0644",
        )
    write_files(
        wanted={_KUSTOMIZATION: kustomization(options=options, mtu=mtu)},
        found=found.files,
    )
    kubectl.kustomization_applied(name="Apply Calico", topology=topology, folder=FOLDER, workload=_WORKLOAD)


def upgrade_commands(
    machine: Host, *, options: ClusterOptions, topology: Topology
) -> Iterator[StringCommand]:
    """Read a control plane, and yield the commands that give it the files of the options' release.

    Raises:
        DeployError: as in ``install_cni``.
        NotRead: the machine did not answer.
    """
    path = _manifest_path(options)
    found = ask(machine, reading(options=options, node=topology.node(machine.name)))
    wanted = {
        _KUSTOMIZATION: kustomization(
            options=options, mtu=_known_mtu(machine, options=options, topology=topology)
        )
    }
    if file := manifest_to_fetch(options=options, found=found, path=path):
        url = artifacts.mirrored(url=file.url, mirror=options.mirror)
        yield release.file_command(url=url, sha256=file.sha256, dest=path, mode="0644")
    if differing_files(wanted=wanted, found=found.files):
        yield text_files.write_command({name: text.encode() for name, text in wanted.items()})


def _known_mtu(machine: Host, *, options: ClusterOptions, topology: Topology) -> int:
    mtu: int = part(machine.state, Decisions).once(
        "pod MTU", lambda: _wanted_mtu(machine.state, options=options, topology=topology)
    )
    if not mtu:
        raise DeployError(
            f"{machine.name}: no interface with the address of a node has a plausible MTU; set node_ip to an "
            "address of each machine, or set pod_mtu"
        )
    return mtu
