"""Guide section "Installing a Pod network add-on": Calico, for pod addresses, routes and NetworkPolicy.

The release manifest stays as it is; what a cluster decides (pod subnet, encapsulation, MTU, which address)
is a kustomization over it. Source: Calico documentation, "Install Calico networking and network policy for
on-premises deployments" and "Configure MTU to maximize network performance".
"""

from pathlib import PurePosixPath

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.api.exceptions import DeployError

from kubeadm_deploys import artifacts
from kubeadm_deploys.container_runtime import CNI_PLUGINS
from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.cni import CALICO_FOLDER, CniFiles, CniFilesState
from kubeadm_deploys.facts.reading import read_for_plan
from kubeadm_deploys.kubeadm_documents import API_PORT
from kubeadm_deploys.managed_files import write_files
from kubeadm_deploys.nodes import Node, Topology
from kubeadm_deploys.operations import kubectl, release
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.text import render

FOLDER = CALICO_FOLDER

_KUSTOMIZATION = str(PurePosixPath(FOLDER, "kustomization.yaml"))

_WORKLOAD = "daemonset/calico-node"

CLUSTER_READING = kubectl.differs_reading(folder=FOLDER, workload=_WORKLOAD)
"""Whether the cluster has another Calico than this machine's files say."""

_OVERHEAD = {"VXLAN": 50, "IPIP": 20, "None": 0}
"""Bytes that each encapsulation adds to a packet."""


def pod_mtu(*, options: ClusterOptions, interface_mtu: int) -> int:
    """The MTU of pod interfaces: the user's, else the node interface's less the encapsulation's header."""
    return options.pod_mtu or interface_mtu - _OVERHEAD[options.encapsulation]


def kustomization(*, options: ClusterOptions, mtu: int) -> str:
    """What this cluster changes in Calico's release manifest."""
    return render(
        "calico-kustomization.yaml.j2",
        manifest=artifacts.calico_manifest(options.encapsulation),
        endpoint=options.endpoint,
        port=API_PORT,
        mtu=mtu,
        pod_subnet=options.pod_subnet,
        encapsulation=options.encapsulation,
        skipped_plugins=CNI_PLUGINS,
    )


def reading(*, options: ClusterOptions, node: Node) -> Reading[CniFilesState]:
    """What the section reads of a control plane."""
    paths = (_manifest_path(options), _KUSTOMIZATION)
    return Reading.of(CniFiles, node_ip=node.ip, paths=paths)


def _manifest_path(options: ClusterOptions) -> str:
    return str(PurePosixPath(FOLDER, artifacts.calico_manifest(options.encapsulation)))


def manifest_to_fetch(
    *, options: ClusterOptions, found: CniFilesState, path: str
) -> artifacts.ReleaseFile | None:
    """The release manifest with its sha256, None where it is on the machine already.

    A cluster may have a release whose checksum nobody knows any more: then what is there counts, if it is that release's.

    Raises:
        DeployError: it has to be fetched, and no checksum is known for it.
    """
    file = artifacts.release_file(
        component="calico",
        version=options.calico_version,
        variant=artifacts.calico_manifest(options.encapsulation),
    )
    checksum = artifacts.expected_sha256(file=file, checksums=options.checksums)
    if checksum:
        fetched = found.files.get(path) == checksum
        return None if fetched else artifacts.ReleaseFile(url=file.url, sha256=checksum)
    if found.releases.get(path) == options.calico_version:
        return None
    raise DeployError(
        f"calico_version: no checksum is known for {file.url}, which this machine lacks and has to fetch, because the "
        f"cluster has Calico {options.calico_version}; add it to checksums"
    )


@deploy("CNI")
def install_cni(*, options: ClusterOptions, topology: Topology) -> None:
    """Install Calico from the leading control plane; every control plane keeps what it is applied from.

    Raises:
        DeployError: no interface of the control plane has its node address, or the manifest's checksum is not known.
    """
    node = topology.node(host.name)
    if node not in topology.control_planes:
        return
    path = _manifest_path(options)
    found = read_for_plan(host, reading(options=options, node=node))
    if not (found.mtu or options.pod_mtu):
        raise DeployError(
            f"{host.name}: no interface has the address {node.ip}; set node_ip to one that it has"
        )

    if file := manifest_to_fetch(options=options, found=found, path=path):
        release.file(
            name=f"Fetch Calico {options.calico_version}",
            url=artifacts.mirrored(url=file.url, mirror=options.mirror),
            sha256=file.sha256,
            dest=path,
            mode="0644",
        )
    mtu = pod_mtu(options=options, interface_mtu=found.mtu)
    write_files(
        wanted={_KUSTOMIZATION: kustomization(options=options, mtu=mtu)},
        found=found.files,
    )
    kubectl.kustomization_applied(name="Apply Calico", topology=topology, folder=FOLDER, workload=_WORKLOAD)
