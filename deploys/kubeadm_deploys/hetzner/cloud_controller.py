"""Hetzner's cloud controller manager and CSI driver: Services of type LoadBalancer and volumes in Hetzner's cloud.

The release manifests stay as they are; what a cluster decides is a kustomization over them. Until the cloud
controller has initialised a node, nothing but it and the network's pods run there.
Source: the documentation in the repositories hetznercloud/hcloud-cloud-controller-manager and hetznercloud/csi-driver.
"""

from pathlib import PurePosixPath

from pyinfra import host, inventory
from pyinfra.api import deploy

from kubeadm_deploys import artifacts
from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.errors import InputError
from kubeadm_deploys.facts.answers import Reading
from kubeadm_deploys.facts.cloud_controller import (
    CloudAdministrator,
    CloudFiles,
    CloudSecret,
    CloudSecretState,
)
from kubeadm_deploys.facts.reading import NotRead, read_for_plan
from kubeadm_deploys.hetzner import names
from kubeadm_deploys.hetzner.cloud import HetznerCloud
from kubeadm_deploys.kubeadm_documents import API_PORT
from kubeadm_deploys.managed_files import write_files
from kubeadm_deploys.nodes import Topology
from kubeadm_deploys.operations import cloud_controller, kubectl, release
from kubeadm_deploys.options import ClusterOptions
from kubeadm_deploys.text import render, sha256

FOLDER = "/etc/kubernetes/hetzner"

CONTROLLER = "deployment/hcloud-cloud-controller-manager"
WORKLOADS = (CONTROLLER, "deployment/hcloud-csi-controller", "daemonset/hcloud-csi-node")

_MANIFESTS = {str(PurePosixPath(FOLDER, name)): file for name, file in artifacts.hcloud_manifests().items()}
_KUSTOMIZATION = str(PurePosixPath(FOLDER, "kustomization.yaml"))

READING = Reading.of(CloudFiles, paths=(*_MANIFESTS, _KUSTOMIZATION))
"""What is read of every control plane."""

CLUSTER_READINGS = (
    Reading(CloudSecret),
    Reading(CloudAdministrator),
    kubectl.differs_reading(folder=FOLDER, workload=CONTROLLER),
)
"""What is read of the cluster."""


def kustomization(*, options: ClusterOptions, cloud: HetznerCloud, token_sha256: str) -> str:
    """What this cluster changes in the release manifests."""
    return render(
        "hetzner-kustomization.yaml.j2",
        manifests=list(artifacts.hcloud_manifests()),
        cloud_controller_version=options.hcloud_cloud_controller_version,
        csi_version=options.hcloud_csi_version,
        endpoint=options.endpoint,
        port=API_PORT,
        pod_subnet=options.pod_subnet,
        location=cloud.location,
        api_url=cloud.endpoint,
        volume_labels=names.cluster_selector(options.cluster_name),
        secret_sha256=sha256(f"{token_sha256} {cloud.network}"),
    )


def refuse_unknown_token(*, found: CloudSecretState, cloud: HetznerCloud) -> None:
    """Check that the token is at hand, or that the cluster has it.

    Raises:
        InputError: neither is so.
    """
    if not cloud.token and found.token_sha256 is None:
        raise InputError(
            [
                "HCLOUD_TOKEN: is not set, and the cluster does not answer, so it is not known whether it has a token; "
                "export one of the servers' project, or run again when the API answers"
            ]
        )
    if not cloud.token and (not found.token_sha256 or found.network != cloud.network):
        raise InputError(
            [
                "HCLOUD_TOKEN: is not set, and the cluster does not have it yet; export a token of the servers' project "
                "(Hetzner Console: Security, API tokens, Read & Write), or set cloud_provider to none"
            ]
        )


@deploy("Hetzner cloud controller")
def install_cloud_controller(
    *, options: ClusterOptions, topology: Topology, cloud: HetznerCloud | None
) -> None:
    """Install both from the leading control plane; does nothing outside of Hetzner's cloud.

    Raises:
        InputError: neither the operator's environment nor the cluster has a token.
    """
    if cloud is None or topology.node(host.name) not in topology.control_planes:
        return
    files = read_for_plan(host, READING)
    secret = _ask_for_secret(topology)
    refuse_unknown_token(found=secret, cloud=cloud)

    for path, file in _MANIFESTS.items():
        checksum = artifacts.expected_sha256(file=file, checksums=options.checksums)
        if files.get(path) != checksum:
            release.file(
                name=f"Fetch {PurePosixPath(path).name}",
                url=artifacts.mirrored(url=file.url, mirror=options.mirror),
                sha256=checksum,
                dest=path,
                mode="0644",
            )
    token_sha256 = sha256(cloud.token) if cloud.token else secret.token_sha256 or ""
    write_files(
        wanted={_KUSTOMIZATION: kustomization(options=options, cloud=cloud, token_sha256=token_sha256)},
        found=files,
    )
    cloud_controller.secret_applied(
        name="Give the cluster the token of its Hetzner project", topology=topology, cloud=cloud
    )
    kubectl.kustomization_applied(
        name="Apply Hetzner's cloud controller and CSI driver",
        topology=topology,
        folder=FOLDER,
        workload=CONTROLLER,
    )
    cloud_controller.old_rights_removed(
        name="Take an administrator's rights from the cloud controller", topology=topology
    )


def _ask_for_secret(topology: Topology) -> CloudSecretState:
    election = ask_leader(host.state, topology)
    if not election.exists:
        return CloudSecretState(token_sha256="")
    if not election.healthy:
        return CloudSecretState()
    try:
        return read_for_plan(inventory.get_host(election.leader), Reading(CloudSecret))
    except NotRead:
        return CloudSecretState()
