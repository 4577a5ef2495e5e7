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
from kubeadm_deploys.facts.cni import CniFiles
from kubeadm_deploys.facts.reading import read
from kubeadm_deploys.kubeadm_documents import API_PORT
from kubeadm_deploys.managed_files import write_files
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import kubectl, release
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.text import render

FOLDER = "/etc/kubernetes/calico"

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


@deploy("CNI")
def install_cni(*, options: ClusterOptions, topology: Topology) -> None:
    """Install Calico from the leading control plane; every control plane keeps what it is applied from.

    Raises:
        DeployError: no interface of the control plane has its node address.
    """
    node = topology.node(host.name)
    if node not in topology.control_planes:
        return
    manifest = artifacts.calico_manifest(options.encapsulation)
    path = str(PurePosixPath(FOLDER, manifest))
    kustomization_path = str(PurePosixPath(FOLDER, "kustomization.yaml"))
    found = read(host, CniFiles, node_ip=node.ip, paths=(path, kustomization_path))
    if not (found.mtu or options.pod_mtu):
        raise DeployError(
            f"{host.name}: no interface has the address {node.ip}; set node_ip to one that it has"
        )

    file = artifacts.release_file(component="calico", version=options.calico_version, variant=manifest)
    checksum = artifacts.expected_sha256(file=file, checksums=options.checksums)
    if found.files.get(path) != checksum:
        release.file(
            name=f"Fetch Calico {options.calico_version}",
            url=artifacts.mirrored(url=file.url, mirror=options.mirror),
            sha256=checksum,
            dest=path,
            mode="0644",
        )
    mtu = pod_mtu(options=options, interface_mtu=found.mtu)
    write_files(
        wanted={kustomization_path: kustomization(options=options, mtu=mtu)},
        found=found.files,
    )
    kubectl.kustomization_applied(
        name="Apply Calico", topology=topology, folder=FOLDER, workload="daemonset/calico-node"
    )
