"""Hetzner's cloud controller manager and CSI driver, for Services of type LoadBalancer and for volumes.

The release manifests are not changed; a kustomization adapts them to the cluster. Until the cloud controller
has initialized a node, only the controller and network pods run there.
Source: the documentation in the repositories hetznercloud/hcloud-cloud-controller-manager and hetznercloud/csi-driver.
"""

import base64
import json
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pyinfra import host, inventory
from pyinfra.api import FactBase, Host, deploy, operation
from pyinfra.api.command import QuoteString, StringCommand
from pyinfra.api.exceptions import DeployError
from typing_extensions import override

from kubeadm_deploys.clouds.hetzner.place import HetznerCloud
from kubeadm_deploys.cluster import kubectl
from kubeadm_deploys.cluster.leader import ask_leader
from kubeadm_deploys.documents.templates import render, sha256
from kubeadm_deploys.facts.cluster_health import KUBECTL, KUBECTL_APPLY
from kubeadm_deploys.hetzner.api import names
from kubeadm_deploys.model import artifacts
from kubeadm_deploys.model.errors import InputError
from kubeadm_deploys.model.nodes import API_PORT, Topology
from kubeadm_deploys.model.options import ClusterOptions
from kubeadm_deploys.operations import release, text_files
from kubeadm_deploys.operations.failure import fails_clearly
from kubeadm_deploys.operations.managed_files import differing_files, write_files
from kubeadm_deploys.remote import lines
from kubeadm_deploys.remote.answers import ClusterFact, Reading
from kubeadm_deploys.remote.reading import NotRead, ask, read, read_for_plan
from kubeadm_deploys.scripts import script


@dataclass(frozen=True, kw_only=True)
class CloudSecretState:
    """The sha256 of the token in the cluster's Secret, and the network that the Secret names.

    Both are empty without a Secret; ``token_sha256`` is None when the cluster did not answer.
    """

    token_sha256: str | None = None
    network: str = ""


class CloudSecret(ClusterFact[CloudSecretState]):
    """State of the Secret with the token; the token itself does not leave the machine."""

    @override
    def command(self) -> StringCommand:
        return script("read-cloud-secret")

    @override
    def process(self, output: list[str]) -> CloudSecretState:
        values = lines.parse(output)
        return CloudSecretState(
            token_sha256="" if "no-secret" in values else values["token"],
            network=values.get("network", ""),
        )


OLD_BINDING = "system:hcloud-cloud-controller-manager"
"""The binding to cluster-admin in manifests before 1.35.0; the current binding has another name."""

_REMOVE_OLD_BINDING = f"{KUBECTL} delete clusterrolebinding --ignore-not-found {OLD_BINDING}"


class CloudAdministrator(ClusterFact[bool]):
    """Whether an older manifest's binding still makes the cloud controller a cluster-admin."""

    @override
    def command(self) -> StringCommand:
        names = f"clusterrolebinding {OLD_BINDING} --ignore-not-found"
        return StringCommand(f"{KUBECTL} get {names} --output", QuoteString("jsonpath={.roleRef.name}"))

    @override
    def process(self, output: list[str]) -> bool:
        return [line.strip() for line in output if line.strip()] == ["cluster-admin"]


class CloudFiles(FactBase[dict[str, str]]):
    """sha256 by path of the existing files that the cloud controller is applied from."""

    @override
    def command(self, paths: tuple[str, ...]) -> StringCommand:
        return script("read-files", *paths)

    @override
    def process(self, output: list[str]) -> dict[str, str]:
        return lines.files(lines.parse(output))


@operation()
@fails_clearly
def secret_applied(*, topology: Topology, cloud: HetznerCloud) -> Generator[StringCommand, None, None]:
    """Store the token and the network in the cluster's Secret; without a token the existing Secret stays.

    + topology: the cluster; its leader runs this
    + cloud: the cluster's place in a Hetzner project
    """
    api_leader = ask_leader(host.state, topology)
    if host.name != api_leader.leader:
        host.noop(f"runs on {api_leader.leader}")
        return
    if not (host.state.is_executing or api_leader.api_answers):
        # The plan only needs to know that there is something to do.
        yield StringCommand(f"{KUBECTL} apply")
        return
    found = read(host, CloudSecret)
    if not cloud.token or (found.token_sha256, found.network) == (sha256(cloud.token), cloud.network):
        host.noop("the cluster already has the token")
        return
    # stdin keeps the token out of logs, process lists and files.
    yield StringCommand(
        f"{KUBECTL_APPLY} --filename -",
        _stdin=secret(cloud),
    )


@operation()
@fails_clearly
def old_rights_removed(*, topology: Topology) -> Generator[StringCommand, None, None]:
    """Remove the cluster-admin rights that an older manifest gave to the cloud controller.

    + topology: the cluster; its leader runs this
    """
    api_leader = ask_leader(host.state, topology)
    if host.name != api_leader.leader:
        host.noop(f"runs on {api_leader.leader}")
        return
    if not (host.state.is_executing or api_leader.api_answers):
        host.noop("a new cluster has none")
        return
    if read(host, CloudAdministrator):
        yield StringCommand(_REMOVE_OLD_BINDING)
    else:
        host.noop("already removed")


def secret(cloud: HetznerCloud) -> str:
    """Return the Secret with the keys that both manifests read."""
    values = {"token": cloud.token, "network": cloud.network}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "hcloud", "namespace": "kube-system"},
            "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
        }
    )


FOLDER = "/etc/kubernetes/hetzner"

CONTROLLER = "deployment/hcloud-cloud-controller-manager"
WORKLOADS = (CONTROLLER, "deployment/hcloud-csi-controller", "daemonset/hcloud-csi-node")

_MANIFESTS = {str(PurePosixPath(FOLDER, name)): file for name, file in artifacts.hcloud_manifests().items()}
_KUSTOMIZATION = str(PurePosixPath(FOLDER, "kustomization.yaml"))

READING = Reading.of(CloudFiles, paths=(*_MANIFESTS, _KUSTOMIZATION))
"""Read from every control plane."""

CLUSTER_READINGS = (
    Reading(CloudSecret),
    Reading(CloudAdministrator),
    kubectl.differs_reading(folder=FOLDER, workload=CONTROLLER),
)
"""Read from the cluster."""


def kustomization(*, options: ClusterOptions, cloud: HetznerCloud, token_sha256: str) -> str:
    """Return this cluster's changes to the release manifests."""
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
    """Check that the operator's environment or the cluster has a token.

    Raises:
        InputError: neither has one.
    """
    if not cloud.token and found.token_sha256 is None:
        raise InputError(
            [
                "HCLOUD_TOKEN: is not set, and the cluster does not answer, so it is unknown whether it has "
                "one; export a token of the servers' project, or run this again when the API answers"
            ]
        )
    if not cloud.token and (not found.token_sha256 or found.network != cloud.network):
        raise InputError(
            [
                "HCLOUD_TOKEN: is not set, and the cluster does not have it yet; export a token of the "
                "servers' project (Hetzner Console: Security, API tokens, Read & Write), "
                "or set cloud_provider to none"
            ]
        )


@deploy("Hetzner cloud controller")
def install_cloud_controller(*, options: ClusterOptions, topology: Topology, place: HetznerCloud) -> None:
    """Install Hetzner's cloud controller and CSI driver.

    Raises:
        InputError: neither the operator's environment nor the cluster has a token.
    """
    if topology.node(host.name) not in topology.control_planes:
        return
    files = read_for_plan(host, READING)
    secret = _ask_for_secret(topology)
    refuse_unknown_token(found=secret, cloud=place)

    for path, file in _manifests_to_fetch(options=options, files=files).items():
        release.file(
            name=f"Fetch {PurePosixPath(path).name}", url=file.url, sha256=file.sha256, dest=path, mode="0644"
        )
    token_sha256 = sha256(place.token) if place.token else secret.token_sha256 or ""
    write_files(
        wanted={_KUSTOMIZATION: kustomization(options=options, cloud=place, token_sha256=token_sha256)},
        found=files,
    )
    secret_applied(
        name="Store the token of the Hetzner project in the cluster", topology=topology, cloud=place
    )
    kubectl.kustomization_applied(
        name="Apply Hetzner's cloud controller and CSI driver",
        topology=topology,
        folder=FOLDER,
        workload=CONTROLLER,
    )
    old_rights_removed(name="Remove cluster-admin rights from the cloud controller", topology=topology)


def upgrade_commands(
    machine: Host, *, options: ClusterOptions, place: HetznerCloud
) -> Iterator[StringCommand]:
    """Read a control plane, and yield the commands that give it the files of the options' releases.

    Raises:
        DeployError: the cluster has no token.
        NotRead: the machine or the cluster did not answer.
    """
    files, found = ask(machine, READING), ask(machine, CloudSecret)
    if not found.token_sha256:
        raise DeployError(
            f"{machine.name}: the Secret hcloud in kube-system, with the keys token and network, is gone; create it "
            "again with kubectl, and run this again"
        )
    for path, file in _manifests_to_fetch(options=options, files=files).items():
        yield release.file_command(url=file.url, sha256=file.sha256, dest=path, mode="0644")
    wanted = {_KUSTOMIZATION: kustomization(options=options, cloud=place, token_sha256=found.token_sha256)}
    if differing_files(wanted=wanted, found=files):
        yield text_files.write_command({path: text.encode() for path, text in wanted.items()})


def upgraded_commands(leader: Host) -> Iterator[StringCommand]:
    """Read the cluster, and yield the command that removes what only older pods needed.

    Raises:
        NotRead: the cluster did not answer.
    """
    if ask(leader, CloudAdministrator):
        yield StringCommand(_REMOVE_OLD_BINDING)


def _manifests_to_fetch(
    *, options: ClusterOptions, files: Mapping[str, str]
) -> dict[str, artifacts.ReleaseFile]:
    """Return the release manifests that a machine lacks by path, with the URL to fetch each from."""
    wanted = {
        path: artifacts.ReleaseFile(
            url=artifacts.mirrored(url=file.url, mirror=options.mirror),
            sha256=artifacts.expected_sha256(file=file, checksums=options.checksums),
        )
        for path, file in _MANIFESTS.items()
    }
    return {path: file for path, file in wanted.items() if files.get(path) != file.sha256}


def _ask_for_secret(topology: Topology) -> CloudSecretState:
    api_leader = ask_leader(host.state, topology)
    if not api_leader.exists:
        return CloudSecretState(token_sha256="")
    if not api_leader.healthy:
        return CloudSecretState()
    try:
        return read_for_plan(inventory.get_host(api_leader.leader), Reading(CloudSecret))
    except NotRead:
        return CloudSecretState()
